"""The demo follows a job without a pause of its own: the server holds its requests."""

from dataclasses import dataclass, field

import pytest

from shared.local.demo import DemoError, Timbre, follow

OUTPUT = {"voiceprint": "x"}


@dataclass(frozen=True)
class Scripted(Timbre):
    """A client whose jobs pass through the given states, one a request."""

    states: list = field(default_factory=list)
    paths: list = field(default_factory=list)

    def _send(self, path, body=None):
        self.paths.append(path)
        return self.states.pop(0)


def test_each_change_is_shown_once_and_every_request_but_the_first_waits(capsys):
    running = {"status": "running", "step": "vad"}
    states = [{"status": "created"}, running, running, {"status": "succeeded", "output": OUTPUT}]
    timbre = Scripted("", "", states)
    assert follow(timbre, "1") == OUTPUT
    assert capsys.readouterr().out == " -> created -> running vad -> succeeded\n"
    assert timbre.paths == ["/v1/jobs/1", *["/v1/jobs/1?wait=1"] * 3]


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_a_job_that_ends_otherwise_ends_the_demo(status):
    with pytest.raises(DemoError, match=f"{status}: It broke"):
        follow(Scripted("", "", [{"status": status, "output": {"error": "It broke."}}]), "1")

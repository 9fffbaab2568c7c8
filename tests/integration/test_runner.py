"""A job in a worker, with the record in a real Redis and toys for sound and networks."""

import io
import threading
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from shared.domain.audio import Segment, Waveform
from shared.domain.errors import MediaNotFound
from shared.domain.jobs import Status, new_job_id
from shared.domain.limits import Limits
from shared.domain.voiceprints import Voiceprint
from tests.support.client import eventually
from tests.support.records import LEASE_S, finish, job_service, output, submission
from tests.support.toys import ToyEmbedder, voices
from worker.jobs.handlers import Handlers
from worker.jobs.runner import Runner
from worker.voices.voiceprint import Nets

LIMITS = Limits(max_audio_s=30.0, max_bytes=10**6, download_timeout_s=10.0)


class ToyFetcher:
    def fetch(self, client_id, source, limits):
        if source.key == "gone":
            raise MediaNotFound("It is gone.")
        if source.key == "bug":
            raise ZeroDivisionError
        return io.BytesIO()


@dataclass
class ToyDecoder:
    entered: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def decode(self, file, max_s):
        self.entered.set()
        assert self.go_on.wait(60)
        return Waveform(np.zeros(10 * 16_000, np.float32), 16_000)


class ToyVad:
    def speech_segments(self, samples, **_):
        return [Segment(0.0, 10.0)]


class OneVoice(ToyEmbedder):
    def encode(self, samples):
        return np.zeros(10, int)

    def embed(self, samples):
        return voices(0)[0]


@pytest.fixture
def decoder():
    decoder = ToyDecoder()
    decoder.go_on.set()
    return decoder


@pytest.fixture
def runner(jobs, decoder):
    nets = Nets(ToyVad(), OneVoice())
    handlers = Handlers(
        fetcher=ToyFetcher(), decoder=decoder, nets=nets, voiceprint_limits=LIMITS, diarize_limits=LIMITS
    )
    return Runner(service=job_service(jobs), handle=handlers.handle, beat_s=0.02)


def submit(jobs, url="media://a", model=None):
    return jobs.create(new_job_id(), "c", submission(url, model=model)).id


def held_up(runner, job_id, decoder):
    """Return the thread in which the job waits in its decoder until the test says `go_on`."""
    decoder.go_on.clear()
    thread = threading.Thread(target=runner.run, args=[job_id])
    thread.start()
    return thread


def test_a_job_ends_with_its_voiceprint(jobs, runner):
    job_id = submit(jobs)
    runner.run(job_id)
    job = jobs.find("c", job_id)
    assert job.status is Status.SUCCEEDED
    assert Voiceprint.decode(output(job)["voiceprint"]).model_id == "toy@1"
    assert list(output(job)["timings"]) == ["download", "decode", "vad", "encode", "diarize", "embed"]


@pytest.mark.parametrize(
    ("url", "model", "code"),
    [
        ("media://gone", None, "media_not_found"),
        ("media://bug", None, "internal_error"),
        ("media://a", "other", "model_not_available"),
    ],
)
def test_every_failure_ends_the_job_with_its_code(jobs, runner, url, model, code):
    job_id = submit(jobs, url, model)
    runner.run(job_id)
    job = jobs.find("c", job_id)
    assert (job.status, output(job)["code"]) == (Status.FAILED, code)
    assert output(job)["error"].endswith(".")


def test_a_result_that_cannot_be_written_ends_the_job_and_stays_out_of_the_log(jobs, runner, capsys):
    job_id = submit(jobs)

    def spoilt(*given):
        return replace(runner.handle(*given), audio_s=float("nan"), dominant_speaker="secret")

    replace(runner, handle=spoilt).run(job_id)
    job = jobs.find("c", job_id)
    assert (job.status, output(job)["code"]) == (Status.FAILED, "internal_error")
    assert "ValueError" in (said := capsys.readouterr().out)
    assert "secret" not in said


def test_a_second_doorbell_finds_nothing_to_do(jobs, runner):
    job_id = submit(jobs)
    runner.run(job_id)
    before = jobs.find("c", job_id)
    runner.run(job_id)
    assert jobs.find("c", job_id) == before


def test_a_step_longer_than_the_lease_keeps_its_job(jobs, runner, decoder, redis, clock):
    job_id = submit(jobs)
    thread = held_up(runner, job_id, decoder)
    assert decoder.entered.wait(30)
    for _ in range(10):
        clock.pass_s(LEASE_S - 1)
        eventually(lambda: redis.zscore("timbre:running", job_id) == clock.now + LEASE_S * 1000)
        assert jobs.reap().silent == []
    assert jobs.find("c", job_id).step == "decode"
    decoder.go_on.set()
    thread.join()
    assert jobs.find("c", job_id).status is Status.SUCCEEDED


def test_a_worker_that_must_stop_hands_its_job_back_uncounted(jobs, runner, decoder):
    interrupted = threading.Event()
    stopping = replace(runner, stopping=lambda: True, interrupt=interrupted.set)
    job_id = submit(jobs)
    thread = held_up(stopping, job_id, decoder)
    assert interrupted.wait(30)
    assert jobs.find("c", job_id).status is Status.CREATED
    decoder.go_on.set()
    thread.join()
    assert jobs.find("c", job_id).status is Status.CREATED
    claim = jobs.claim(job_id)
    assert (claim.attempt, claim.fence) == (1, 2)


def test_a_worker_that_must_stop_stops_even_if_the_job_is_gone(jobs, runner, decoder):
    interrupted = threading.Event()
    stopping = replace(runner, stopping=lambda: True, interrupt=interrupted.set)
    job_id = submit(jobs)
    thread = held_up(stopping, job_id, decoder)
    assert decoder.entered.wait(30)
    jobs.delete(jobs.withdraw("c", job_id))
    assert interrupted.wait(30)
    decoder.go_on.set()
    thread.join()


def test_a_worker_that_lost_its_job_writes_nothing(jobs, runner, decoder, clock):
    job_id = submit(jobs)
    thread = held_up(replace(runner, beat_s=60.0), job_id, decoder)
    assert decoder.entered.wait(30)
    clock.pass_s(LEASE_S)
    assert jobs.reap().silent == [job_id]
    fresh = jobs.claim(job_id)
    decoder.go_on.set()
    thread.join()
    assert jobs.find("c", job_id).status is Status.RUNNING
    assert finish(jobs, fresh, Status.SUCCEEDED, {"by": "the other"})

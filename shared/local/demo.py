"""`make demo`: run the real stack on real recordings and print the results."""

import json
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.domain.errors import SettingsError
from shared.domain.voiceprints import Voiceprint
from shared.local.stack import EMBEDDED, Stack, StackError, Stopped, free_port, raise_on_signals
from shared.settings import Settings

_DATA = Path("tests/data")
#: Two recordings of one person, one of another, and a conversation in which the first person speaks most.
RECORDINGS = ("1688-142285-0005.flac", "1688-142285-0008.flac", "2609-156975-0000.flac", "conversation.flac")
#: A recording of each of two people.
PEOPLE = {"ann": RECORDINGS[0], "bob": RECORDINGS[2]}
_WIDTH = 60
#: Seconds for which the server may hold a request for a job, until the job ends; and seconds for the whole job.
_HOLD_S = 1
_WAIT_S = 60.0


class DemoError(Exception):
    """Result that is not as it should be."""


@dataclass(frozen=True)
class Timbre:
    """Client of the API."""

    url: str
    key: str

    def upload(self, path: Path) -> str:
        """Upload a file; returns its media:// address."""
        name = f"media://{path.name}"
        address = self._post("/v1/media/input", {"url": name})["url"]
        with urllib.request.urlopen(urllib.request.Request(address, path.read_bytes(), method="PUT")):
            return name

    def submit(self, path: str, **body: str) -> str:
        """Ask for a job; returns its id."""
        return str(self._post(path, body)["jobId"])

    def job(self, job_id: str, wait_s: int = 0) -> dict[str, Any]:
        """Get a job, as soon as it has ended or `wait_s` are over."""
        return self._send(f"/v1/jobs/{job_id}?wait={wait_s}" if wait_s else f"/v1/jobs/{job_id}")

    def _post(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        return self._send(path, json.dumps(body).encode())

    def _send(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, body, headers)) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


def follow(timbre: Timbre, job_id: str) -> dict[str, Any]:
    """Wait for a job to end, printing each new status and step; returns its output.

    Raises
    ------
    DemoError
        The job failed, or did not end within a minute.
    """
    shown = ""
    ends_at = time.monotonic() + _WAIT_S
    while time.monotonic() < ends_at:
        job = timbre.job(job_id, _HOLD_S if shown else 0)
        state = " ".join(filter(None, (job["status"], job.get("step"))))
        if state != shown:
            print(f" -> {state}", end="", flush=True)
            shown = state
        if job["status"] == "succeeded":
            print()
            output: dict[str, Any] = job["output"]
            return output
        if job["status"] in ("failed", "canceled"):
            raise DemoError(f"\nThe job ended as {job['status']}: {job['output']['error']}")
    raise DemoError(f"\nThe job did not end within {_WAIT_S:g} s.")


def timeline(output: dict[str, Any]) -> str:
    """Draw the speakers' turns, a line per speaker."""
    scale = _WIDTH / output["audioSeconds"]
    lines = []
    for entry in output["speakers"]:
        line = [" "] * _WIDTH
        for turn in output["diarization"]:
            if turn["speaker"] == entry["speaker"]:
                start = int(turn["start"] * scale)
                end = min(_WIDTH, max(start + 1, int(turn["end"] * scale)))
                line[start:end] = "#" * (end - start)
        mark = "  <- dominant" if entry["speaker"] == output["dominantSpeaker"] else ""
        lines.append(f"  {entry['speaker']} |{''.join(line)}| {entry['seconds']:5.1f} s{mark}")
    return "\n".join(lines)


def describe(output: dict[str, Any]) -> str:
    """Describe the output of a voiceprint job."""
    steps = "  ".join(f"{step} {seconds:.3f}" for step, seconds in output["timings"].items())
    total = sum(output["timings"].values())
    return (
        f"{timeline(output)}\n"
        f"  seconds     {steps}  (in all {total:.3f} for {output['audioSeconds']:.1f} s of audio)\n"
        f"  voiceprint  {output['voiceprint'][:40]}... ({output['dimension']} numbers by {output['model']})\n"
    )


def compare(outputs: dict[str, dict[str, Any]]) -> None:
    """Print the scores of the voiceprints against each other.

    Raises
    ------
    DemoError
        Two recordings of one person score no higher than those of two persons.
    """
    first, again, other, conversation = (Voiceprint.decode(outputs[name]["voiceprint"]) for name in RECORDINGS)
    same = first.score(again)
    different = first.score(other)
    mixed = first.score(conversation)
    print("Similarity (cosine; 1 is the same voice):")
    print(f"  {same:.3f}  one person, two recordings       {RECORDINGS[0]} and {RECORDINGS[1]}")
    print(f"  {mixed:.3f}  that person in the conversation  {RECORDINGS[0]} and {RECORDINGS[3]}")
    print(f"  {different:.3f}  two persons                      {RECORDINGS[0]} and {RECORDINGS[2]}")
    if not different < min(same, mixed):
        raise DemoError("The same person should score higher than two persons.")


def demonstrate(timbre: Timbre) -> None:
    """Make a voiceprint of each recording and compare them; then enrol two people and verify a third recording."""
    outputs = {}
    for name in RECORDINGS:
        print(f"{name}: uploaded", end="", flush=True)
        job_id = timbre.submit("/v1/voiceprint", url=timbre.upload(_DATA / name))
        outputs[name] = follow(timbre, job_id)
        print(describe(outputs[name]))
    compare(outputs)
    enrol(timbre)
    verify(timbre)


def enrol(timbre: Timbre) -> None:
    """Enrol each person by a recording."""
    print("\nPeople, whom the service remembers:")
    for person, name in PEOPLE.items():
        print(f"  {person} is enrolled by {name}", end="", flush=True)
        follow(timbre, timbre.submit("/v1/enrol", identity=person, url=f"media://{name}"))


def verify(timbre: Timbre) -> None:
    """Verify another recording of the first person against both.

    Raises
    ------
    DemoError
        A decision is wrong.
    """
    decisions = []
    for person in PEOPLE:
        print(f"  Is it {person} in {RECORDINGS[1]}?", end="", flush=True)
        output = follow(timbre, timbre.submit("/v1/verify", identity=person, url=f"media://{RECORDINGS[1]}"))
        print(f"    {output['decision']}, with confidence {output['confidence']} of 100")
        decisions.append(output["decision"])
    if decisions != ["accept", "reject"]:
        raise DemoError("The first person should be accepted, and the second rejected.")


def main() -> None:
    """Start the stack in a temporary folder, demonstrate it, and stop it."""
    raise_on_signals()
    with tempfile.TemporaryDirectory(prefix="timbre-demo-") as folder:
        bind = f"127.0.0.1:{free_port()}"
        settings = Settings(redis_url=EMBEDDED, data_dir=Path(folder), bind=bind, metrics_bind="off")
        try:
            print("Starting Redis, the API and a worker ...", flush=True)
            with Stack(settings) as stack:
                print(f"Ready at {stack.url}\n")
                demonstrate(Timbre(stack.url, stack.first_key() or ""))
        except Stopped:
            sys.exit("\nStopped.")
        except (DemoError, SettingsError, StackError, OSError) as error:
            sys.exit(str(error))
    print("\nEverything was stopped and removed again. Next: make run")


if __name__ == "__main__":
    main()

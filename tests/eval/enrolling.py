"""`python -m tests.eval.enrolling MANIFEST [--people N]`: enrol people over HTTP, verify and search them, count errors.

A stack of the whole service runs for it. Each person is enrolled from two recordings, a third is the probe. Of a person
with one long recording, its thirds stand for them. Every probe is verified against every person, once; then the space
is searched with it, with its person enrolled and, for those left out of a second space, without.
"""

import io
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import soundfile

from shared.domain.audio import SAMPLE_RATE_HZ
from shared.domain.verification import OperatingPoint
from tests.eval.recordings import Row, read_manifest
from tests.support.client import Client
from tests.support.stacks import first_client, running

#: Length of a recording whose thirds are long enough for samples, and of a sample, in seconds.
_LONG_S = 12.0
_SAMPLE_S = 4.5
_SAMPLES = 2


@dataclass(frozen=True)
class Person:
    """A person's recordings as FLAC: those to enrol, then the probe."""

    name: str
    recordings: Sequence[bytes]


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--people", default=20, show_default=True)
def main(manifest: Path, people: int) -> None:
    """Enrol, verify and search the people of MANIFEST."""
    found = list(choose(read_manifest(manifest), people))
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as stack:
        client = first_client(stack)
        enrol(client, "all", found)
        report_verifications(client, found)
        enrol(client, "half", found[::2])
        report_searches(client, found)


def choose(rows: Sequence[Row], people: int) -> Iterator[Person]:
    """Yield people with three samples each, those with several recordings first."""
    by_speaker: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind == "single" and row.dataset != "ravdess":
            by_speaker[row.speaker].append(row)
    several_first = sorted(by_speaker.items(), key=lambda item: (-len(item[1]), item[0]))
    left = people
    for speaker, own in several_first:
        recordings = _samples([soundfile.read(row.path, dtype="float32")[0] for row in own])
        if left and len(recordings) > _SAMPLES:
            left -= 1
            yield Person(speaker.replace(":", "-"), [_flac(one) for one in recordings])


def _samples(recordings: Sequence[np.ndarray]) -> list[np.ndarray]:
    least = int(_SAMPLE_S * SAMPLE_RATE_HZ)
    if len(recordings) == 1 and len(recordings[0]) >= _LONG_S * SAMPLE_RATE_HZ:
        recordings = np.array_split(recordings[0], _SAMPLES + 1)
        least = 0
    return [one for one in recordings if len(one) >= least][: _SAMPLES + 1]


def _flac(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE_HZ, format="FLAC")
    return file.getvalue()


def enrol(client: Client, space: str, people: Sequence[Person]) -> None:
    """Enrol each person's samples in a space."""
    jobs = []
    for person in people:
        for number, sound in enumerate(person.recordings[:_SAMPLES]):
            url = client.upload(f"{person.name}-{number}.flac", sound)
            jobs.append(_job(client, "/v1/enrol", identity=person.name, url=url, space=space))
    ended = [client.wait(job, 300) for job in jobs]
    told = Counter(job["output"].get("code", job["status"]) for job in ended)
    print(f"{space}: {len(people)} people, {len(jobs)} samples: {dict(told)}", flush=True)


def report_verifications(client: Client, people: Sequence[Person]) -> None:
    """Verify every probe against every person, and print the errors at each operating point."""
    confidences: dict[bool, list[int]] = {True: [], False: []}
    for person in people:
        url = client.upload(f"{person.name}-probe.flac", person.recordings[_SAMPLES])
        jobs = {one.name: _job(client, "/v1/verify", identity=one.name, url=url, space="all") for one in people}
        for name, job in jobs.items():
            output = client.wait(job, 300)["output"]
            confidences[name == person.name].append(output["confidence"])
    print(f"{len(confidences[True])} right and {len(confidences[False])} wrong trials")
    for point in OperatingPoint:
        rejected = np.mean([one < point.least_confidence for one in confidences[True]])
        accepted = np.mean([one >= point.least_confidence for one in confidences[False]])
        print(f"{point:9s} false rejects {rejected:6.1%}  false accepts {accepted:6.2%}", flush=True)


def report_searches(client: Client, people: Sequence[Person]) -> None:
    """Search for every probe in a space that has half of the people, and print who was named."""
    for point in OperatingPoint:
        told: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        for place, person in enumerate(people):
            url = f"media://{person.name}-probe.flac"
            job = _job(client, "/v1/search", url=url, space="half", leastConfidence=point.least_confidence)
            matches = client.wait(job, 300)["output"]["matches"]
            named = matches[0]["identity"] if matches else None
            answer = "nobody" if named is None else "right" if named == person.name else "wrong"
            told[place % 2 == 0][answer] += 1
        print(f"search at {point:9s} enrolled: {dict(told[True])}  strangers: {dict(told[False])}", flush=True)


def _job(client: Client, path: str, **body: object) -> str:
    answer = client.post(path, **body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["jobId"])


if __name__ == "__main__":
    main()

"""`python -m tests.eval.naming --manifest MANIFEST`: strangers and right people whom identify jobs name of N.

Each person of LibriSpeech is enrolled by one clean recording, or the first half of their only one. The rest is heard as
an identify job hears it, whole and in its first 3 and 1.6 seconds, by telephone and in noise. It is compared with the
voiceprints of N others, and of N - 1 others and the person. In brackets is what the confidence of each pair alone
would name, as a verification gives it. A second table hears only people whom the calibration has not heard.
"""

import csv
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import soundfile

from models import registry
from models.calibration import corpus
from models.calibration.channels import CHANNELS
from models.vad import SileroVad
from shared.domain.audio import SAMPLE_RATE_HZ, Samples
from shared.domain.calibration import Calibration
from shared.domain.diarization import SpeakerHints
from shared.domain.errors import JobFailure
from shared.domain.naming import likenesses, log_weight
from shared.domain.verification import Comparison, compare
from shared.domain.voiceprints import Voiceprint
from tests.eval.recordings import Row, read_manifest
from tests.support.sounds import read_unconditioned
from worker.recordings.decoder import ProcessDecoder
from worker.voices.diarization import diarize_recording
from worker.voices.matching import match
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets, make_voiceprint

DATASETS = ("ls_other", "ls_tc100")
SIZES = (2, 10, 50)
POINTS = (50, 70, 90, 99)
#: Conditions of what is heard: channel, and seconds of sound.
CONDITIONS = {
    "clean": ("clean", None),
    "telephone": ("telephone", None),
    "noise 5 dB": ("noise 5 dB", None),
    "clean, 3 s": ("clean", 3.0),
    "clean, 1.6 s": ("clean", 1.6),
}
#: Sets of others drawn for each recording and size.
DRAWS = 8
#: Most recordings heard of a person, so that those with many do not outweigh the others.
MOST_PROBES = 4
MAX_S = 60.0


@dataclass(frozen=True, eq=False)
class Person:
    """Voiceprint of a person, and those of the same voice as identify jobs hear it, by condition."""

    name: str
    enrolled: Voiceprint
    heard: Mapping[str, Sequence[Voiceprint]]


@click.command()
@click.option("--manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option(
    "--fitted",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=corpus.SHIPPED / corpus.MANIFEST,
    help="Manifest of what the calibration was fitted on; the corpus that comes with Timbre if left out.",
)
@click.option("--threads", default=1, show_default=True)
def main(manifest: Path, fitted: Path, threads: int) -> None:
    """Print the table."""
    card = registry.default_card(registry.WEIGHTS_DIR)
    assert card.calibration, "the default model has no calibration"
    nets = Nets(SileroVad(threads=threads), registry.load(card, registry.WEIGHTS_DIR, threads=threads))
    rows = [row for row in read_manifest(manifest) if row.kind == "single" and row.dataset in DATASETS]
    people = hear_people(rows, nets)
    everybody = {person.name for person in people}
    for heard in (everybody, everybody - speakers_of(fitted)):
        print(f"{card.model_id}, {card.calibration.data}: {len(heard)} of {len(people)} people are heard")
        for line in report(people, heard, card.calibration):
            print(line, flush=True)


def speakers_of(manifest: Path) -> set[str]:
    with manifest.open(newline="") as file:
        return {row["speaker"].rpartition(":")[2] for row in csv.DictReader(file)}


def hear_people(rows: Sequence[Row], nets: Nets) -> list[Person]:
    """Make all voiceprints; people whose recordings have too little speech are left out."""
    by_speaker: dict[str, list[Samples]] = defaultdict(list)
    for row in rows:
        by_speaker[row.speaker].append(read_unconditioned(row.path))
    decoder = ProcessDecoder()
    with tempfile.TemporaryDirectory() as folder:
        ears = Ears(nets, decoder, Path(folder) / "heard.flac")
        people = [ears.person(speaker, recordings) for speaker, recordings in by_speaker.items()]
    decoder.stop()
    return [person for person in people if person]


@dataclass(frozen=True)
class Ears:
    """Decoder and networks of a worker."""

    nets: Nets
    decoder: ProcessDecoder
    path: Path

    def person(self, speaker: str, recordings: Sequence[Samples]) -> Person | None:
        first, *others = recordings if len(recordings) > 1 else np.array_split(recordings[0], 2)
        enrolled = self.enrolled(first)
        if enrolled is None:
            return None
        heard = {name: [self.heard(part, *how) for part in others[:MOST_PROBES]] for name, how in CONDITIONS.items()}
        found = {name: [voice for voice in voices if voice] for name, voices in heard.items()}
        return Person(speaker.rpartition(":")[2], enrolled, found)

    def enrolled(self, samples: Samples) -> Voiceprint | None:
        """Return the voiceprint that a client would send."""
        self._write(samples)
        with self.path.open("rb") as file:
            waveform = self.decoder.decode(file, MAX_S)
        try:
            return make_voiceprint(waveform, self.nets, Steps()).voiceprint
        except JobFailure:
            return None

    def heard(self, samples: Samples, channel: str, seconds: float | None) -> Voiceprint | None:
        """Return the voiceprint of the one speaker of a recording in an identify job; None where nobody is heard."""
        self._write(CHANNELS[channel](samples[: round(seconds * SAMPLE_RATE_HZ)] if seconds else samples))
        with self.path.open("rb") as file, self.decoder.stream(file, MAX_S) as stream:
            found = diarize_recording(stream, self.nets, Steps(), SpeakerHints(1, 1), voices=True)
        return next(iter(found.voices.values()), None)

    def _write(self, samples: Samples) -> None:
        soundfile.write(self.path, np.clip(samples, -1, 1), SAMPLE_RATE_HZ)


@dataclass(frozen=True)
class Answer:
    """Whom a recording is said to be of, by whether its person was among those compared."""

    known: bool
    #: By point: whether the name is the person's, None for nobody.
    right: Mapping[int, bool | None]
    #: The same by the confidence of each pair alone.
    alone: Mapping[int, bool | None]


def report(people: Sequence[Person], heard: set[str], calibration: Calibration) -> Iterator[str]:
    yield f"{'':24} strangers / right ones / wrong ones named in % (by the pair alone: strangers, right ones)"
    yield f"{'heard':13} {'N':>3} {'trials':>6}" + "".join(f"{f'at {point}':>32}" for point in POINTS)
    for condition in CONDITIONS:
        voices = [(person, voice) for person in people if person.name in heard for voice in person.heard[condition]]
        rows = [(person, compared(voice, people, calibration)) for person, voice in voices]
        for size in SIZES:
            rng = np.random.default_rng(size)
            answers = [answer for person, row in rows for answer in answers_of(person.name, row, size, rng)]
            yield f"{condition:13} {size:3} {len(answers) // 2:6}" + "".join(rates(answers, point) for point in POINTS)


def compared(voice: Voiceprint, people: Sequence[Person], calibration: Calibration) -> dict[str, Comparison]:
    return {person.name: compare(voice, person.enrolled, calibration) for person in people}


def answers_of(name: str, row: Mapping[str, Comparison], size: int, rng: np.random.Generator) -> Iterator[Answer]:
    others = [label for label in row if label != name]
    for _ in range(DRAWS):
        drawn = [others[i] for i in rng.permutation(len(others))[:size]]
        assert len(drawn) == size, f"there are only {len(others)} others"
        yield answer_of(name, {label: row[label] for label in drawn})
        yield answer_of(name, {label: row[label] for label in [name, *drawn[1:]]})


def answer_of(name: str, row: Mapping[str, Comparison]) -> Answer:
    likely = likenesses(row, log_weight([one.llr for one in row.values()], len(row)))
    best = max(row, key=lambda label: row[label].llr)
    right, alone = {}, {}
    for point in POINTS:
        label = match({"SPEAKER_00": likely}, exclusive=True, threshold=point)["SPEAKER_00"]
        right[point] = None if label is None else label == name
        alone[point] = best == name if row[best].confidence >= point else None
    return Answer(name in row, right, alone)


def rates(answers: Sequence[Answer], point: int) -> str:
    strangers = [answer for answer in answers if not answer.known]
    known = [answer for answer in answers if answer.known]
    named = share([a.right[point] is not None for a in strangers])
    right, wrong = (share([a.right[point] is is_right for a in known]) for is_right in (True, False))
    alone = share([a.alone[point] is not None for a in strangers])
    alone_right = share([a.alone[point] is True for a in known])
    return f"{named:9.1f} / {right:5.1f} / {wrong:3.1f} ({alone:4.1f}, {alone_right:3.0f})"


def share(answers: Sequence[bool]) -> float:
    return 100 * sum(answers) / max(1, len(answers))


if __name__ == "__main__":
    main()

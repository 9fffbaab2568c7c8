"""`python -m tests.eval.searching --manifest MANIFEST`: error rates of search among 10, 50, 100 and 1,000 enrolments.

Each recording goes through the decoder's process and the worker's `make_voiceprint`. A person is enrolled by the pool
of two recordings, and searched for with others, clean and by telephone. Recordings of people with only one are cut: the
first two quarters are enrolled, the second half is the probe. Recordings of acted emotions are joined by three.

There are fewer than 1,000 people. There the rest of the gallery are single recordings of other people than the probe's,
each as an identity of its own: quarters, halves, and first halves in noise. A second table is about enrolling: how many
sets of samples have one that is warned of, or refused, as another voice.
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import click
import numpy as np
import soundfile

from models import registry
from models.calibration.channels import CHANNELS
from models.vad import SileroVad
from shared.domain.audio import SAMPLE_RATE_HZ, Samples
from shared.domain.calibration import Calibration, confidence
from shared.domain.errors import JobFailure
from shared.domain.pooling import outliers, pool
from shared.domain.search import Entry, Gallery, search
from shared.domain.verification import OperatingPoint
from shared.domain.voiceprints import Voiceprint
from tests.eval.recordings import Row, read_manifest
from tests.support.sounds import read_unconditioned
from worker.recordings.decoder import ProcessDecoder
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets, make_voiceprint

DATASETS = ("ls_other", "ls_tc100", "fsdd", "ravdess")
#: Dataset with one recording of each person, which is cut.
CUT = "ls_tc100"
#: Dataset of acted emotions. Its recordings have 1.8 s of speech: so many are joined, to so many clips.
ACTED = "ravdess"
JOINED = 3
ACTED_CLIPS = 4
PROBED = ("clean", "telephone")
#: Channels of each part.
PARTS = {"enrol": PROBED, "rest": PROBED, "probe": PROBED, "filler": ("clean", "noise 20 dB", "noise 15 dB")}
#: Parts that have no sound in common.
PIECES = ("enrol", "rest")
SIZES = (10, 50, 100, 1000)
POINTS = (10, *(point.least_confidence for point in OperatingPoint))
#: Galleries drawn for each person and size; sets of samples drawn for each person and kind.
DRAWS = 4
#: Most probes of a person, so that those with many recordings do not outweigh the others.
MOST_PROBES = 4
MAX_S = 60.0


@dataclass(frozen=True)
class Clip:
    """Part of `PARTS`, and voiceprint by channel."""

    part: str
    voices: dict[str, Voiceprint]


@dataclass(frozen=True, eq=False)
class Person:
    """Clips of one person."""

    name: str
    dataset: str
    clips: list[Clip] = field(default_factory=list)

    def voices(self, part: str, channel: str) -> list[Voiceprint]:
        return [clip.voices[channel] for clip in self.clips if clip.part == part and channel in clip.voices]

    def probes(self, channel: str) -> list[Voiceprint]:
        return (self.voices("probe", channel) or self.voices("rest", channel))[:MOST_PROBES]

    @cached_property
    def searchable(self) -> bool:
        return len(self.voices("enrol", "clean")) == 2 and bool(self.probes("clean"))

    @cached_property
    def enrolment(self) -> Entry:
        return Entry(key=self.name, identity=self.name, voiceprint=pool(self.voices("enrol", "clean")))

    @cached_property
    def fillers(self) -> list[Entry]:
        """Single recordings as enrolments of people who are not there."""
        found = [voice for clip in self.clips for channel, voice in clip.voices.items() if channel != "telephone"]
        names = [f"{self.name} {number}" for number in range(len(found))]
        return [Entry(key=name, identity=name, voiceprint=voice) for name, voice in zip(names, found, strict=True)]


@click.command()
@click.option("--manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--threads", default=2, show_default=True)
def main(manifest: Path, threads: int) -> None:
    """Print both tables."""
    card = registry.default_card(registry.WEIGHTS_DIR)
    assert card.calibration, "the default model has no calibration"
    nets = Nets(SileroVad(), registry.load(card, registry.WEIGHTS_DIR, threads=threads))
    rows = [row for row in read_manifest(manifest) if row.kind == "single" and row.dataset in DATASETS]
    people = hear_people(rows, nets)
    counts = ", ".join(f"{sum(p.dataset == name and p.searchable for p in people)} of {name}" for name in DATASETS)
    print(f"{card.model_id}: people with an enrolment and a probe: {counts}")
    report(people, card.calibration)


def report(people: Sequence[Person], calibration: Calibration) -> None:
    for line in [*search_lines(people, calibration), "", *outlier_lines(people, calibration)]:
        print(line, flush=True)


def hear_people(rows: list[Row], nets: Nets) -> list[Person]:
    """Make all voiceprints; those that a job would refuse are left out."""
    people: dict[str, Person] = {}
    decoder = ProcessDecoder()
    with tempfile.TemporaryDirectory() as folder:
        for row, part, samples in clips(rows):
            made = {
                name: hear(CHANNELS[name](samples), Path(folder) / "clip.flac", decoder, nets) for name in PARTS[part]
            }
            person = people.setdefault(row.speaker, Person(row.speaker, row.dataset))
            person.clips.append(Clip(part, {name: voice for name, voice in made.items() if voice}))
    decoder.stop()
    return list(people.values())


def hear(samples: Samples, path: Path, decoder: ProcessDecoder, nets: Nets) -> Voiceprint | None:
    soundfile.write(path, np.clip(samples, -1, 1), SAMPLE_RATE_HZ)
    with path.open("rb") as file:
        waveform = decoder.decode(file, MAX_S)
    try:
        return make_voiceprint(waveform, nets, Steps()).voiceprint
    except JobFailure:
        return None


def clips(rows: list[Row]) -> Iterator[tuple[Row, str, Samples]]:
    """Yield each clip and its part."""
    num: Counter[str] = Counter()
    for row, samples in recordings(rows):
        if row.dataset == CUT:
            halves = np.array_split(samples, 2)
            yield row, "filler", halves[0]
            yield row, "probe", halves[1]
            for part, quarter in zip(("enrol", "enrol", "rest", "rest"), np.array_split(samples, 4), strict=True):
                yield row, part, quarter
        else:
            yield row, "enrol" if num[row.speaker] < 2 else "rest", samples
            num[row.speaker] += 1


def recordings(rows: list[Row]) -> Iterator[tuple[Row, Samples]]:
    """Yield each recording; those of acted speech are joined, with neighbours of one emotion where there are some."""
    acted: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.dataset == ACTED:
            acted[row.speaker].append(row)
        else:
            yield row, read_unconditioned(row.path)
    for its in acted.values():
        for first in range(0, len(its), len(its) // ACTED_CLIPS):
            yield its[first], np.concatenate([read_unconditioned(row.path) for row in its[first : first + JOINED]])


def search_lines(people: Sequence[Person], calibration: Calibration) -> Iterator[str]:
    yield "probes                       N   at   strangers named %   right people: named right / named wrong / nobody %"
    yield f"{'':36} (in brackets by the confidence of the pair alone: strangers named, named right)"
    for acted in (False, True):
        probed = [person for person in people if person.searchable and (person.dataset == ACTED) == acted]
        for size in SIZES:
            answers = [answer for person in probed for answer in ask(person, size, people, calibration)]
            for channel in PROBED:
                name = f"{'acted' if acted else 'read'} speech, {channel}"
                yield from rates(name, size, [answer for answer in answers if answer.channel == channel])


@dataclass(frozen=True)
class Answer:
    """Best candidate of one search."""

    channel: str
    #: Whether the person searched for is in the gallery, and whether the candidate is that person.
    enrolled: bool
    right: bool
    confidence: int
    #: Confidence of the pair alone, as a verification would give it.
    alone: int


def ask(person: Person, size: int, people: Sequence[Person], calibration: Calibration) -> Iterator[Answer]:
    """Search for a person among `size` others, and among one less and their own enrolment."""
    rng = np.random.default_rng(size)
    for _ in range(DRAWS):
        entries = others(person, people, size, rng)
        dimension = person.enrolment.voiceprint.dimension
        gallery = Gallery.build(calibration.model_id, dimension, entries, calibration)
        yield from answers_of(person, gallery, enrolled=False)
        gallery.remove(entries[0].key)
        gallery.put([person.enrolment])
        yield from answers_of(person, gallery, enrolled=True)


def answers_of(person: Person, gallery: Gallery, enrolled: bool) -> Iterator[Answer]:
    for channel in PROBED:
        for probe in person.probes(channel):
            (best,) = search(gallery, probe, limit=1, least_confidence=0).candidates
            right = best.identity == person.name
            yield Answer(channel, enrolled, right, best.confidence, confidence(best.llr))


def others(person: Person, people: Sequence[Person], size: int, rng: np.random.Generator) -> list[Entry]:
    """Return `size` others: enrolments in random order, then fillers."""
    them = [people[i] for i in rng.permutation(len(people)) if people[i] is not person]
    fillers = [entry for other in them for entry in other.fillers]
    enrolments = [other.enrolment for other in them if other.searchable]
    shuffled = [fillers[i] for i in rng.permutation(len(fillers))]
    found = [*enrolments, *shuffled][:size]
    assert len(found) == size, f"there are only {len(found)} others"
    return found


def rates(name: str, size: int, answers: Sequence[Answer]) -> Iterator[str]:
    strangers = [a for a in answers if not a.enrolled]
    known = [a for a in answers if a.enrolled]
    for point in POINTS:
        named = share([a.confidence >= point for a in strangers])
        right = share([a.right and a.confidence >= point for a in known])
        wrong = share([not a.right and a.confidence >= point for a in known])
        flat = share([a.alone >= point for a in strangers])
        flat_right = share([a.right and a.alone >= point for a in known])
        yield (
            f"{name:24} {size:5}   {point:2}   {named:5.1f} of {len(strangers):4}        {right:5.1f} / {wrong:4.1f} / "
            f"{100 - right - wrong:5.1f} of {len(known):4}   ({flat:5.1f}, {flat_right:5.1f})"
        )


def share(answers: Sequence[bool]) -> float:
    return 100 * sum(answers) / max(1, len(answers))


def outlier_lines(people: Sequence[Person], calibration: Calibration) -> Iterator[str]:
    yield f"{'':27}   one voice                     one of them foreign"
    yield f"{'sets of samples':27}   warned, refused %             warned, refused, right ones warned of too %"
    groups = {name: [p for p in people if p.dataset == name] for name in DATASETS}
    for name, group in groups.items():
        for num in (2, 3, 5):
            for kind, share_of_telephone in (("clean", 0.0), ("telephone", 1.0), ("mixed", 0.5)):
                rng = np.random.default_rng(num)
                sets = [s for p in group for _ in range(DRAWS) if (s := draw(p, group, num, share_of_telephone, rng))]
                if sets:
                    yield f"{f'{name}, {num}, {kind}':27}   {outlier_rates(sets, calibration)}"


def draw(
    person: Person, group: Sequence[Person], num: int, telephone: float, rng: np.random.Generator
) -> tuple[list[Voiceprint], Voiceprint] | None:
    """Return `num` samples of a person and one of another, each by telephone with that probability."""
    other = rng.choice([p for p in group if p is not person])
    its, theirs = ([c.voices for c in p.clips if c.part in PIECES and len(c.voices) == 2] for p in (person, other))
    if len(its) < num or not theirs:
        return None
    chosen = [its[i] for i in rng.permutation(len(its))[:num]] + [theirs[rng.integers(len(theirs))]]
    *samples, foreign = (voices["telephone" if rng.random() < telephone else "clean"] for voices in chosen)
    return samples, foreign


def outlier_rates(sets: list[tuple[list[Voiceprint], Voiceprint]], calibration: Calibration) -> str:
    right = [outliers(samples, calibration) for samples, _ in sets]
    mixed = [outliers([foreign, *samples[1:]], calibration) for samples, foreign in sets]
    found = [
        [bool(them) for them in right],
        [any(one.refused for one in them) for them in right],
        [any(one.index == 0 for one in them) for them in mixed],
        [any(one.index == 0 and one.refused for one in them) for them in mixed],
        [any(one.index > 0 for one in them) for them in mixed],
    ]
    warned, refused, named, out, too = (100 * np.mean(them) for them in found)
    return f"{warned:5.1f} {refused:5.1f} of {len(sets):4}              {named:5.1f} {out:5.1f} {too:5.1f}"


if __name__ == "__main__":
    main()

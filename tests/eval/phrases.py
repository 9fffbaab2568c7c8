"""`python -m tests.eval.phrases MANIFEST`: count right phrases that are refused, and wrong ones that are accepted.

Phrases are the two sentences of RAVDESS, and what is heard in clean recordings of LibriSpeech, whose texts the manifest
lacks. Lists of words are digits of FSDD, cut out of its recordings and joined anew.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from models.calibration.channels import through
from models.recognisers import InstalledRecognisers
from shared.domain.audio import SAMPLE_RATE_HZ, Samples
from shared.domain.words import check_words, normalise, word_error_rate
from shared.networks import Recogniser
from tests.bench.memory import memory
from tests.eval.digits import digits, read_out
from tests.eval.recordings import Row, read_manifest
from tests.support.sounds import read_unconditioned

CHANNELS = ("clean", "telephone", "noise 10 dB")
LIMITS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
_SENTENCES = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
#: A sentence of RAVDESS with one content word changed.
_NEAR = {"01": "Kids are talking by the gate", "02": "Dogs are sitting by the gate"}
#: Emotions that are not acted: neutral and calm.
_PLAIN = ("01", "02")


@dataclass(frozen=True)
class Trial:
    """Words that were heard, and those that were wanted."""

    kind: str
    channel: str
    said: str
    wanted: str

    @property
    def rate(self) -> float:
        return word_error_rate(normalise(self.said), normalise(self.wanted))


@dataclass(frozen=True)
class ListTrial:
    """List of words, and whether it was accepted."""

    kind: str
    speaker: str
    channel: str
    accepted: bool


class Ear:
    """Recogniser that hears recordings through channels, and the time that it takes."""

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser
        self.audio_s = 0.0
        self.processor_s = 0.0

    def hear(self, samples: Samples, channel: str) -> str:
        waveform = through(channel, samples)
        start_s = time.process_time()
        text = self._recogniser.transcribe(waveform.samples)
        self.processor_s += time.process_time() - start_s
        self.audio_s += waveform.duration_s
        return text


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--part", type=click.Choice(["acted", "read", "lists"]), help="Only this part.")
@click.option("--every", default=1, show_default=True, help="Take one of so many recordings of a person.")
@click.option("--lists", default=24, show_default=True, help="Lists of digits of each kind and channel.")
def main(manifest: Path, part: str | None, every: int, lists: int) -> None:
    """Hear the recordings of MANIFEST, and print how often the checks are wrong."""
    before_mb = memory()["rss_mb"]
    start_s = time.perf_counter()
    ear = Ear(InstalledRecognisers().find("en"))
    print(f"loaded in {time.perf_counter() - start_s:.2f} s, {memory()['rss_mb'] - before_mb} MB")
    rows = [row for row in read_manifest(manifest) if row.kind == "single"]
    if part in (None, "acted"):
        print("\n".join(_phrase_table(acted(rows, ear, every))))
    if part in (None, "read"):
        print("\n".join(_phrase_table(read_aloud(rows, ear, every))))
    if part in (None, "lists"):
        print("\n".join(_list_table(listed(rows, ear, lists))))
    print(f"{ear.processor_s / ear.audio_s * 10:.2f} s of processor for 10 s, {memory()}")


def acted(rows: Sequence[Row], ear: Ear, every: int) -> Iterator[Trial]:
    """Yield trials of the actors of RAVDESS; of emotions only one of `every` recordings."""
    acted = [row for row in rows if row.dataset == "ravdess"]
    plain = [row for row in acted if row.path.stem.split("-")[2] in _PLAIN]
    for row in (*plain, *[row for row in acted if row not in plain][::every]):
        emotion, _, sentence = row.path.stem.split("-")[2:5]
        name = "neutral or calm" if emotion in _PLAIN else "other emotions"
        samples = read_unconditioned(row.path)
        for channel in CHANNELS:
            said = ear.hear(samples, channel)
            yield Trial(f"right, acted, {name}", channel, said, _SENTENCES[sentence])
            if emotion in _PLAIN:
                other = "02" if sentence == "01" else "01"
                yield Trial("wrong, two of six words changed", channel, said, _SENTENCES[other])
                yield Trial("wrong, one of six words changed", channel, said, _NEAR[sentence])
        if emotion in _PLAIN:
            cut = samples[: round(len(samples) * 0.6)]
            yield Trial("wrong, acted, cut short", "clean", ear.hear(cut, "clean"), _SENTENCES[sentence])


def read_aloud(rows: Sequence[Row], ear: Ear, every: int) -> Iterator[Trial]:
    """Yield trials of readers of LibriSpeech, of five words and more; of one of `every` recordings."""
    chosen = [row for row in rows if row.dataset.startswith("ls_")][::every]
    recordings = {row.file: read_unconditioned(row.path)[: 15 * SAMPLE_RATE_HZ] for row in chosen}
    texts = {name: ear.hear(samples, "clean") for name, samples in recordings.items()}
    texts = {name: text for name, text in texts.items() if len(normalise(text)) >= 5}
    names = list(texts)
    rng = np.random.default_rng(0)
    for place, name in enumerate(names):
        wanted = normalise(texts[name])
        changed = list(wanted)
        changed[int(rng.integers(len(wanted)))] = "umbrella"
        for channel in CHANNELS[1:]:
            said = ear.hear(recordings[name], channel)
            yield Trial("right, read", channel, said, texts[name])
            yield Trial("wrong, one word changed", channel, said, " ".join(changed))
            for step in (1, 7, 31):
                yield Trial("wrong, another text", channel, said, texts[names[(place + step) % len(names)]])
        cut = recordings[name][: round(len(recordings[name]) * 2 / 3)]
        yield Trial("wrong, read, last third cut off", "clean", ear.hear(cut, "clean"), texts[name])


def listed(rows: Sequence[Row], ear: Ear, count: int) -> Iterator[ListTrial]:
    """Yield trials of lists of six digits, read out with pauses."""
    voices = digits([row for row in rows if row.dataset == "fsdd"])
    rng = np.random.default_rng(0)
    for i in range(count):
        speaker = sorted(voices)[i % len(voices)]
        names = [str(name) for name in rng.permutation(sorted(voices[speaker]))]
        wanted = " ".join(names[:6])
        for kind, said in _lists(names, rng).items():
            clips = [voices[speaker][name][int(rng.integers(len(voices[speaker][name])))] for name in said]
            samples = read_out(clips, rng)
            for channel in CHANNELS[:2]:
                accepted = check_words(ear.hear(samples, channel), wanted).matched
                yield ListTrial(kind, speaker.rpartition(":")[2], channel, accepted)


def _lists(names: Sequence[str], rng: np.random.Generator) -> dict[str, list[str]]:
    """Return what is said where the first six names are wanted."""
    wanted = list(names[:6])
    place = int(rng.integers(5))
    one, other = wanted[place : place + 2]
    before, after = wanted[:place], wanted[place + 2 :]
    return {
        "right": wanted,
        "wrong, shuffled": _shuffled(wanted, rng),
        "wrong, neighbours swapped": [*before, other, one, *after],
        "wrong, one missing": [*before, other, *after],
        "wrong, one replaced": [*before, names[6], other, *after],
        "wrong, all said twice": wanted + wanted,
    }


def _shuffled(words: list[str], rng: np.random.Generator) -> list[str]:
    found = [str(word) for word in rng.permutation(words)]
    return found if found != words else _shuffled(words, rng)


def _phrase_table(trials: Iterator[Trial]) -> Iterator[str]:
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for trial in trials:
        groups[trial.kind, trial.channel].append(trial.rate)
    yield f"{'phrase':34} {'channel':12} trials  WER %  accepted in % at " + "  ".join(f"{one:4}" for one in LIMITS)
    for (kind, channel), rates in sorted(groups.items()):
        shares = "  ".join(f"{100 * np.mean(np.array(rates) <= limit):4.0f}" for limit in LIMITS)
        yield f"{kind:34} {channel:12} {len(rates):6} {100 * np.mean(rates):6.1f}                   {shares}"


def _list_table(trials: Iterator[ListTrial]) -> Iterator[str]:
    groups: dict[tuple[str, str, str], list[bool]] = defaultdict(list)
    for trial in trials:
        groups[trial.kind, trial.channel, trial.speaker].append(trial.accepted)
    yield f"{'six digits':26} {'channel':10} {'voice':8} trials  accepted in %"
    for (kind, channel, voice), accepted in sorted(groups.items()):
        yield f"{kind:26} {channel:10} {voice:8} {len(accepted):6} {100 * np.mean(accepted):14.0f}"


if __name__ == "__main__":
    main()

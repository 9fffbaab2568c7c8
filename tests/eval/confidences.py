"""`python -m tests.eval.confidences MANIFEST --dataset NAME`: error rates of a model's confidences, by condition.

People in the corpus that models are calibrated on are left out. Recordings are compared each with each. The only one
of a person is cut in two if it has 6 s of speech, or else left out. Recordings whose note has `emotion=` are acted:
neutral and calm ones (01, 02) are enrolled.
"""

import pickle
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from models import registry
from models.calibration.channels import CHANNELS, through
from models.calibration.corpus import MANIFEST, SHIPPED, read_corpus, read_samples
from models.calibration.listening import first, hear
from models.calibration.metrics import cllr, eer
from models.vad import SileroVad
from shared.domain.audio import SAMPLE_RATE_HZ, Samples, Waveform, total_s
from shared.domain.calibration import Calibration, Captures, confidence
from shared.domain.voiceprints import Voiceprint
from shared.sound.conditioning import condition
from tests.eval.naming import speakers_of
from tests.eval.recordings import Row, read_manifest
from tests.support.sounds import read_unconditioned
from worker.voices.voiceprint import Nets

LEVELS = (50, 90, 95, 99)
BABBLE = "babble 10 dB"
_BABBLE_DB = 10.0
#: Voices of the corpus that speak at once.
_BABBLERS = 6
#: Condition -> channel, and most seconds of speech.
CONDITIONS = {
    **{channel: (channel, np.inf) for channel in (*CHANNELS, BABBLE)},
    **{f"{seconds:g} s": ("clean", seconds) for seconds in (10.0, 5.0, 3.0, 1.6)},
    **{f"telephone, {seconds:g} s": ("telephone", seconds) for seconds in (3.0, 1.6)},
}
ROWS = (
    *(("clean", name) for name in CONDITIONS if name != "telephone, 1.6 s"),
    *((name, name) for name in (*CHANNELS, BABBLE, "3 s", "1.6 s", "telephone, 3 s") if name != "clean"),
)
#: Conditions whose mean cost is the figure to compare calibrations by.
_MEAN_OF = ("clean", "telephone", "noise 10 dB", "noise 5 dB")
_CALM = ("01", "02")
#: Least speech of a recording that is cut in two, as in a calibration.
_LEAST_S = 6.0
#: Conditions of acted speech.
_ACTED = ("clean", "telephone")


@dataclass(frozen=True, eq=False)
class Voice:
    """Voiceprints of a recording by condition; those with too little speech are left out."""

    speaker: str
    recording: str
    emotion: str | None
    heard: dict[str, Voiceprint]


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dataset", "datasets", multiple=True, required=True, help="May be given again; all are one table.")
@click.option("--model", help="Handle of an installed model; the default one if left out.")
@click.option("--weights-dir", type=click.Path(path_type=Path), default=registry.WEIGHTS_DIR)
@click.option("--cache", type=click.Path(path_type=Path), help="File of voiceprints: written, or read if it exists.")
def main(manifest: Path, datasets: tuple[str, ...], model: str | None, weights_dir: Path, cache: Path | None) -> None:
    """Print the error rates of a model's confidences on the one-speaker recordings of MANIFEST."""
    card = registry.installed_card(model, weights_dir) if model else registry.default_card(weights_dir)
    assert card.calibration, f"{card.model_id} has no calibration"
    fitted = speakers_of(SHIPPED / MANIFEST)
    rows = [row for row in read_manifest(manifest) if row.kind == "single" and row.dataset in datasets]
    if cache and cache.exists():
        voices = pickle.loads(cache.read_bytes())
    else:
        nets = Nets(SileroVad(), registry.load(card, weights_dir))
        voices = list(listen([row for row in rows if row.speaker.rpartition(":")[2] not in fitted], nets))
    if cache:
        cache.write_bytes(pickle.dumps(voices))
    print(f"{card.model_id}, {card.calibration.data}, fitted {card.calibration.fitted_at}")
    report(card.calibration, voices)


def listen(rows: Sequence[Row], nets: Nets) -> Iterator[Voice]:
    """Yield the voices of all recordings."""
    number = Counter(row.speaker for row in rows)
    crowd = [read_samples(recording.path) for recording in read_corpus().recordings[::4]]
    for row in rows:
        samples = read_unconditioned(row.path)
        for i, part in enumerate([samples] if number[row.speaker] > 1 else _halves(samples, nets)):
            emotion = row.note.get("emotion")
            heard = dict(_heard(part, crowd, nets, _ACTED if emotion else tuple(CONDITIONS)))
            yield Voice(row.speaker, f"{row.file} {i}", emotion, heard)
        print(".", end="", file=sys.stderr, flush=True)


def _halves(samples: Samples, nets: Nets) -> list[Samples]:
    speech = nets.vad.speech_segments(through("clean", samples).samples)
    if total_s(speech) < _LEAST_S:
        return []
    half = first(speech, total_s(speech) / 2)
    return np.split(samples, [round(half[-1].end_s * SAMPLE_RATE_HZ)])


def _heard(
    samples: Samples, crowd: Sequence[Samples], nets: Nets, names: Sequence[str]
) -> Iterator[tuple[str, Voiceprint]]:
    for channel in dict.fromkeys(CONDITIONS[name][0] for name in names):
        changed = babble(samples, crowd) if channel == BABBLE else CHANNELS[channel](samples)
        waveform = Waveform(condition([changed[None]]), SAMPLE_RATE_HZ)
        speech = nets.vad.speech_segments(waveform.samples)
        for name in names:
            wanted, most_s = CONDITIONS[name]
            enough = most_s == np.inf or total_s(speech) >= 0.9 * most_s
            if wanted == channel and enough and (found := hear(waveform, first(speech, most_s), nets.embedder)):
                yield name, found


def babble(samples: Samples, crowd: Sequence[Samples]) -> Samples:
    """Add voices that speak at once, always the same for one recording."""
    rng = np.random.default_rng(len(samples))
    chosen = [crowd[i] for i in rng.permutation(len(crowd))[:_BABBLERS]]
    parts = [np.resize(np.roll(one, -int(rng.integers(len(one)))), len(samples)) for one in chosen]
    noise = np.sum([part / np.sqrt(np.mean(np.square(part)) + 1e-12) for part in parts], axis=0)
    gain = np.sqrt(np.mean(np.square(samples)) / np.mean(np.square(noise)) / 10 ** (_BABBLE_DB / 10))
    return (samples + gain * noise).astype(np.float32)


def report(calibration: Calibration, voices: Sequence[Voice]) -> None:
    """Print the tables of read and of acted speech."""
    read = [voice for voice in voices if voice.emotion is None]
    costs = {}
    print(f"{'enrolled / tried':36} same + other  Cllr   EER %   " + "  ".join(f"FA / FR % at {one}" for one in LEVELS))
    for enrolled, tried in ROWS:
        found = scored(calibration, _in(read, enrolled), _in(read, tried))
        if found[1].any():
            costs[enrolled, tried] = cllr(*found)
            print(_line(f"{enrolled} / {tried}", *found))
    if mean := [costs["clean", name] for name in _MEAN_OF if ("clean", name) in costs]:
        speakers = len({voice.speaker for voice in read})
        print(f"mean Cllr, enrolled clean and tried {', '.join(_MEAN_OF)}: {np.mean(mean):.3f} ({speakers} speakers)")
    acted = [voice for voice in voices if voice.emotion]
    calm = [voice for voice in acted if voice.emotion in _CALM]
    other = [voice for voice in acted if voice.emotion not in _CALM]
    for name in _ACTED:
        for kind, tried in (("calm", calm), ("other emotions", other)):
            found = scored(calibration, _in(calm, name), _in(tried, name))
            if found[1].any():
                print(_line(f"acted, {name}: calm / {kind}", *found))


#: Speaker, recording, voiceprint.
Heard = tuple[str, str, Voiceprint]


def _in(voices: Sequence[Voice], name: str) -> list[Heard]:
    return [(voice.speaker, voice.recording, voice.heard[name]) for voice in voices if name in voice.heard]


def scored(
    calibration: Calibration, enrolled: Sequence[Heard], tried: Sequence[Heard]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-likelihood ratio of each two recordings, and whether they are of one speaker."""
    if not enrolled or not tried:
        return np.empty(0), np.empty(0, bool)
    speakers, recordings = (np.array([one[i] for one in enrolled]) for i in (0, 1))
    vectors = np.stack([voice.vector for *_, voice in enrolled])
    captures = Captures.of([voice.capture for *_, voice in enrolled])
    lengths = calibration.lengths(vectors, captures)
    llrs, same = [], []
    for speaker, recording, probe in tried:
        others = recordings != recording
        llrs.append(calibration.llrs(vectors, lengths, captures, probe)[others])
        same.append((speakers == speaker)[others])
    return np.concatenate(llrs), np.concatenate(same)


def _line(name: str, llrs: np.ndarray, same: np.ndarray) -> str:
    accepted = np.array([confidence(llr) for llr in llrs])
    rates = (
        f"{100 * np.mean(accepted[~same] >= level):5.2f} / {100 * np.mean(accepted[same] < level):5.1f}"
        for level in LEVELS
    )
    cost = f"{cllr(llrs, same):.3f}  {100 * eer(llrs, same):5.2f}"
    return f"{name:36} {same.sum():4} + {(~same).sum():5}  {cost}   {'  '.join(rates)}"


if __name__ == "__main__":
    main()

"""`python -m tests.eval.calls MANIFEST`: the speech of each channel of recorded calls, with leaks between channels."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import click
import numpy as np

from models.calibration.channels import CHANNELS
from models.vad import SileroVad
from shared.domain.audio import Planar, Samples
from shared.domain.diarization import Turn, label
from shared.sound.conditioning import Conditioner, Survey, condition
from tests.eval.recordings import read_manifest
from tests.support.calls import Call, call, leaking
from tests.support.sounds import read_unconditioned
from worker.voices.error_rate import diarization_error

_SECONDS = 60.0
_LEAKS_DB = (None, -30.0, -20.0, -12.0)
#: Sorts of calls: the line, and how the two speak.
_TALKS: dict[str, tuple[str, dict[str, float]]] = {
    "in turn": ("clean", {}),
    "at once": ("clean", {"together": 0.6}),
    "10 to 90": ("clean", {"share": 0.1}),
    "telephone": ("telephone", {}),
    "noise": ("noise 15 dB", {}),
}
#: The second channel is quieter by 20 dB, as lines are.
_QUIETER = np.array([[1.0], [0.1]])


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dataset", default="ls_other", show_default=True)
@click.option("--calls", default=4, show_default=True, help="Calls of each sort.")
def main(manifest: Path, dataset: str, calls: int) -> None:
    """Print what is missed and false on each channel, in % of its speech, with and without the rule for leaks."""
    vad = SileroVad()
    people: dict[str, list[Samples]] = {}
    for row in read_manifest(manifest):
        if row.kind == "single" and row.dataset == dataset:
            people.setdefault(row.speaker, []).append(read_unconditioned(row.path))
    pairs = list(pairwise([*people.values()] * 2))[:calls]
    print(f"{'call':9} {'leak dB':>8} {'missed':>7} {'false':>6}   without the rule")
    for talk, (line, options) in _TALKS.items():
        made = [call(pair, _SECONDS, seed=seed, **options) for seed, pair in enumerate(pairs)]
        for leak_db in _LEAKS_DB:
            heard = [(one, _through(one.sound, line, leak_db)) for one in made]
            ruled, bare = (_errors(heard, way, vad) for way in (apart, alone))
            told = f"{ruled[0]:7.1f} {ruled[1]:6.1f}   {bare[0]:.1f} {bare[1]:.1f}"
            print(f"{talk:9} {leak_db or 'none':>8} {told}", flush=True)


def apart(planar: Planar) -> Planar:
    """Return the channels as a job hears each of them."""
    survey = Survey()
    survey.add(planar)
    return Conditioner(survey.each())(planar)


def alone(planar: Planar) -> Planar:
    """Return the channels as if they were recordings of their own."""
    return np.stack([condition([channel[None]]) for channel in planar])


def _through(sound: Planar, line: str, leak_db: float | None) -> Planar:
    leaked = sound if leak_db is None else leaking(sound, leak_db)
    return (np.stack([CHANNELS[line](channel) for channel in leaked]) * _QUIETER).astype(np.float32)


def _errors(heard: list[tuple[Call, Planar]], way: Callable[[Planar], Planar], vad: SileroVad) -> tuple[float, float]:
    """Return missed and false speech in % of all speech, without 0.25 s at each edge."""
    errors = [
        diarization_error(
            [Turn(segment, label(k)) for segment in one.speech[k]],
            [Turn(segment, label(k)) for segment in vad.speech_segments(samples)],
            _SECONDS,
        )
        for one, planar in heard
        for k, samples in enumerate(way(planar))
    ]
    speech_s = sum(error.speech_s for error in errors) / 100
    return sum(e.missed_s for e in errors) / speech_s, sum(e.false_alarm_s for e in errors) / speech_s


if __name__ == "__main__":
    main()

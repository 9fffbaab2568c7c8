"""Recordings of a manifest, simulated channels, and voiceprints of recordings."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import scipy.signal

from shared.domain.audio import Samples, Segment, Waveform, total_s
from shared.domain.voiceprints import Voiceprint
from worker.recordings.conditioning import condition
from worker.voices.level import evened
from worker.voices.voiceprint import Nets, measure

RATE_HZ = 16_000
#: Curvature of mu-law (G.711).
_MU = 255.0
#: Signal-to-noise ratios of the noisy channels.
_NOISES_DB = (20, 15, 10, 5)


@dataclass(frozen=True)
class Row:
    """One line of a manifest."""

    path: Path
    file: str
    speaker: str
    dataset: str
    kind: str
    note: dict[str, str]


@dataclass(frozen=True, eq=False)
class Heard:
    """Voiceprint of a recording of one speaker."""

    speaker: str
    voiceprint: Voiceprint


def read_manifest(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return [
            Row(path.parent / row["file"], row["file"], row["speaker"], row.get("dataset", ""),
                row.get("kind") or "single", dict(p.split("=", 1) for p in (row.get("note") or "").split() if "=" in p))
            for row in csv.DictReader(file)
        ]  # fmt: skip


def through(channel: str, samples: Samples) -> Waveform:
    """Return a recording through a channel, as the worker would hear it; `samples` are not conditioned yet."""
    return Waveform(condition([CHANNELS[channel](samples)[None]]), RATE_HZ)


def clean(samples: Samples) -> Samples:
    return samples


def telephone(samples: Samples) -> Samples:
    """Simulate a telephone: 8 kHz, 300 to 3400 Hz, mu-law in 8 bits."""
    narrow = scipy.signal.resample_poly(samples, 1, 2)
    band = scipy.signal.sosfilt(scipy.signal.butter(4, [300, 3400], "band", fs=8000, output="sos"), narrow)
    band = band / max(np.abs(band).max(), 1e-9) * 0.7
    coded = np.round(np.sign(band) * np.log1p(_MU * np.abs(band)) / np.log1p(_MU) * 127) / 127
    decoded = np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(_MU)) / _MU
    return scipy.signal.resample_poly(decoded, 2, 1)[: len(samples)].astype(np.float32)


def noisy(samples: Samples, snr_db: float) -> Samples:
    """Add pink noise, always the same for one recording."""
    spectrum = np.fft.rfft(np.random.default_rng(len(samples)).standard_normal(len(samples)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), len(samples))
    gain = np.sqrt(np.mean(np.square(samples)) / np.mean(np.square(noise)) / 10 ** (snr_db / 10))
    return (samples + gain * noise).astype(np.float32)


CHANNELS: dict[str, Callable[[Samples], Samples]] = {
    "clean": clean,
    "telephone": telephone,
    **{f"noise {snr_db} dB": partial(noisy, snr_db=snr_db) for snr_db in _NOISES_DB},
}


def listen(speaker: str, waveform: Waveform, nets: Nets, most_s: float = np.inf) -> Heard | None:
    """Embed the first `most_s` seconds of a single speaker's speech; None if there is too little speech."""
    return hear(speaker, waveform, first(nets.vad.speech_segments(waveform.samples), most_s), nets)


def hear(speaker: str, waveform: Waveform, speech: list[Segment], nets: Nets) -> Heard | None:
    """Embed a single speaker's `speech`; None if there is too little of it."""
    if total_s(speech) < 0.5:
        return None
    # Any speech beyond these segments would count as noise.
    waveform = Waveform(waveform.samples[: round(speech[-1].end_s * waveform.sample_rate_hz)], waveform.sample_rate_hz)
    vector = nets.embedder.embed(evened(waveform.join(speech)))
    capture = measure(waveform, speech, total_s(speech))
    return Heard(speaker, Voiceprint(nets.embedder.card.model_id, vector, capture))


def first(speech: list[Segment], most_s: float) -> list[Segment]:
    kept: list[Segment] = []
    for segment in speech:
        left_s = most_s - total_s(kept)
        if left_s <= 0:
            break
        kept.append(Segment(segment.start_s, min(segment.end_s, segment.start_s + left_s)))
    return kept

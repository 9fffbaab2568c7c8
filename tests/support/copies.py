"""Copies of recordings as they come back: through codecs, cut, amplified, noisy, at another speed, in a room."""

import io
from collections.abc import Callable
from functools import partial

import av
import av.filter
import numpy as np
import scipy.signal

from models.calibration.channels import noisy
from shared.domain.audio import Samples
from tests.support.sounds import RATE

#: Reverberation of the room, and its direct sound beside it.
_DECAY_S = 0.4
_DIRECT = 8.0


def coded(samples: Samples, form: str, encoder: str, rate: int = RATE, bit_rate: int = 0) -> bytes:
    """Return a file of `samples` at 16 kHz, in the container `form`."""
    file = io.BytesIO()
    with av.open(file, "w", format=form, options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(encoder, rate=rate, layout="mono")
        if bit_rate:
            stream.bit_rate = bit_rate
        container.mux([*stream.encode(_frame(samples)), *stream.encode(None)])
    return file.getvalue()


def wav(samples: Samples) -> bytes:
    return coded(samples, "wav", "pcm_s16le")


def quicker(samples: Samples, tempo: str) -> Samples:
    """Return the sound at another tempo, its pitch kept."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=RATE, format="s16", layout="mono")
    graph.link_nodes(source, graph.add("atempo", tempo), graph.add("abuffersink")).configure()
    graph.push(_frame(samples))
    graph.push(None)
    pieces = []
    while True:
        try:
            pieces.append(graph.pull().to_ndarray().ravel())
        except (av.BlockingIOError, av.EOFError):
            return np.concatenate(pieces).astype(np.float32) / 32_768


def in_a_room(samples: Samples) -> Samples:
    """Return the sound as a loudspeaker plays it in a room with noise."""
    times_s = np.arange(round(_DECAY_S * RATE)) / RATE
    echoes = np.random.default_rng(len(samples)).standard_normal(len(times_s)) * 10 ** (-3 * times_s / _DECAY_S)
    echoes[0] = _DIRECT
    wet = scipy.signal.fftconvolve(samples, echoes)[: len(samples)]
    return noisy((wet / np.abs(wet).max() / 2).astype(np.float32), 15)


def _frame(samples: Samples) -> av.AudioFrame:
    whole = np.clip(np.round(samples * 32_768), -32_768, 32_767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(whole[None], "s16", "mono")
    frame.sample_rate = RATE
    return frame


def _cut(samples: Samples, start_s: float) -> bytes:
    return wav(samples[round(start_s * RATE) :])


def _middle(samples: Samples) -> bytes:
    start = max(0, len(samples) // 2 - round(1.5 * RATE))
    return wav(samples[start : start + 3 * RATE])


#: Name of a kind of copy -> the file of it.
COPIES: dict[str, Callable[[Samples], bytes]] = {
    "mp3 32k": partial(coded, form="mp3", encoder="libmp3lame", bit_rate=32_000),
    "mp3 128k": partial(coded, form="mp3", encoder="libmp3lame", rate=44_100, bit_rate=128_000),
    "aac 48k": partial(coded, form="mp4", encoder="aac", bit_rate=48_000),
    "opus 8k": partial(coded, form="ogg", encoder="libopus", rate=48_000, bit_rate=8_000),
    "opus 16k": partial(coded, form="ogg", encoder="libopus", rate=48_000, bit_rate=16_000),
    "opus 24k": partial(coded, form="ogg", encoder="libopus", rate=48_000, bit_rate=24_000),
    "mu-law 8 kHz": partial(coded, form="wav", encoder="pcm_mulaw", rate=8_000),
    "amr 8 kHz": partial(coded, form="amr", encoder="libopencore_amrnb", rate=8_000, bit_rate=12_200),
    "gain -12 dB": lambda samples: wav(samples * 10 ** (-12 / 20)),
    "cut 0.7 s": partial(_cut, start_s=0.7),
    "cut 1.37 s": partial(_cut, start_s=1.37),
    "middle 3 s": _middle,
    "noise 20 dB": lambda samples: wav(noisy(samples, 20)),
    "noise 10 dB": lambda samples: wav(noisy(samples, 10)),
    "speed 1.02": lambda samples: wav(scipy.signal.resample_poly(samples, 50, 51).astype(np.float32)),
    "tempo 1.02": lambda samples: wav(quicker(samples, "1.02")),
    "room, 15 dB": lambda samples: wav(in_a_room(samples)),
}

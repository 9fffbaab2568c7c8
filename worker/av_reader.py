"""Files become sound: any common format, mono, 16 kHz, never more than the limit.

libav opens a Python file object, so it has no name to resolve; playlists and scripts, which make it open other
files and addresses, are not among the formats, and no protocol is allowed it at all. Still, libav may crash or be
taken over by what it reads, so this runs in a process of its own (`worker/decode_child.py`).
"""

from collections.abc import Iterator
from typing import BinaryIO

import av
import numpy as np

from shared.domain.audio import Samples
from worker.decode_protocol import SAMPLE_RATE_HZ, Refusal

_FORMATS = "wav,w64,mp3,flac,ogg,mov,matroska,aac,amr,aiff,au,caf"
#: What lossy codecs add: an encoder's delay and the last frame's padding, up to some frames of 2048 samples at
#: 8 kHz. Recordings up to the limit plus this are taken and cut to the limit.
CODEC_PADDING_S = 0.5
_RATES_HZ = range(4_000, 192_001)
_MAX_CHANNELS = 8


class Refused(Exception):
    """The file gives no sound."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.name)
        self.refusal = refusal


def read_samples(file: BinaryIO, max_s: float) -> Samples:
    """Return the first audio stream of `file` in [-1, 1], mono at 16 kHz; `max_s` is judged on decoded samples.

    Raises
    ------
    Refused
    """
    try:
        samples = _read(file, max_s)
    except (av.FFmpegError, OSError, EOFError, ValueError, UnicodeError, MemoryError):
        raise Refused(Refusal.NOT_AUDIO) from None
    if len(samples) == 0:
        raise Refused(Refusal.DAMAGED)
    # Float formats may hold anything, not-a-number included.
    return np.clip(np.nan_to_num(samples), -1.0, 1.0)


def _read(file: BinaryIO, max_s: float) -> Samples:
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}
    with av.open(file, mode="r", container_options=options) as container:
        stream = next(iter(container.streams.audio), None)
        # A stream of a codec that nobody knows has no context to decode it in.
        if stream is None or stream.codec_context is None:
            raise Refused(Refusal.NOT_AUDIO)
        # The child may start no thread.
        stream.codec_context.thread_count = 1
        return _limited(_resampled(container, stream), max_s)


def _limited(blocks: Iterator[Samples], max_s: float) -> Samples:
    """Join `blocks` up to the limit; raise as soon as there is more, having decoded no further."""
    kept: list[Samples] = []
    count, most = 0, round((max_s + CODEC_PADDING_S) * SAMPLE_RATE_HZ)
    for block in blocks:
        kept.append(block)
        count += len(block)
        if count > most:
            raise Refused(Refusal.TOO_LONG)
    joined = np.concatenate([np.empty(0, np.float32), *kept])
    return joined[: round(max_s * SAMPLE_RATE_HZ)]


def _resampled(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[Samples]:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
    for frame in container.decode(stream):
        if frame.sample_rate not in _RATES_HZ or frame.layout.nb_channels > _MAX_CHANNELS:
            raise Refused(Refusal.OUT_OF_RANGE)
        frame.pts = None
        yield from (block.to_ndarray()[0] for block in resampler.resample(frame))
    yield from (block.to_ndarray()[0] for block in resampler.resample(None))

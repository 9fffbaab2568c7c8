"""Reading of files with libav: any common format to mono sound at 16 kHz, up to a limit.

libav gets a Python file object, so it has no file name to resolve. Playlists and scripts, which open other files and
addresses, are not accepted, and no protocol is allowed. A hostile file may still crash libav or take it over, so this
runs in a child process (`worker/recordings/decoder_child.py`).
"""

import math
from collections.abc import Iterator
from typing import BinaryIO

import av
import numpy as np

from shared.domain.audio import Samples
from worker.recordings.decoder_protocol import HEADER, SAMPLE_RATE_HZ, Refusal

#: libav's names of the containers that are accepted.
FORMATS = "wav,w64,mp3,flac,ogg,mov,matroska,aac,amr,aiff,au,caf"
#: Most that lossy codecs add: an encoder's delay and the last frame's padding, some frames of 2048 samples at 8 kHz.
#: Recordings up to the limit plus this are accepted and cut to the limit.
CODEC_PADDING_S = 0.5
_RATES_HZ = range(4_000, 192_001)
_MAX_CHANNELS = 8


class Refused(Exception):
    """A file that cannot be decoded, with the reason."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.name)
        self.refusal = refusal


def write_sound(file: BinaryIO, pipe: BinaryIO, max_s: float) -> None:
    """Write the header of the protocol to `pipe`, then the samples of the first audio stream of `file`.

    The samples are float32 in [-1, 1], mono at 16 kHz. `max_s` limits their number, whatever the file's header says.

    Raises
    ------
    Refused
    """
    try:
        num_samples = _write(file, pipe, max_s)
    except (av.FFmpegError, OSError, EOFError, ValueError, UnicodeError, MemoryError):
        raise Refused(Refusal.NOT_AUDIO) from None
    if num_samples == 0:
        raise Refused(Refusal.DAMAGED)


def _write(file: BinaryIO, pipe: BinaryIO, max_s: float) -> int:
    """Return the number of samples decoded."""
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    count = 0
    most = round(max_s * SAMPLE_RATE_HZ)
    with av.open(file, mode="r", container_options=options) as container:
        stream = next(iter(container.streams.audio), None)
        if stream is None and container.streams.video:
            raise Refused(Refusal.NO_SOUND)
        # A stream of an unknown codec has no codec context.
        if stream is None or stream.codec_context is None:
            raise Refused(Refusal.NOT_AUDIO)
        # The sandbox forbids threads.
        stream.codec_context.thread_count = 1
        pipe.write(HEADER.pack(_claimed_s(container, stream)))
        for block in _resampled(container, stream):
            # Float formats may hold values beyond 1, and not-a-number.
            pipe.write(np.clip(np.nan_to_num(block[: max(0, most - count)]), -1.0, 1.0).tobytes())
            count += len(block)
            if count > most + CODEC_PADDING_S * SAMPLE_RATE_HZ:
                raise Refused(Refusal.TOO_LONG)
    pipe.flush()
    return count


def _claimed_s(container: av.container.InputContainer, stream: av.AudioStream) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else math.nan


def _resampled(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[Samples]:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
    for frame in container.decode(stream):
        if frame.sample_rate not in _RATES_HZ or frame.layout.nb_channels > _MAX_CHANNELS:
            raise Refused(Refusal.OUT_OF_RANGE)
        frame.pts = None
        yield from (block.to_ndarray()[0] for block in resampler.resample(frame))
    yield from (block.to_ndarray()[0] for block in resampler.resample(None))

"""Sound of a job's recording: fetched and decoded, whole or block by block."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import SAMPLE_RATE_HZ, ChannelStream, Stream, Waveform
from shared.domain.limits import Limits
from shared.domain.sources import Source
from worker.ports import Decoder, Fetcher
from worker.recordings.plain_wav import require_plain_wav
from worker.voices.progress import Steps

_Block = TypeVar("_Block", bound=NDArray[np.float32])


@dataclass(frozen=True, kw_only=True)
class SourceReader:
    """Reader of recordings that clients name."""

    fetcher: Fetcher
    decoder: Decoder

    def waveform(
        self, client_id: str, source: Source, limits: Limits, steps: Steps, channel: int | None = None
    ) -> Waveform:
        """Fetch a short recording and decode it whole, one channel of it or all; raises a JobFailure."""
        with self._fetched(client_id, source, limits, steps) as file, steps("decode"):
            if limits.plain_wav:
                require_plain_wav(file, limits.max_audio_s)
            waveform = self.decoder.decode(file, limits.max_audio_s, channel)
        steps.audio_s += waveform.duration_s
        return waveform

    @contextmanager
    def stream(
        self, client_id: str, source: Source, limits: Limits, steps: Steps, channel: int | None = None
    ) -> Iterator[Stream]:
        """Fetch a recording of any length and open its sound, block by block; raises a JobFailure."""
        file = self._fetched(client_id, source, limits, steps)
        with file, self.decoder.stream(file, limits.max_audio_s, channel) as stream:
            yield replace(stream, blocks=_counted(stream.blocks, steps))

    @contextmanager
    def stream_each(self, client_id: str, source: Source, limits: Limits, steps: Steps) -> Iterator[ChannelStream]:
        """Do the same with each channel apart."""
        file = self._fetched(client_id, source, limits, steps)
        with file, self.decoder.stream_each(file, limits.max_audio_s) as stream:
            yield replace(stream, blocks=_counted(stream.blocks, steps))

    def _fetched(self, client_id: str, source: Source, limits: Limits, steps: Steps) -> BinaryIO:
        with steps("download"):
            return self.fetcher.fetch(client_id, source, limits)


def _counted(blocks: Iterator[_Block], steps: Steps) -> Iterator[_Block]:
    for block in blocks:
        steps.audio_s += block.shape[-1] / SAMPLE_RATE_HZ
        yield block

"""Ports of the handlers; `worker/bootstrap.py` supplies them."""

from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from shared.domain.audio import ChannelStream, Stream, Waveform
from shared.domain.limits import Limits
from shared.domain.sources import Source


class Fetcher(Protocol):
    """Fetches recordings."""

    def fetch(self, client_id: str, source: Source, limits: Limits) -> BinaryIO:
        """Return the recording as an open file; raises a JobFailure."""


class Decoder(Protocol):
    """Decodes files to sound."""

    def decode(self, file: BinaryIO, max_s: float, channel: int | None = None) -> Waveform:
        """Return mono 16 kHz sound, of one channel or of all; raises a JobFailure."""

    def stream(self, file: BinaryIO, max_s: float, channel: int | None = None) -> AbstractContextManager[Stream]:
        """Open mono 16 kHz sound, decoded as it is taken; raises a JobFailure, and so do the blocks."""

    def stream_each(self, file: BinaryIO, max_s: float) -> AbstractContextManager[ChannelStream]:
        """Open the channels' sound apart, at 16 kHz; raises a JobFailure, and so do the blocks."""

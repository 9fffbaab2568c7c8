"""Sound of a job's recording: fetched and decoded, whole or block by block."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from shared.domain.audio import SAMPLE_RATE_HZ, Samples, Stream, Waveform
from shared.domain.limits import Limits
from shared.domain.sources import Source
from worker.ports import Decoder, Fetcher
from worker.recordings.plain_wav import require_plain_wav
from worker.voices.progress import Steps


@dataclass(frozen=True, kw_only=True)
class SourceReader:
    """Reader of recordings that clients name."""

    fetcher: Fetcher
    decoder: Decoder

    def waveform(self, client_id: str, source: Source, limits: Limits, steps: Steps) -> Waveform:
        """Fetch a short recording and decode it whole; raises a JobFailure."""
        with steps("download"):
            file = self.fetcher.fetch(client_id, source, limits)
        with file, steps("decode"):
            if limits.plain_wav:
                require_plain_wav(file, limits.max_audio_s)
            waveform = self.decoder.decode(file, limits.max_audio_s)
        steps.audio_s += waveform.duration_s
        return waveform

    @contextmanager
    def stream(self, client_id: str, source: Source, limits: Limits, steps: Steps) -> Iterator[Stream]:
        """Fetch a recording of any length and open its sound, block by block; raises a JobFailure."""
        with steps("download"):
            file = self.fetcher.fetch(client_id, source, limits)
        with file, self.decoder.stream(file, limits.max_audio_s) as stream:
            yield replace(stream, blocks=_counted(stream.blocks, steps))


def _counted(blocks: Iterator[Samples], steps: Steps) -> Iterator[Samples]:
    for block in blocks:
        steps.audio_s += len(block) / SAMPLE_RATE_HZ
        yield block

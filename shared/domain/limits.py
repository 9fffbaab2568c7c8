"""How large a job's recording may be."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a kind of job takes."""

    #: Longest recording, in seconds of decoded sound.
    max_audio_s: float
    #: Largest file, downloaded or uploaded.
    max_bytes: int
    #: Longest download, in seconds of wall clock.
    download_timeout_s: float

"""Limits of a job's recording."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Largest recording that a kind of job accepts."""

    #: Longest recording, in seconds of decoded sound.
    max_audio_s: float
    #: Largest file in bytes, downloaded or uploaded.
    max_bytes: int
    #: Longest download, in seconds of wall clock.
    download_timeout_s: float
    #: Whether only mono WAV files are accepted, of 16-bit PCM, A-law or mu-law at 8 kHz or more.
    plain_wav: bool = False

"""Plain WAV files: mono, 16-bit PCM, A-law or mu-law, 8 kHz or more; others are refused by their header."""

import os
import re
from collections.abc import Iterator
from typing import BinaryIO

from shared.domain.errors import AudioTooLong, NotAudio
from worker.recordings.wav import ALAW, MULAW, PCM, Data, Format, header

LEAST_RATE_HZ = 8000
_ACCEPTED = "a WAV file, mono, of 16-bit PCM, A-law or mu-law at 8 kHz or more"
#: RF64 and BW64 are the same with sizes of 64 bits.
_START = re.compile(rb"(?:RIFF|RF64|BW64).{4}WAVE", re.DOTALL)
_START_BYTES = 12


def require_plain_wav(file: BinaryIO, max_s: float) -> None:
    """Refuse a file that is no plain WAV file, or whose samples last too long.

    Sizes that its header names are believed only where the file has as many bytes.

    Raises
    ------
    NotAudio, AudioTooLong
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if not _START.fullmatch(file.read(_START_BYTES)):
        raise NotAudio(f"The file is not a WAV file (RIFF/WAVE); send {_ACCEPTED}.")
    form, data = header(file, 0, size)
    if form is None or data is None:
        raise NotAudio("The WAV file is damaged or cut off before any sound; send it again, whole.")
    if fault := next(_faults(form), None):
        raise NotAudio(f"{fault}; send {_ACCEPTED}.")
    if _seconds(form, data, size) > max_s:
        raise AudioTooLong(f"The recording is longer than {max_s:g} seconds; send a part of it.")


def _faults(form: Format) -> Iterator[str]:
    """Yield the rules that a file breaks."""
    if form.channels != 1:
        yield f"The recording has {form.channels} channels"
    elif form.tag not in (PCM, ALAW, MULAW):
        yield f"The WAV file has samples of another format ({form.tag:#06x})"
    elif form.tag == PCM and (form.bits, form.sample_bytes) != (16, 2):
        yield f"The WAV file has samples of {form.bits if form.sample_bytes == 2 else 8 * form.sample_bytes} bits"
    if form.rate_hz < LEAST_RATE_HZ:
        yield f"The recording's sample rate is {form.rate_hz} Hz"


def _seconds(form: Format, data: Data, size: int) -> float:
    """Return the length of the samples that are there."""
    there = size - data.at
    named = there if data.named is None else min(there, data.named)
    return named / (form.raw_block_bytes * form.rate_hz)

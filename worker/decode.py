"""Recordings become sound in a process that may do nothing else, so that a hostile file harms nobody."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import structlog

from shared.domain.audio import Waveform
from shared.domain.errors import AudioTooLong, JobFailure, NotAudio
from worker.decode_protocol import ISOLATED, REPORT, SAMPLE_RATE_HZ, Refusal

#: Longest decoding, in seconds of wall clock.
WALL_S = 15.0
_START_S = 60.0
_REPOSITORY = Path(__file__).resolve().parent.parent
_CHUNK_BYTES = 1 << 20

_SENTENCES: dict[int, str] = {
    Refusal.NOT_AUDIO: "The file is not audio in a format that is accepted: wav, flac, mp3, m4a/aac, ogg, opus, webm, "
    "mp4, amr.",
    Refusal.OUT_OF_RANGE: "The recording's sample rate must be 4 to 192 kHz, with at most 8 channels.",
    Refusal.DAMAGED: "The file is damaged or cut off before any sound; send it again, whole.",
}

log = structlog.get_logger()


class ProcessDecoder:
    """`Decoder` in child processes; for one thread at a time. `max_s` is the longest recording, in decoded seconds."""

    def __init__(self, max_s: float, wall_s: float = WALL_S) -> None:
        self._max_s, self._wall_s = max_s, wall_s
        self._helper: DecodeHelper | None = None

    def start(self) -> None:
        """Begin to start the process that the first file will need, without waiting for it."""
        self._helper = self._helper or DecodeHelper(self._max_s)

    def stop(self) -> None:
        """End what was started."""
        if self._helper:
            self._helper.kill()
            self._helper = None

    def decode(self, file: BinaryIO) -> Waveform:
        """Return the first audio stream of `file`, an open file of the system, mono at 16 kHz.

        Raises
        ------
        NotAudio
            Not a file of an accepted format, without an audio stream, damaged beyond use, or made to harm.
        AudioTooLong
            It lasts longer than the limit, whatever its header says.
        """
        if os.fstat(file.fileno()).st_size == 0:
            raise NotAudio("The file is empty; there is nothing to hear.")
        self.start()
        assert self._helper is not None
        try:
            end = self._helper.decode(file, self._wall_s, self._most_bytes)
        except (Overrun, TimeoutError):
            self.stop()
            log.warning("a file was too much for its decoder")
            raise NotAudio("The file took too long to decode; it is damaged, or not what it claims to be.") from None
        except BaseException:
            # Somebody interrupted: what the helper still has to say must not be taken for the next file.
            self.stop()
            raise
        if end.status != 0:
            raise self._failure(end.status)
        return Waveform(np.frombuffer(end.samples, np.float32), SAMPLE_RATE_HZ)

    @property
    def _most_bytes(self) -> int:
        return round(self._max_s * SAMPLE_RATE_HZ) * np.dtype(np.float32).itemsize

    def _failure(self, status: int) -> JobFailure:
        if status == Refusal.TOO_LONG:
            return AudioTooLong(
                f"The recording is longer than {self._max_s:g} seconds; send a part of it where the speaker talks."
            )
        if status not in _SENTENCES:
            log.warning("a file ended its decoder", status=status)
        return NotAudio(_SENTENCES.get(status, _SENTENCES[Refusal.NOT_AUDIO]))


class Overrun(Exception):
    """More time, or more samples, than there can be."""


@dataclass(frozen=True)
class End:
    """How the child of one file ended."""

    #: float32 samples, as bytes.
    samples: bytearray
    #: Exit status, or minus the signal.
    status: int
    max_rss_bytes: int


class DecodeHelper:
    """`worker.decode_child` and the socket to it; it and its children are a process group of their own."""

    def __init__(self, max_s: float) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "worker.decode_child", str(theirs.fileno()), str(max_s)]
            self._process = subprocess.Popen(
                command,
                cwd=_REPOSITORY,
                # None of ours: neither secrets nor credentials may be where hostile files are read.
                env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        #: Whether it has a network namespace of its own; unknown until it is ready.
        self.isolated: bool | None = None

    def decode(self, file: BinaryIO, wall_s: float, most_bytes: int) -> End:
        """Return what came of a file.

        Raises
        ------
        Overrun, TimeoutError
            The file is too much.
        ConnectionError
            The helper itself has died, which no file can bring about.
        """
        self._await_ready()
        ends_at = time.monotonic() + wall_s
        with _pipe() as (reading, writing):
            socket.send_fds(self._control, [b"f"], [file.fileno(), writing.fileno()])
            writing.close()
            raw = _read(reading.fileno(), most_bytes, ends_at)
        status, max_rss = REPORT.unpack(self._receive(REPORT.size, ends_at))
        return End(raw, status, max_rss)

    def kill(self) -> None:
        """End it, and whatever it decodes."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._control.close()

    def _await_ready(self) -> None:
        if self.isolated is None:
            self.isolated = self._receive(1, time.monotonic() + _START_S) == ISOLATED
            log.info("decoder ready", network_namespace=self.isolated)

    def _receive(self, count: int, ends_at: float) -> bytes:
        self._control.settimeout(max(0.001, ends_at - time.monotonic()))
        received = self._control.recv(count, socket.MSG_WAITALL)
        if len(received) < count:
            raise ConnectionError
        return received


@contextmanager
def _pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as reader, os.fdopen(writing, "wb", 0) as writer:
        yield reader, writer


def _read(descriptor: int, most: int, ends_at: float) -> bytearray:
    """Read until the other side closes."""
    found = bytearray()
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, ends_at - time.monotonic()))
        if not ready:
            raise Overrun
        chunk = os.read(descriptor, _CHUNK_BYTES)
        if not chunk:
            return found
        found += chunk
        if len(found) > most:
            raise Overrun

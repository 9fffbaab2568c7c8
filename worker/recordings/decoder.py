"""Decoding of recordings in a sandboxed child process, so that a hostile file does no harm."""

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

from shared.domain.audio import SAMPLE_RATE_HZ, ChannelStream, Planar, Stream, Track, Waveform
from shared.domain.errors import AudioTooLong, ChannelNotFound, JobFailure, NotAudio, WorkerLost
from shared.domain.jobs import MAX_ATTEMPTS
from worker.recordings.decoder_protocol import (
    EACH,
    ISOLATED,
    LEAST_SPEED,
    MIX,
    REPORT,
    REQUEST,
    TRACK,
    Refusal,
    unpack_track,
)

#: Longest wait for a block of sound, in seconds of wall clock.
WALL_S = 15.0
#: Length of a block.
BLOCK_S = 30.0
_START_S = 60.0
_REPOSITORY = Path(__file__).resolve().parents[2]
_CHUNK_BYTES = 1 << 16
_SAMPLE_BYTES = np.dtype(np.float32).itemsize
_BLOCK_BYTES = round(BLOCK_S * SAMPLE_RATE_HZ) * _SAMPLE_BYTES

_ACCEPTED = (
    "wav, flac, mp3, mp2, m4a/aac, mp4/mov/3gp, ogg/opus, webm/mkv, wma/asf, avi, flv, mpegts, ac3, eac3, amr, aiff, "
    "au, caf, w64"
)
_SENTENCES: dict[int, str] = {
    Refusal.NOT_AUDIO: f"The file is not audio in a format that is accepted: {_ACCEPTED}.",
    Refusal.OTHER_FORMAT: f"The file's format is not accepted; convert it to one of these: {_ACCEPTED}.",
    Refusal.MEMORY: "The file takes too much memory to decode; send it with one channel, as flac or wav, or in parts.",
    Refusal.NO_SOUND: "The file is a video without sound; send one that has an audio track.",
    Refusal.OUT_OF_RANGE: "The recording's sample rate must be 4 to 192 kHz, with at most 8 channels.",
    Refusal.DAMAGED: "The file is damaged or cut off before any sound; send it again, whole.",
    Refusal.CODING: "The file's sound is encrypted, or in a coding that cannot be read; send it as flac or wav.",
    Refusal.WAV_CODING: "This WAV holds sound in a coding that cannot be read; send PCM of 8 to 32 bits, or flac.",
    Refusal.WEB_PAGE: "The file is a web page, perhaps of a login or an error; send the address of the recording "
    f"itself: {_ACCEPTED}.",
    Refusal.JSON: f"The file is JSON, perhaps an error of the server that holds it; send the recording: {_ACCEPTED}.",
    Refusal.TEXT: f"The file is text or a playlist, not a recording; send the recording itself: {_ACCEPTED}.",
    Refusal.MULTIPART: "The file is a multipart form; send the recording's bytes alone, without the form round them.",
    Refusal.ZIP: "The file is a zip archive or a document; unpack it, and send the recording in it.",
    Refusal.COMPRESSED: "The file is compressed (gzip or the like) or an archive; unpack it, and send the recording.",
    Refusal.PDF: f"The file is a PDF document; send a recording: {_ACCEPTED}.",
    Refusal.IMAGE: f"The file is an image; send a recording: {_ACCEPTED}.",
}

#: Signals that end a decoder from outside; a file may cause all others.
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP)
_KILLED = (
    "The process that decodes the recording was killed, perhaps because memory ran out. "
    f"The job was tried {MAX_ATTEMPTS} times; send the recording in parts, or as wav."
)

log = structlog.get_logger()


class ProcessDecoder:
    """Decoder in child processes; for one thread at a time."""

    def __init__(self, wall_s: float = WALL_S) -> None:
        self._wall_s = wall_s
        #: The helper for the next file; one at work belongs to its file alone.
        self._idle: DecodeHelper | None = None

    def start(self) -> None:
        """Start the helper process for the next file, without waiting until it is ready."""
        if self._idle and not self._idle.alive:
            log.warning("an idle decoder was killed")
            self.stop()
        self._idle = self._idle or DecodeHelper()

    def stop(self) -> None:
        """Kill the idle helper process."""
        if self._idle:
            self._idle.kill()
            self._idle = None

    def decode(self, file: BinaryIO, max_s: float, channel: int | None = None) -> Waveform:
        """Return the whole sound of `file`, an open file of the system; raises what `stream` raises."""
        with self.stream(file, max_s, channel) as stream:
            samples = np.concatenate([np.empty(0, np.float32), *stream.blocks])
            return Waveform(samples, SAMPLE_RATE_HZ, stream.track)

    @contextmanager
    def stream(self, file: BinaryIO, max_s: float, channel: int | None = None) -> Iterator[Stream]:
        """Open the sound of `file`, an open file of the system: of one channel, or of all as one.

        The whole file has been measured by then; a long one is decoded anew as the blocks are read. Leaving the context
        early kills the process that decodes.

        Raises
        ------
        NotAudio
            The file has no accepted format or no audio stream, is damaged, or was made to harm.
        AudioTooLong
            The sound lasts longer than `max_s` seconds, whatever the header says.
        ChannelNotFound
            The recording lacks the channel. These errors come in place of the first block.
        WorkerLost
            The process that decodes was killed by others than the file.
        """
        with self._blocks(file, max_s, MIX if channel is None else channel) as (blocks, track):
            yield Stream((block[0] for block in blocks), track)

    @contextmanager
    def stream_each(self, file: BinaryIO, max_s: float) -> Iterator[ChannelStream]:
        """Open the sound of `file`, each channel apart and without the others' leaks; raises what `stream` raises."""
        with self._blocks(file, max_s, EACH) as (blocks, track):
            yield ChannelStream(blocks, track)

    @contextmanager
    def _blocks(self, file: BinaryIO, max_s: float, channel: int) -> Iterator[tuple[Iterator[Planar], Track]]:
        if os.fstat(file.fileno()).st_size == 0:
            raise NotAudio("The file is empty; there is nothing to hear.")
        self.start()
        helper = self._idle
        assert helper is not None
        self._idle = None
        try:
            with helper.decoding(file, max_s, self._wall_s, channel) as decoding:
                yield _blocks(decoding, max_s), decoding.track
        except ConnectionError:
            log.warning("a decoder was killed")
            raise WorkerLost(_KILLED) from None
        finally:
            self._take_back(helper)

    def _take_back(self, helper: "DecodeHelper") -> None:
        # A report that an interrupted helper has yet to send must not be read as the next file's. One whose message was
        # read as the interrupt came would be waited for in vain.
        if helper.idle and not self._idle:
            self._idle = helper
        else:
            helper.kill()


def _blocks(decoding: "Decoding", max_s: float) -> Iterator[Planar]:
    """Yield blocks, (num_channels, num_samples)."""
    step_bytes = decoding.num_channels * _SAMPLE_BYTES
    while raw := decoding.read(decoding.num_channels * _BLOCK_BYTES):
        samples = np.frombuffer(raw[: len(raw) // step_bytes * step_bytes], np.float32)
        yield np.ascontiguousarray(samples.reshape(-1, decoding.num_channels).T)
    status = decoding.end().status
    if status != 0:
        raise _failure(status, max_s, decoding.track.channels.number)


def _failure(status: int, max_s: float, num_channels: int = 1) -> JobFailure:
    if status == Refusal.NO_CHANNEL:
        return ChannelNotFound.of(num_channels)
    if status == Refusal.TOO_LONG:
        return AudioTooLong(f"The recording is longer than {max_s:g} seconds; send a part of it.")
    if status in _FROM_OUTSIDE:
        log.warning("the process that decoded a file was killed", status=status)
        return WorkerLost(_KILLED)
    if status not in _SENTENCES:
        log.warning("a file ended its decoder", status=status)
    return NotAudio(_SENTENCES.get(status, _SENTENCES[Refusal.NOT_AUDIO]))


class Overrun(NotAudio):
    """The decoder takes longer, or gives more samples, than the limits allow."""

    def __init__(self) -> None:
        super().__init__("The file took too long to decode; it is damaged, or not what it claims to be.")
        log.warning("a file was too much for its decoder")


@dataclass(frozen=True)
class End:
    """Exit of the child process that decoded one file."""

    #: Exit status, or the negative number of the signal that killed it.
    status: int
    max_rss_bytes: int


class DecodeHelper:
    """Process of `worker.recordings.decoder_child` and its socket; it leads a process group of its own."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker.recordings.decoder_child", str(theirs.fileno())],
                cwd=_REPOSITORY,
                # Without this process's environment: no secret may be in a process that reads hostile files.
                env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        #: Whether it has a network namespace of its own; None until it is ready.
        self.isolated: bool | None = None
        #: Whether it decodes no file, and every message of it was read and noted.
        self.idle = True

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self._process.poll() is None

    @contextmanager
    def decoding(self, file: BinaryIO, max_s: float, wall_s: float, channel: int = MIX) -> Iterator["Decoding"]:
        """Decode a file in a child of the helper; no wait for it is longer than `wall_s`.

        Parameters
        ----------
        channel : number of a channel, `MIX` or `EACH`.

        Raises
        ------
        Overrun
        ConnectionError
            The helper itself has died, which no file can cause.
        """
        self.idle = False
        self._await_ready()
        with _pipe() as (reading, writing):
            socket.send_fds(self._control, [REQUEST.pack(max_s, channel)], [file.fileno(), writing.fileno()])
            writing.close()
            yield Decoding(self, reading.fileno(), max_s, wall_s, each=channel == EACH)

    def end(self, wall_s: float) -> End:
        """Wait for the exit of the child process."""
        status, max_rss_bytes = REPORT.unpack(self._receive(REPORT.size, wall_s))
        self.idle = True
        return End(status, max_rss_bytes)

    def kill(self) -> None:
        """Kill the helper and the child that decodes."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._control.close()

    def _await_ready(self) -> None:
        if self.isolated is None:
            self.isolated = self._receive(1, _START_S) == ISOLATED
            log.info("decoder ready", network_namespace=self.isolated)

    def _receive(self, count: int, seconds: float) -> bytes:
        self._control.settimeout(max(0.001, seconds))
        received = self._control.recv(count, socket.MSG_WAITALL)
        if len(received) < count:
            raise ConnectionError
        return received


class Decoding:
    """Reader of the samples of one file that a helper decodes."""

    def __init__(self, helper: DecodeHelper, pipe: int, max_s: float, wall_s: float, *, each: bool) -> None:
        self._helper = helper
        self._pipe = pipe
        self._wall_s = wall_s
        self._left_bytes = TRACK.size
        # The whole file is read before.
        self.track = unpack_track(bytes(self._read(TRACK.size, wall_s + max_s / LEAST_SPEED)))
        #: Channels whose samples alternate.
        self.num_channels = self.track.channels.number if each else 1
        self._left_bytes += self.num_channels * round(max_s * SAMPLE_RATE_HZ) * _SAMPLE_BYTES

    def read(self, count: int) -> bytearray:
        """Return the next `count` bytes of float32 samples, fewer only at the end."""
        return self._read(count, self._wall_s)

    def _read(self, count: int, wall_s: float) -> bytearray:
        ends_at = time.monotonic() + wall_s
        found = bytearray()
        while len(found) < count and (chunk := self._next(count - len(found), ends_at)):
            found += chunk
        self._left_bytes -= len(found)
        if self._left_bytes < 0:
            raise Overrun
        return found

    def end(self) -> End:
        """Return the exit of the child process, once everything is read."""
        try:
            return self._helper.end(self._wall_s)
        except TimeoutError:
            raise Overrun from None

    def _next(self, most: int, ends_at: float) -> bytes:
        ready, _, _ = select.select([self._pipe], [], [], max(0.0, ends_at - time.monotonic()))
        if not ready:
            raise Overrun
        return os.read(self._pipe, min(most, _CHUNK_BYTES))


@contextmanager
def _pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as reader, os.fdopen(writing, "wb", 0) as writer:
        yield reader, writer

"""`python -m worker.recordings.decoder_child FD`: decode hostile files, each in a child process of its own.

The program imports libav once and forks for each file: a fork is much faster than a start of Python. It has no
settings, no secrets and no network. For each file the worker sends the longest allowed length, the channel, the open
file and a pipe over the socket FD. The child writes samples to the pipe, and the program answers with the child's exit
status.
"""

import importlib
import io
import math
import os
import signal
import socket
import sys
import wave
from contextlib import suppress
from typing import NoReturn

from shared.domain.audio import SAMPLE_RATE_HZ
from worker.recordings.decoder_protocol import (
    EACH,
    ISOLATED,
    LEAST_SPEED,
    MIX,
    REPORT,
    REQUEST,
    SHARED,
    Refusal,
    Refused,
)
from worker.recordings.sandbox import CPU_S, confine, leave_network
from worker.recordings.sound import write_sound

_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
_BUFFER_BYTES = 1 << 16
#: Exit status of a child that ended with an unexpected exception.
UNEXPECTED = 99
#: A long file is read twice, see `worker/recordings/sound.py`.
_READINGS = 2


def serve(control: socket.socket) -> None:
    """Decode the files that arrive over the socket `control`, until it is closed."""
    _warm_up()
    control.sendall(ISOLATED if leave_network() else SHARED)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, REQUEST.size, 2)
        if not message:
            return
        file, pipe = descriptors
        control.sendall(_decode(control, file, pipe, *REQUEST.unpack(message)))


def _decode(control: socket.socket, file: int, pipe: int, max_s: float, channel: int = MIX) -> bytes:
    child = os.fork()
    if child == 0:
        control.close()
        _work(file, pipe, max_s, channel)
    os.close(file)
    os.close(pipe)
    _, ended, usage = os.wait4(child, 0)
    status = os.waitstatus_to_exitcode(ended)
    # The kernel kills at the limit of processor time as others do when memory runs out; that is no fault of the file.
    if status == -signal.SIGKILL and usage.ru_utime + usage.ru_stime > _cpu_s(max_s) - 1:
        status = -signal.SIGXCPU
    return REPORT.pack(status, usage.ru_maxrss * _MAXRSS_BYTES)


def _cpu_s(max_s: float) -> int:
    """Return the most seconds of processor time for a file."""
    return CPU_S + math.ceil(_READINGS * max_s / LEAST_SPEED)


def _work(file: int, pipe: int, max_s: float, channel: int = MIX) -> NoReturn:
    status = UNEXPECTED
    try:
        opened = os.fdopen(file, "rb")
        sound = os.fdopen(pipe, "wb", _BUFFER_BYTES)
        # Libraries may print text of the file, and a process that was taken over must not write to the log.
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nothing, stream.fileno())
        confine(_cpu_s(max_s))
        opened.seek(0)
        write_sound(opened, sound, max_s, channel)
        status = 0
    except Refused as refused:
        status = refused.refusal
    except MemoryError:
        status = Refusal.MEMORY
    finally:
        # sys.exit would flush and close what this process inherited from its parent.
        os._exit(status)


def _warm_up() -> None:
    """Decode once, so that libraries load all their files: a child in the sandbox can open none."""
    # PyAV loads the part for a kind of stream when it first meets one.
    for kind in ("audio", "video", "subtitles"):
        importlib.import_module(f"av.{kind}.codeccontext")
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        # Another rate than ours takes libav's filters, and samples behind their named end our own arithmetic.
        sound.setparams((2, 2, SAMPLE_RATE_HZ // 2, 0, "NONE", ""))
        sound.writeframes(bytes(3200))
    file.write(bytes(1 << 14))
    for content in (
        file.getvalue() + b"\1",
        file.getvalue() * 2,
        b"",
        b"RIFF",
        b"fLaC",
        b"{}",
        b"<html>",
        b"\xff\xfbx",
    ):
        with suppress(Refused):
            write_sound(io.BytesIO(content), io.BytesIO(), 1.0, EACH)


if __name__ == "__main__":
    # The worker has ended, or someone at a terminal ends both: neither is worth a traceback in the log.
    with suppress(ConnectionError, KeyboardInterrupt):
        serve(socket.socket(fileno=int(sys.argv[1])))

"""`python -m worker.recordings.decoder_child FD`: reads hostile files, each in a process of its own that then ends.

The program imports libav once and forks for each file, so that a file costs a fork and not a start of Python. It
knows nothing: no settings, no secrets, no network. Over the socket FD it is handed, per file, the longest recording,
the open file and the pipe to write samples to, and it answers with how the child ended.
"""

import io
import math
import os
import socket
import sys
import wave
from contextlib import suppress
from typing import NoReturn

from worker.recordings.av_reader import Refused, write_sound
from worker.recordings.decoder_protocol import ISOLATED, REPORT, REQUEST, SAMPLE_RATE_HZ, SHARED
from worker.recordings.sandbox import CPU_S, confine, leave_network

_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
_BUFFER_BYTES = 1 << 16
#: Exit status of a child that met something nobody thought of.
UNEXPECTED = 99
#: Seconds of sound that must be decoded in a second of processor time, beyond what every file gets.
_LEAST_SPEED = 20


def serve(control: socket.socket) -> None:
    """Decode what comes over `control` until it is closed."""
    _warm_up()
    control.sendall(ISOLATED if leave_network() else SHARED)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, REQUEST.size, 2)
        if not message:
            return
        file, pipe = descriptors
        (max_s,) = REQUEST.unpack(message)
        control.sendall(_decode(control, file, pipe, max_s))


def _decode(control: socket.socket, file: int, pipe: int, max_s: float) -> bytes:
    child = os.fork()
    if child == 0:
        control.close()
        _work(file, pipe, max_s)
    os.close(file)
    os.close(pipe)
    _, status, usage = os.wait4(child, 0)
    return REPORT.pack(os.waitstatus_to_exitcode(status), usage.ru_maxrss * _MAXRSS_BYTES)


def _work(file: int, pipe: int, max_s: float) -> NoReturn:
    status = UNEXPECTED
    try:
        opened = os.fdopen(file, "rb")
        sound = os.fdopen(pipe, "wb", _BUFFER_BYTES)
        # What libraries print may hold words of the file, and our log is no place to write to for who took them over.
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nothing, stream.fileno())
        confine(CPU_S + math.ceil(max_s / _LEAST_SPEED))
        opened.seek(0)
        write_sound(opened, sound, max_s)
        status = 0
    except Refused as refused:
        status = refused.refusal
    finally:
        # Nothing of what this process inherited may be flushed or cleaned up by it.
        os._exit(status)


def _warm_up() -> None:
    """Decode once, so that whatever is loaded at first use is loaded: a confined child can open no file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        sound.writeframes(bytes(3200))
    write_sound(io.BytesIO(file.getvalue()), io.BytesIO(), 1.0)
    for bad in (b"", b"RIFF"):
        with suppress(Refused):
            write_sound(io.BytesIO(bad), io.BytesIO(), 1.0)


if __name__ == "__main__":
    # The worker has ended, or someone at a terminal ends both: neither is worth a traceback in the log.
    with suppress(ConnectionError, KeyboardInterrupt):
        serve(socket.socket(fileno=int(sys.argv[1])))

"""What the process that reads hostile files may still do: compute, read one file, write one pipe.

=================  ==========================================  =========================  =====================
                   Linux                                       Linux, if unshare is        macOS
                                                               forbidden (most containers)
=================  ==========================================  =========================  =====================
open files, dial   no: no file descriptor is left for it       the same                   the same
network            none: a network namespace of its own        no descriptor for it       no descriptor for it
write files        no: RLIMIT_FSIZE 0                          the same                   the same
memory             some 240 MiB: RLIMIT_AS                     the same                   not enforced by macOS
processor          seconds, by length: RLIMIT_CPU              the same                   the same
other processes    none: RLIMIT_NPROC 0, not for root          the same                   the same
new privileges     none: no_new_privs                          the same                   no such thing
=================  ==========================================  =========================  =====================
"""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

CPU_S = 10
#: What decoding may add to the process's memory.
MEMORY_BYTES = 240 * 1024 * 1024
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_NOBODY = 65534


def leave_network() -> bool:
    """Move to a network namespace with nothing in it, as root or in a user namespace; False where that is forbidden."""
    if sys.platform != "linux":
        return False
    unshare = ctypes.CDLL(None).unshare
    return unshare(_CLONE_NEWNET) == 0 or unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0


def confine(cpu_s: int = CPU_S) -> None:
    """Give up, for good, whatever reading an open file does not need, and all processor time beyond `cpu_s`."""
    _drop_root()
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _limit(resource.RLIMIT_AS, _address_space() + MEMORY_BYTES)
    _limit(resource.RLIMIT_CPU, cpu_s)
    for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):
        _limit(what, 0)


def _limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def _drop_root() -> None:
    if os.geteuid() == 0:
        # Refused where a user namespace has no such user.
        with suppress(OSError):
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()

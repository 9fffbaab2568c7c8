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
system calls       some twenty (x86-64, ARM64): no signal,     the same                   all that the above
                   no debugging, no look at other processes                               leaves
=================  ==========================================  =========================  =====================
"""

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

CPU_S = 10
#: What decoding may add to the process's memory.
MEMORY_BYTES = 240 * 1024 * 1024
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_NOBODY = 65534
#: What a filter of system calls may decide (linux/seccomp.h).
ALLOW, REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000
#: Machines whose system calls are known here: the kernel's word for them (linux/audit.h), and which number is theirs.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
#: What reading, computing, writing and ending take.
_NEEDED = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "getpid": (39, 172),
    "exit": (60, 93),
    "gettid": (186, 178),
    "futex": (202, 98),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
}


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
    filter_calls(_NEEDED.values(), ALLOW, REFUSE)


def filter_calls(calls: Collection[tuple[int, int]], then: int, otherwise: int) -> None:
    """Have the kernel decide `then` on these system calls, and `otherwise` on all others, for good.

    `calls` : their numbers on x86-64 and on ARM64. Elsewhere, and where the kernel has no filters, nothing is done.
    """
    if sys.platform != "linux" or os.uname().machine not in _MACHINES:
        return
    architecture, column = _MACHINES[os.uname().machine]
    load, equal, answer = 0x20, 0x15, 0x06
    program = [
        (load, 0, 0, 4),
        (equal, 1, 0, architecture),
        (answer, 0, 0, _KILL),
        (load, 0, 0, 0),
        *((equal, len(calls) - i, 0, numbers[column]) for i, numbers in enumerate(calls)),
        (answer, 0, 0, otherwise),
        (answer, 0, 0, then),
    ]
    code = b"".join(struct.pack("=HBBI", *step) for step in program)
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_Program(len(program), code)), 0, 0)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


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

"""Sandbox of the process that reads hostile files: it may compute, read one file and write one pipe.

=================  ==========================================  =========================  =====================
                   Linux                                       Linux, if unshare is        macOS
                                                               forbidden (most containers)
=================  ==========================================  =========================  =====================
open files, dial   no: RLIMIT_NOFILE 0                         the same                   the same
network            none: a network namespace of its own        no socket for it           no socket for it
write files        no: RLIMIT_FSIZE 0                          the same                   the same
memory             240 MiB beyond the start: RLIMIT_AS         the same                   not enforced by macOS
processor          seconds, by length: RLIMIT_CPU              the same                   the same
other processes    none: RLIMIT_NPROC 0, not for root          the same                   the same
new privileges     none: no_new_privs                          the same                   no such thing
system calls       some twenty (x86-64, ARM64): no signal,     the same                   not filtered
                   no debugging, no access to other processes
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

#: Seconds of processor time for a file of any length.
CPU_S = 10
#: Most memory that decoding may add to the process.
MEMORY_BYTES = 240 * 1024 * 1024
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_NOBODY = 65534
#: Decisions of a filter of system calls (linux/seccomp.h); `REFUSE` returns EPERM.
ALLOW = 0x7FFF0000
REFUSE = 0x00050001
_KILL = 0x80000000
#: Operations of the filter's program (linux/bpf_common.h): load a word, jump if equal, return.
_LOAD = 0x20
_JUMP_IF_EQUAL = 0x15
_RETURN = 0x06
#: Machines whose system calls are listed below: the kernel's code (linux/audit.h), and the column of their numbers.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
#: System calls for reading, computing, writing and ending, by their numbers on x86-64 and on ARM64.
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
    """Move to an empty network namespace, as root or in a user namespace; False where the kernel forbids it."""
    if sys.platform != "linux":
        return False
    unshare = ctypes.CDLL(None).unshare
    return unshare(_CLONE_NEWNET) == 0 or unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0


def confine(cpu_s: int = CPU_S) -> None:
    """Restrict this process for good to reading an open file, within `cpu_s` seconds of processor time."""
    _drop_root()
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _limit(resource.RLIMIT_AS, _address_space() + MEMORY_BYTES)
    _limit(resource.RLIMIT_CPU, cpu_s)
    for limited in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):
        _limit(limited, 0)
    filter_calls(_NEEDED.values(), ALLOW, REFUSE)


def filter_calls(calls: Collection[tuple[int, int]], then: int, otherwise: int) -> None:
    """Install a filter for good: `then` is the decision on the listed system calls, `otherwise` on all others.

    `calls` : their numbers on x86-64 and on ARM64. Other machines, and kernels without filters, are left as they are.
    """
    if sys.platform != "linux" or os.uname().machine not in _MACHINES:
        return
    architecture, column = _MACHINES[os.uname().machine]
    program = [
        (_LOAD, 0, 0, 4),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        *((_JUMP_IF_EQUAL, len(calls) - i, 0, numbers[column]) for i, numbers in enumerate(calls)),
        (_RETURN, 0, 0, otherwise),
        (_RETURN, 0, 0, then),
    ]
    code = b"".join(struct.pack("=HBBI", *step) for step in program)
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_Program(len(program), code)), 0, 0)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def _limit(limited: int, value: int) -> None:
    hard = resource.getrlimit(limited)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limited, (value, value))


def _drop_root() -> None:
    if os.geteuid() == 0:
        # The kernel refuses it in a user namespace without such a user.
        with suppress(OSError):
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()

"""Memory of this process."""

from pathlib import Path

_KEYS = {"rss_mb": "VmRSS", "peak_rss_mb": "VmHWM"}


def memory() -> dict[str, int]:
    """Return the resident memory of this process, now and at its peak, in MB.

    It reads /proc, because the peak of getrusage includes the parent's memory at the fork.
    """
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(status[key].split()[0]) // 1024 for name, key in _KEYS.items()}

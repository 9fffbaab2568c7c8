"""Processes of this machine, as /proc shows them."""

from pathlib import Path


def children_of(parent: int) -> set[int]:
    """Return the child processes of a process."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in brackets, may hold anything; the parent is the second field behind it.
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent:
            found.add(int(status.parent.name))
    return found

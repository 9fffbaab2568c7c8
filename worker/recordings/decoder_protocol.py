"""What the worker and the process that reads files for it say to each other; the worker itself never loads libav."""

import struct
from enum import IntEnum

SAMPLE_RATE_HZ = 16_000
#: What comes with a file and the pipe to write to: the longest recording, in seconds.
REQUEST = struct.Struct("<d")
#: What stands in the pipe before the samples: the length in seconds that the file claims, not-a-number for none.
HEADER = struct.Struct("<d")
#: Exit status (or minus the signal) of the child, and its largest resident memory in bytes.
REPORT = struct.Struct("<iQ")
#: The first word: ready with a network namespace of its own, or without.
ISOLATED, SHARED = b"i", b"s"


class Refusal(IntEnum):
    """Why a file gives no sound; the child's exit status."""

    NOT_AUDIO = 10
    OUT_OF_RANGE = 11
    TOO_LONG = 12
    DAMAGED = 13
    #: Pictures without an audio stream.
    NO_SOUND = 14

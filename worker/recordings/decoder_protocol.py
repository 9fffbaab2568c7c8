"""Protocol between the worker and `decoder_child`; a module of its own, because the worker never loads libav."""

import struct
from enum import IntEnum

SAMPLE_RATE_HZ = 16_000
#: Request, sent with the open file and the pipe: the longest allowed recording, in seconds.
REQUEST = struct.Struct("<d")
#: Start of the pipe, before the samples: the length in the file's header, in seconds; not-a-number for none.
HEADER = struct.Struct("<d")
#: Answer: exit status of the child, or the negative signal number, and its peak resident memory in bytes.
REPORT = struct.Struct("<iQ")
#: First byte from the child, once it is ready: with a network namespace of its own, or without.
ISOLATED = b"i"
SHARED = b"s"


class Refusal(IntEnum):
    """Reason for refusing a file; the child's exit status."""

    NOT_AUDIO = 10
    OUT_OF_RANGE = 11
    TOO_LONG = 12
    DAMAGED = 13
    #: Pictures without an audio stream.
    NO_SOUND = 14

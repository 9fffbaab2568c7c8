"""Protocol between the worker and `decoder_child`; a module of its own, because the worker never loads libav."""

import math
import struct
from collections.abc import Iterable
from enum import IntEnum

from shared.domain.audio import Channels, Track

#: Sample rates of files that are accepted.
RATES_HZ = range(4_000, 192_001)
#: Request, sent with the open file and the pipe: the longest allowed recording, in seconds, and the number of the
#: channel to hear, or one of the two values below.
REQUEST = struct.Struct("<db")
#: All channels as one, or each apart: then samples of all channels alternate.
MIX = -1
EACH = -2
#: Start of the pipe, before the samples: the fields of `Track` in their order. Channels of a sort are bits.
TRACK = struct.Struct("<dIBBB??dQ??")
_MOST_CHANNELS = 8
#: Least speed of a reading, in seconds of sound per second of processor time.
LEAST_SPEED = 20
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
    #: A stream in a coding that libav does not know, or an encrypted one.
    CODING = 15
    #: The same in a WAV file.
    WAV_CODING = 16
    #: A format of sound that libav knows, but that is not accepted.
    OTHER_FORMAT = 17
    WEB_PAGE = 18
    JSON = 19
    TEXT = 20
    MULTIPART = 21
    ZIP = 22
    COMPRESSED = 23
    PDF = 24
    IMAGE = 25
    #: More memory is needed than the sandbox allows.
    MEMORY = 26
    #: The recording lacks the channel that is asked for; the track says how many it has.
    NO_CHANNEL = 27


class Refused(Exception):
    """A file that cannot be decoded, with the reason."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.name)
        self.refusal = refusal


def pack_track(track: Track) -> bytes:
    """Return a track as the child writes it."""
    return TRACK.pack(
        track.duration_s,
        track.sample_rate_hz,
        track.channels.number,
        _bits(track.channels.used),
        _bits(track.voices),
        track.two_people,
        track.clipped,
        track.lost_s,
        track.unread_bytes,
        track.named_less,
        track.clock_broken,
    )


def unpack_track(raw: bytes) -> Track:
    """Return the track that `raw` holds; nothing in it is believed, since a file may have taken over the child."""
    if len(raw) < TRACK.size:
        return Track()
    duration_s, rate_hz, number, used, voices, *rest = TRACK.unpack(raw)
    number = min(max(1, number), _MOST_CHANNELS)
    two_people, clipped, lost_s, unread_bytes, named_less, clock_broken = rest
    return Track(
        duration_s=_seconds(duration_s),
        sample_rate_hz=rate_hz if rate_hz in RATES_HZ else 0,
        channels=Channels(number=number, used=_channels(used, number)),
        voices=_channels(voices, number),
        two_people=two_people,
        clipped=clipped,
        lost_s=_seconds(lost_s),
        unread_bytes=unread_bytes,
        named_less=named_less,
        clock_broken=clock_broken,
    )


def _bits(channels: Iterable[int]) -> int:
    return sum(1 << channel for channel in channels)


def _channels(bits: int, number: int) -> tuple[int, ...]:
    return tuple(channel for channel in range(number) if bits >> channel & 1)


def _seconds(value: float) -> float:
    return value if 0.0 <= value < math.inf else 0.0

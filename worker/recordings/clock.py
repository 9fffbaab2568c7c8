"""Times that a container tells: timestamps against the sound that was heard, and the length that its header names."""

import math
import re
from collections.abc import Iterable
from typing import BinaryIO, cast

import av
import numpy as np

from worker.recordings import sniff
from worker.recordings.part import Notes, Part
from worker.recordings.resampling import Event, Frame

#: Containers without gaps: what is missing in their timestamps was lost.
GAPLESS = {"ogg", "flac"}
#: Containers whose timestamps are the file's own; for others libav adds up the lengths of the packets.
_CLOCKED = {"mov", "matroska", "ogg", "asf", "flv", "avi", "mpegts", "flac"}
#: Containers whose header names the length of the sound, as libav reads it.
_NAMING = {"mov", "flac", "aiff", "au"}
#: Identifier of the object "file properties" of ASF.
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
#: Tolerance for jitter of timestamps.
_JITTER_S = 0.1
_GAPLESS_JITTER_S = 0.02
#: Farthest that timestamps may lag behind the sound before they count as broken.
_BACK_S = 1.0
#: Sound that must confirm a gap before it, in seconds.
_CONFIRMED_S = 1.0
#: No clock shows this, not even one that counts from 1970.
_LATEST_S = 1e11


class Clock:
    """Comparison of a container's timestamps with the sound that was heard so far."""

    def __init__(
        self, file: BinaryIO, part: Part, kind: str | None, stream: av.AudioStream, limit_s: float, notes: Notes
    ) -> None:
        self._trusted = kind in _CLOCKED
        self._jitter_s = _GAPLESS_JITTER_S if kind in GAPLESS else _JITTER_S
        self._most_s = limit_s
        self._notes = notes
        #: Time in the container at which the sound that was heard so far began.
        self._origin_s = _origin_s(file, part, kind, cast("av.container.InputContainer", stream.container))
        #: End that the header names, in the container's time; 0 for none.
        self._named_end_s = _end_s(file, part, kind, stream)
        self.heard_s = 0.0

    def gap_s(self, event: Frame, following: Iterable[Event]) -> float:
        """Return the seconds of silence before `event`; those that follow must confirm it."""
        if not self._trusted or event.at_s is None:
            return 0.0
        late_s = event.at_s - self._origin_s - self.heard_s
        if -_BACK_S <= late_s <= self._jitter_s:
            return 0.0
        if late_s > 0 and self.heard_s + late_s <= self._latest_s() and _goes_on(event.at_s, following):
            return late_s
        self._notes.clock_broken = True
        self._origin_s += late_s
        return 0.0

    def _latest_s(self) -> float:
        return self._named_end_s - self._origin_s + _BACK_S if self._named_end_s else self._most_s


def _goes_on(at_s: float, following: Iterable[Event]) -> bool:
    """Return whether the clock goes on from `at_s`, and neither falls back nor jumps once more."""
    confirmed_at_s = at_s + _CONFIRMED_S
    for event in following:
        if at_s >= confirmed_at_s:
            break
        if isinstance(event, Frame) and event.at_s is not None:
            if not -_BACK_S < event.at_s - at_s < _BACK_S + event.seconds:
                return False
            at_s = event.at_s
    return True


def _origin_s(file: BinaryIO, part: Part, kind: str | None, container: av.container.InputContainer) -> float:
    """Return the time that a player shows as 0: with an edit list 0, else the first."""
    if kind == "mov" and not sniff.is_fragmented(file, part.start, part.end):
        return 0.0
    return (container.start_time or 0) / av.time_base


def _end_s(file: BinaryIO, part: Part, kind: str | None, stream: av.AudioStream) -> float:
    """Return the end in the container's time that its header or its last packets name; 0 for none."""
    container = cast("av.container.InputContainer", stream.container)
    start_s = (container.start_time or 0) / av.time_base
    if kind == "mov" and (end_s := _stream_end_s(stream)):
        return end_s
    if kind == "mpegts" and container.duration:
        return start_s + container.duration / av.time_base
    length_s = _matroska_s(part.open(file).read(sniff.HEAD_BYTES)) if kind == "matroska" else 0.0
    return start_s + length_s if length_s else 0.0


def frame_time(frame: av.AudioFrame) -> float | None:
    """Return the time of a frame; None for none, and for what libav's arithmetic makes of none (Ogg FLAC)."""
    if frame.pts is None or not frame.time_base:
        return None
    at_s = float(frame.pts * frame.time_base)
    return at_s if abs(at_s) < _LATEST_S else None


def named_s(file: BinaryIO, part: Part, kind: str | None, stream: av.AudioStream, heard_s: float) -> float:
    """Return the end of the sound that the header names, 0 for none; an estimate of libav's is none."""
    if part.named_s is not None or part.format:
        return part.named_s or 0.0
    if kind in _NAMING and (end_s := _stream_end_s(stream)):
        return end_s
    head = part.open(file).read(sniff.HEAD_BYTES)
    if kind == "flv":
        # libav takes it from the metadata, or else from the last tag.
        return max(0, cast("av.container.InputContainer", stream.container).duration or 0) / av.time_base
    if kind == "matroska":
        return _matroska_s(head)
    if kind == "asf":
        return _asf_s(head)
    if kind in ("caf", "w64"):
        return heard_s * sniff.named_part(file, kind, part.start, part.end)
    return _xing_frames(head) * _frame_s(stream) if kind == "mp3" else 0.0


def _stream_end_s(stream: av.AudioStream) -> float:
    """Return the end of a stream in the container's time, 0 if it names no length."""
    if not (stream.duration and stream.time_base):
        return 0.0
    return float(((stream.start_time or 0) + stream.duration) * stream.time_base)


def _frame_s(stream: av.AudioStream) -> float:
    """Return the length of a frame of MPEG audio, layer 3, in seconds."""
    rate = stream.codec_context.sample_rate
    return (1152 if rate >= 32_000 else 576) / rate if rate else 0.0


def _xing_frames(head: bytes) -> int:
    """Return the number of frames that the first frame of an MP3 file names, as Xing's and LAME's encoders do."""
    found = re.search(rb"(?:Xing|Info)\x00\x00\x00.(.{4})", head, re.DOTALL)
    names = found and found[0][7] & 1
    return int.from_bytes(found[1], "big") if found and names else 0


def _asf_s(head: bytes) -> float:
    """Return the length that an ASF file names, 0 for none or a broadcast's (Microsoft's ASF, 2004, 3.2)."""
    fields = head.partition(_ASF_PROPERTIES)[2][:76]
    if len(fields) < 76 or fields[72] & 1:
        return 0.0
    return int.from_bytes(fields[48:56], "little") / 1e7 - int.from_bytes(fields[64:72], "little") / 1e3


def _matroska_s(head: bytes) -> float:
    """Return the Duration of a Matroska file in seconds, 0 for none (RFC 9559, 5.1.2)."""
    before_clusters = head.partition(b"\x1f\x43\xb6\x75")[0]
    scale = re.search(rb"\x2a\xd7\xb1\x83(.{3})", before_clusters, re.DOTALL)
    found = re.search(rb"\x44\x89(?:\x84(.{4})|\x88(.{8}))", before_clusters, re.DOTALL)
    if not found:
        return 0.0
    raw = found[1] or found[2]
    ticks = float(np.frombuffer(raw, f">f{len(raw)}")[0])
    seconds = ticks * (int.from_bytes(scale[1], "big") if scale else 1_000_000) / 1e9
    return seconds if 0.0 < seconds < math.inf else 0.0

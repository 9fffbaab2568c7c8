"""Reading of files with libav: any common format to sound at 16 kHz, up to a limit.

libav gets a Python file object, so it has no file name to resolve. Playlists and scripts, which open other files and
addresses, are not accepted, and no protocol is allowed. A hostile file may still crash libav or take it over, so this
runs in a child process (`worker/recordings/decoder_child.py`).
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice, pairwise
from typing import Any, BinaryIO, TypeAlias

import av
import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import SAMPLE_RATE_HZ, Planar
from worker.recordings import sniff, wav
from worker.recordings.clock import GAPLESS, Clock, frame_time, named_s
from worker.recordings.decoder_protocol import RATES_HZ, Refusal, Refused
from worker.recordings.part import Notes, Part, Window
from worker.recordings.resampling import LAYOUTS, Event, Frame, resampled

_Packet: TypeAlias = "av.Packet[Any]"
#: libav's names of the containers that are accepted.
FORMATS = "wav,w64,mp3,flac,ogg,mov,matroska,aac,amr,aiff,au,caf,avi,asf,mpegts,flv,ac3,eac3"
#: Most that lossy codecs add: an encoder's delay and the last frame's padding, some frames of 2048 samples at 8 kHz.
#: Recordings up to the limit plus this are accepted and cut to the limit.
CODEC_PADDING_S = 0.5
#: Errors of libav's, whatever they are called in Python.
_ERRORS = (av.FFmpegError, OSError, EOFError, ValueError, UnicodeError, MemoryError)
#: Most errors one after the other until the rest of a file is given up.
_MOST_ERRORS = 200
#: Most packets one after the other that cannot be decoded: some 20 minutes.
_MOST_BAD_PACKETS = 50_000
#: libav's sample formats, those with planes without their "p".
_DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
#: Containers in which libav silently searches for the next packet behind damage.
_SEARCHED = {"matroska", "flv"}
#: Containers whose named length counts from 0, even if the sound begins later.
_LATE = {"matroska", "flv", "asf"}
_MOST_BETWEEN_BYTES = 4096
#: Containers in which a time can be sought and is the packets' own, not an estimate; likewise raw samples.
_SOUGHT = {"flac", "mov", "matroska", "asf", "aiff", "au"}
#: Sound that must be found behind the limit, and most packets that are looked at for it.
_SOUGHT_S = 1.0
_MOST_SOUGHT = 500
#: Containers of bare frames: bytes between two of them are damaged.
_BARE = {"mp3", "aac", "amr", "ac3"}
#: Tolerance for the length that a header names.
_TOLERANCE_S = 0.25
#: Shortest sound that is worth an answer where the rest was lost.
_LEAST_S = 0.1
_TAGS = (b"ID3", b"TAG", b"APET", b"LYRI")
#: Bytes that libav need not have read: tags and indexes.
_UNREAD_BYTES = 1 << 13
_JUNK_BYTES = 1 << 12
#: Most bytes of a page of Ogg without sound, as it ends some streams.
_EMPTY_PAGE_BYTES = 28
#: Part of a file, and bytes, that may be headers, indexes, padding and tags; ADTS has small tags alone.
_PASSED_ADTS = (0.01, 1 << 10)
_PASSED = (0.5, 1 << 16)
#: Frames that must confirm a gap before them: about a second.
_FOLLOWING = 50
#: Longest silence for one packet.
_LONGEST_HOLE_S = 60.0


def open_sound(file: BinaryIO, max_s: float) -> "Sound":
    """Find the recordings in `file` and the tracks of the first of them.

    Raises
    ------
    Refused
        The file is no recording, or not in a format that is accepted.
    """
    size = file.seek(0, os.SEEK_END)
    first = sniff.skip_tags(file, size)
    file.seek(first)
    head = file.read(sniff.HEAD_BYTES)
    if refusal := sniff.refusal(head):
        raise Refused(refusal)
    kind = sniff.container(head)
    return Sound(file, kind, _parts(file, kind, first, size), max_s)


def _parts(file: BinaryIO, kind: str | None, first: int, size: int) -> list[Part]:
    """Return the recordings of the file; at least one."""
    starts = [*sniff.starts(file, kind, first, size), size]
    found: list[Part] = []
    unread_bytes = 0
    refusal = Refusal.DAMAGED
    for start, end in pairwise(starts):
        try:
            found += wav.parts(file, start, end) if kind == "wav" else [Part(start, end)]
        except Refused as refused:
            unread_bytes += end - start
            refusal = refused.refusal
    if not found:
        raise Refused(refusal)
    return [*found[:-1], replace(found[-1], unread_bytes=found[-1].unread_bytes + unread_bytes)]


class Sound:
    """Recordings of one file, end to end, each of which libav reads alone."""

    def __init__(self, file: BinaryIO, kind: str | None, parts: list[Part], max_s: float) -> None:
        self._file = file
        self._kind = kind
        self._max_s = max_s
        self._parts = parts
        #: Tracks that can be decoded, as `blocks` takes them: the default ones first.
        self.tracks = self._inspect()
        if _goes_on_behind(file, parts[0], self._kind, max_s + CODEC_PADDING_S):
            raise Refused(Refusal.TOO_LONG)

    def _inspect(self) -> list[int]:
        """Return the tracks of the first part that can be opened."""
        refusal = Refusal.DAMAGED
        for i, part in enumerate(self._parts):
            try:
                with _opened(self._file, part) as (container, _):
                    self._kind = _kind(container, part)
                    return list(range(len(_candidates(container, self._kind))))
            except Refused as refused:
                refusal = refused.refusal if i == 0 else refusal
        raise Refused(refusal if self._kind or refusal is not Refusal.DAMAGED else Refusal.NOT_AUDIO)

    def blocks(self, track: int, notes: Notes) -> Iterator[Planar]:
        """Yield the sound of a track in blocks of about a second; each call begins anew and adds to `notes`.

        Times in it are times in a player. Lost sound in the middle is silence.

        Raises
        ------
        Refused
            The sound is longer than the limit, or nothing of it could be read.
        """
        most = round(self._max_s * SAMPLE_RATE_HZ)
        count = 0
        for block in self._all_blocks(track, notes):
            if count < most:
                yield block[:, : most - count]
            count += block.shape[1]
            if count > most + CODEC_PADDING_S * SAMPLE_RATE_HZ:
                raise Refused(Refusal.TOO_LONG)
        if count == 0 or (notes.lost_s and count < _LEAST_S * SAMPLE_RATE_HZ):
            raise Refused(Refusal.DAMAGED)

    def _all_blocks(self, track: int, notes: Notes) -> Iterator[Planar]:
        limit_s = self._max_s + CODEC_PADDING_S
        for part in self._parts:
            try:
                yield from resampled(_Reading(self._file, part, self._kind, limit_s, notes).events(track))
            except (Refused, *_ERRORS) as error:
                if len(self._parts) == 1 and isinstance(error, Refused):
                    raise
                notes.unread_bytes += part.end - part.start


@contextmanager
def _opened(file: BinaryIO, part: Part) -> Iterator[tuple[av.container.InputContainer, Window]]:
    window = part.open(file)
    options = {
        "format_whitelist": part.format or FORMATS,
        "protocol_whitelist": "none",
        **part.options,
    }
    try:
        container = av.open(window, mode="r", format=part.format, container_options=options)
    except _ERRORS:
        raise Refused(Refusal.DAMAGED) from None
    with container:
        yield container, window


def _goes_on_behind(file: BinaryIO, part: Part, kind: str | None, limit_s: float) -> bool:
    """Say whether the first track names a length beyond the limit, and sound is found there.

    So hours need not be heard to be refused, and a header that lies refuses nothing.
    """
    if kind not in _SOUGHT and part.format in (None, "wav"):
        return False
    try:
        with _opened(file, part) as (container, _):
            stream = _candidates(container, kind)[0]
            if named_s(file, part, kind, stream, 0.0) <= limit_s:
                return False
            starts_s = (container.start_time or 0) / av.time_base
            container.seek(round((starts_s + limit_s) * av.time_base))
            _set_plain_layout(stream.codec_context)
            stream.codec_context.thread_count = 1
            packets = islice(container.demux(stream), _MOST_SOUGHT)
            frames = (frame for packet in packets for frame in stream.codec_context.decode(packet))
            behind = (frame for frame in frames if (frame_time(frame) or 0.0) >= starts_s + limit_s)
            return sum(frame.samples / frame.sample_rate for frame in behind) > _SOUGHT_S
    except (Refused, *_ERRORS):
        return False


def _candidates(container: av.container.InputContainer, kind: str | None) -> list[av.AudioStream]:
    """Return the audio streams that can be decoded, the default ones first."""
    audio = container.streams.audio
    found = [stream for stream in audio if stream.codec_context is not None and stream.codec_context.codec]
    if not found and audio:
        raise Refused(Refusal.WAV_CODING if kind == "wav" else Refusal.CODING)
    if not found:
        raise Refused(Refusal.NO_SOUND if container.streams.video else Refusal.DAMAGED)
    default = av.stream.Disposition.default
    return sorted(found, key=lambda stream: not stream.disposition & default)


def _kind(container: av.container.InputContainer, part: Part) -> str:
    name = "wav" if part.format else container.format.name.partition(",")[0]
    return {"eac3": "ac3"}.get(name, name)


def _set_plain_layout(context: av.AudioCodecContext) -> None:
    """Replace a layout of the file's own, which PyAV would free twice. Codecs that know better set theirs anew."""
    channels = context.channels
    if channels:
        context.layout = LAYOUTS[min(channels, wav.MAX_CHANNELS)]
    if channels > wav.MAX_CHANNELS:
        raise Refused(Refusal.OUT_OF_RANGE)


class _Reading:
    """Reading of one track of one part, packet by packet, so that an error costs one packet."""

    def __init__(self, file: BinaryIO, part: Part, kind: str | None, limit_s: float, notes: Notes) -> None:
        self._file = file
        self._part = part
        self._kind = kind
        self._limit_s = limit_s
        self._notes = notes
        #: Whether an error came since the last good frame, and whether there was a good one.
        self._damaged = False
        self._heard = False
        #: Latest end of any packet of any stream, in seconds.
        self._last_s = 0.0
        self._packet_bytes = 0
        #: Where the last packet or its page begins, in the part.
        self._packet_at = 0
        self._packet_end = 0
        #: Seconds at the end that could not be decoded.
        self._damaged_end_s = 0.0

    def events(self, track: int) -> Iterator[Event]:
        """Yield the sound and the silences of the track, in order."""
        with _opened(self._file, self._part) as (container, window):
            candidates = _candidates(container, self._kind)
            stream = candidates[min(track, len(candidates) - 1)]
            yield from self._timed(container, stream)
            self._note_end(window)

    def _note_end(self, window: Window) -> None:
        size = self._part.end - self._part.start
        unread, most = self._unread(window)
        # Bytes that libav passed over in search of packets, and said nothing of; streams for broadcast are padded.
        passed = size - self._packet_bytes if self._kind != "mpegts" else 0
        part, least = _PASSED_ADTS if self._kind == "aac" else _PASSED
        self._notes.named_less |= self._part.named_less
        self._notes.unread_bytes += self._part.unread_bytes
        if unread > most or passed > max(least, part * size):
            self._notes.unread_bytes += max(unread, passed)

    def _unread(self, window: Window) -> tuple[int, int]:
        """Return the bytes behind the sound that was read, and how many of them are nothing to tell of."""
        start = self._part.start
        end = self._part.end
        if self._kind == "mov":
            return end - sniff.boxes_end(self._file, start, end), _UNREAD_BYTES
        if self._kind == "ogg":
            pages_end = sniff.pages_end(self._file, start + self._packet_at, end)
            return end - pages_end, _EMPTY_PAGE_BYTES if sniff.is_page(self._file, pages_end) else _UNREAD_BYTES
        return end - start - window.farthest, _UNREAD_BYTES

    def _timed(self, container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[Event]:
        """Yield the events with silences for the gaps in the timestamps."""
        clock = Clock(self._file, self._part, self._kind, stream, self._limit_s, self._notes)
        for event, following in _with_following(self._frames(container, stream)):
            if isinstance(event, float):
                clock.heard_s += event
                yield event
                continue
            self._notes.sample_rate_hz = self._notes.sample_rate_hz or event.rate_hz
            gap_s = clock.gap_s(event, following)
            if gap_s:
                lost = event.behind_damage or self._kind in GAPLESS
                self._notes.lost_s += gap_s if lost and clock.heard_s else 0.0
                yield gap_s
            clock.heard_s += gap_s + event.seconds
            yield event
        self._note_missing(stream, clock)

    def _note_missing(self, stream: av.AudioStream, clock: Clock) -> None:
        """Note the sound that the header names, but that did not come."""
        header_s = named_s(self._file, self._part, self._kind, stream, clock.heard_s)
        missing_s = header_s - max(clock.heard_s, self._last_s if self._kind in _LATE else 0.0)
        # Sound that came, but could not be decoded, is among what is missing.
        self._notes.lost_s += max(self._damaged_end_s, missing_s if missing_s > _TOLERANCE_S else 0.0)

    def _frames(self, container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[Event]:
        """Yield the frames of the stream, and a silence for those between them that could not be decoded."""
        damage = _Damage(self._kind)
        for packet in chain(self._packets(container, stream), [None]):
            try:
                frames = self._decoded(stream.codec_context, packet)
            except _ERRORS:
                self._damaged = True
                damage.add(packet)
                if damage.count > _MOST_BAD_PACKETS:
                    break
                continue
            if frames and damage.seconds:
                self._notes.lost_s += damage.seconds
                yield damage.seconds
                damage.clear()
            if self._kind == "flac" and packet:
                self._note_swallowed(packet, frames)
            for frame in frames:
                yield replace(frame, behind_damage=True) if self._damaged else frame
                self._damaged = False
            damage.learn(packet, frames)
        self._note_damaged_end(damage)

    def _note_swallowed(self, packet: "_Packet", frames: list[Frame]) -> None:
        """Note bytes behind a frame of FLAC, which libav takes for a part of it: compressed, it is no larger."""
        swallowed = packet.size - sum(frame.raw.nbytes for frame in frames)
        if swallowed > _UNREAD_BYTES:
            self._notes.unread_bytes += swallowed

    def _decoded(self, context: av.AudioCodecContext, packet: "_Packet | None") -> list[Frame]:
        frames = context.decode(packet)
        if all(frame.sample_rate in RATES_HZ and frame.layout.nb_channels <= wav.MAX_CHANNELS for frame in frames):
            self._heard |= bool(frames)
            return [_frame(frame) for frame in frames]
        if self._heard:
            raise ValueError("a damaged header")
        raise Refused(Refusal.OUT_OF_RANGE)

    def _packets(self, container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[_Packet]:
        """Yield the packets of the stream; read on behind errors."""
        context = stream.codec_context
        # The sandbox forbids threads.
        context.thread_count = 1
        _set_plain_layout(context)
        if self._kind == "flac":
            context.options = {"err_detect": "crccheck+explode"}
        errors = 0
        while errors < _MOST_ERRORS:
            try:
                for packet in container.demux():
                    errors = 0
                    self._look_at(packet)
                    if packet.size and packet.stream_index == stream.index:
                        yield packet
                return
            except _ERRORS:
                errors += 1
                self._damaged = True
            except IndexError:
                # PyAV's end of a file in which a stream appeared late.
                return

    def _look_at(self, packet: _Packet) -> None:
        """Learn from a packet of any stream."""
        self._packet_bytes += packet.size
        self._packet_at = max(self._packet_at, packet.pos or 0)
        self._damaged |= packet.is_corrupt or self._is_behind_hole(packet)
        if packet.pts is not None and packet.time_base:
            self._last_s = max(self._last_s, float(packet.pts * packet.time_base) + _packet_s(packet))

    def _is_behind_hole(self, packet: _Packet) -> bool:
        """Return whether bytes were passed over in search of this packet, of whatever stream."""
        if self._kind not in _SEARCHED or packet.pos is None:
            return False
        passed = packet.pos - self._packet_end
        self._packet_end = packet.pos + packet.size
        return passed > _MOST_BETWEEN_BYTES

    def _note_damaged_end(self, damage: "_Damage") -> None:
        """Note packets at the end that could not be decoded: of bare frames, they may be no sound at all."""
        if self._kind not in _BARE:
            self._damaged_end_s = damage.seconds
        elif damage.num_bytes > _JUNK_BYTES:
            self._notes.unread_bytes += damage.num_bytes


def _with_following(events: Iterator[Event]) -> Iterator[tuple[Event, Sequence[Event]]]:
    """Yield each event with some of those that follow it."""
    following = deque(islice(events, _FOLLOWING))
    while following:
        event = following.popleft()
        yield event, following
        following.extend(islice(events, 1))


class _Damage:
    """Packets one after the other that could not be decoded, and how much sound they held."""

    def __init__(self, kind: str | None) -> None:
        self._bare = kind in _BARE
        self._good_s = 0.0
        self._good_bytes = 0
        self.clear()

    def clear(self) -> None:
        """Begin anew, behind good packets."""
        self.seconds = 0.0
        self.num_bytes = 0
        self.count = 0

    def learn(self, packet: "_Packet | None", frames: list[Frame]) -> None:
        """Learn how many bytes a second takes."""
        if packet is not None and frames:
            self._good_bytes += packet.size
            self._good_s += sum(frame.seconds for frame in frames)

    def add(self, packet: "_Packet | None") -> None:
        """Add a bad packet; libav gives all bytes between two bare frames in one."""
        self.count += 1
        # Tags between the recordings of a joined file come as packets too.
        if packet is None or bytes(packet)[:4].startswith(_TAGS):
            return
        self.num_bytes += packet.size
        if self._bare and self._good_bytes:
            self.seconds += min(_LONGEST_HOLE_S, packet.size * self._good_s / self._good_bytes)
        else:
            self.seconds += _packet_s(packet)


def _packet_s(packet: _Packet) -> float:
    """Return the length of a packet in seconds; at most one, because a damaged header may name any."""
    seconds = float(packet.duration * packet.time_base) if packet.duration and packet.time_base else 0.0
    return min(1.0, max(0.0, seconds))


def _frame(frame: av.AudioFrame) -> Frame:
    rate = frame.sample_rate
    channels = frame.layout.nb_channels
    raw = _raw(frame, channels)
    return Frame(rate, channels, frame.format.name, raw, frame.samples / rate, frame_time(frame))


def _raw(frame: av.AudioFrame, channels: int) -> NDArray[Any]:
    """Return samples, (num_channels, num_samples) or in one row; PyAV sees nine planes in eight, and knows no s64."""
    rows = channels if frame.format.is_planar else 1
    count = frame.samples * channels // rows
    dtype = _DTYPES[frame.format.name.removesuffix("p")]
    return np.stack([np.frombuffer(bytes(plane), dtype, count) for plane in frame.planes[:rows]])

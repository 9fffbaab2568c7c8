"""Reading of damaged, joined and oddly timed files: all that could be heard, at the time at which a player plays it."""

import io
import struct

import av
import numpy as np
import pytest

from tests.support import sounds
from worker.recordings.av_reader import open_sound
from worker.recordings.decoder_protocol import TRACK, Refusal, Refused
from worker.recordings.part import Part
from worker.recordings.sound import write_sound

RATE = 16_000
CLIP = sounds.lasting(sounds.read(sounds.DATA / "3080-5032-0003.flac"), 4.0)
SPEECH = np.array(CLIP.get_array_of_samples(), np.int16)
TWELVE = CLIP * 3
#: Least correlation with the clip that each codec leaves.
FAITHFUL = {"amr": 0.85, "3gp": 0.85}
#: Containers that say how much sound there should be, or whose frames carry their time or a checksum.
TELLING = ["wav", "wav-float", "flac", "mp3", "m4a", "webm", "alac", "aiff", "caf", "au", "mkv", "w64", "flv", "wma"]
CLOCKED = [
    ("mp4", "aac", 44_100),
    ("matroska", "aac", 44_100),
    ("webm", "libopus", 48_000),
    ("flv", "aac", 44_100),
    ("mpegts", "aac", 48_000),
    ("asf", "wmav2", 44_100),
    ("mov", "alac", 16_000),
    ("ogg", "libopus", 48_000),
]


def place(samples, speech=SPEECH):
    """Return where in `samples` the speech begins, in seconds, and how well it fits there."""
    size = 1 << 19
    samples = np.pad(samples, (RATE // 5, 0))
    products = np.fft.irfft(np.fft.rfft(samples, size) * np.conj(np.fft.rfft(speech / 32_768, size)), size)
    at = int(np.argmax(products[: len(samples)]))
    here = samples[at : at + len(speech)]
    return at / RATE - 0.2, float(np.corrcoef(here, speech[: len(here)])[0, 1])


def muxed(container, encoder, rate, times=lambda at: at, video="", options=None, tracks=(SPEECH,)):
    """Return a file whose packets come at `times` of their own time."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options={"fflags": "+bitexact", **(options or {})}) as output:
        pictures = output.add_stream(video, rate=10, width=64, height=64, pix_fmt="yuv420p") if video else None
        streams = [output.add_stream(encoder, rate=rate, layout="mono") for _ in tracks]
        packets = [packet for stream, track in zip(streams, tracks, strict=True) for packet in encoded(stream, track)]
        for packet in packets:
            packet.pts = packet.dts = round(times(float(packet.pts * packet.time_base)) / packet.time_base)
        if pictures:
            packets += shown(pictures, 40)
        output.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))
    return file.getvalue()


def encoded(stream, samples):
    if stream.codec_context.name == "wmav2":
        stream.bit_rate = 64_000
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = RATE
    frame.pts = 0
    return [*stream.encode(frame), *stream.encode(None)]


def shown(stream, count):
    found = []
    for i in range(count):
        frame = av.VideoFrame(64, 64, "yuv420p")
        frame.pts = i
        found += stream.encode(frame)
    return found + stream.encode(None)


@pytest.mark.parametrize("codec", sounds.CODECS)
def test_a_healthy_file_of_every_codec_gives_no_note(codec):
    samples, notes = sounds.heard(sounds.encode(CLIP, codec))
    at, fit = place(samples)
    assert at < 0.15
    assert fit > FAITHFUL.get(codec, 0.98)
    assert notes == type(notes)(sample_rate_hz=sounds.CODECS[codec][2])


@pytest.mark.parametrize("codec", sounds.CODECS)
def test_two_joined_recordings_of_every_codec_are_both_heard(codec):
    content = sounds.encode(CLIP, codec)
    once, _ = sounds.heard(content)
    samples, notes = sounds.heard(content * 2)
    assert len(samples) == pytest.approx(2 * len(once), abs=RATE // 8)
    assert place(samples[len(once) - RATE // 8 :])[1] > FAITHFUL.get(codec, 0.98)
    assert notes.lost_s == notes.unread_bytes == 0


@pytest.mark.parametrize("codec", sounds.CODECS)
def test_a_tag_of_over_a_megabyte_before_any_container_is_skipped(codec):
    content = sounds.encode(CLIP, codec)
    tag = b"ID3\4\0\x10\0\x4f\x7f\x7f" + np.random.default_rng(5).bytes((0x4F << 14) + (0x7F << 7) + 0x7F + 10)
    small = b"ID3\3\0\0\0\0\0\x0bTIT2title__"
    expected, _ = sounds.heard(content)
    samples, notes = sounds.heard(tag + small + content)
    assert np.array_equal(samples, expected)
    assert notes == type(notes)(sample_rate_hz=sounds.CODECS[codec][2])


@pytest.mark.parametrize("codec", sounds.CODECS)
def test_tags_at_the_end_give_no_note(codec):
    ape = b"APETAGEX\xd0\x07\0\0\x20\0\0\0\1\0\0\0\0\0\0\x80" + bytes(8)
    for tag in (b"TAG" + bytes(125), ape):
        _, notes = sounds.heard(sounds.encode(CLIP, codec) + tag)
        assert notes.unread_bytes == 0
        assert notes.lost_s < 0.1


@pytest.mark.parametrize("codec", TELLING)
def test_a_cut_file_is_heard_up_to_the_cut_and_says_how_much_is_missing(codec):
    content = sounds.encode(TWELVE, codec)
    if codec in ("m4a", "alac"):
        content = index_first(content)
    samples, notes = sounds.heard(content[: len(content) * 2 // 3])
    assert 7.0 < len(samples) / RATE < 8.3
    assert place(samples)[1] > 0.98
    assert len(samples) / RATE + notes.lost_s == pytest.approx(12.0, abs=0.2)


@pytest.mark.parametrize("codec", ["ogg-opus", "ogg-vorbis"])
@pytest.mark.parametrize("part", [0.4, 0.7, 0.95])
def test_a_page_of_ogg_that_is_cut_off_is_told_of(codec, part):
    content = sounds.encode(CLIP, codec)
    cut = content[: int(part * len(content))]
    samples, notes = sounds.heard(cut)
    assert 0.9 < len(samples) / RATE < 4.0
    assert 0 <= notes.unread_bytes - (len(cut) - cut.rindex(b"OggS")) < 5000


@pytest.mark.parametrize("codec", ["flac", "ogg-opus", "ogg-vorbis", "m4a", "aiff", "aac"])
def test_a_recording_of_another_kind_behind_the_first_is_told_of(codec):
    other = sounds.encode(CLIP, "mp3")
    samples, notes = sounds.heard(sounds.encode(CLIP, codec) + other)
    assert len(samples) / RATE == pytest.approx(4.0, abs=0.3)
    assert notes.unread_bytes == pytest.approx(len(other), abs=5000)


def test_a_box_that_is_damaged_hides_no_fragments_behind_it():
    movie = muxed("mp4", "aac", 44_100, options={"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"})
    at = movie.index(b"moof", len(movie) // 2) - 4
    _, notes = sounds.heard(movie[:at] + bytes(16) + movie[at + 16 :])
    assert notes.unread_bytes >= len(movie) - at


def index_first(movie):
    """Return a movie with its index before the sound, as for streaming, its offsets moved."""
    boxes = {}
    at = 0
    while at < len(movie):
        (size,) = struct.unpack(">I", movie[at : at + 4])
        boxes[movie[at + 4 : at + 8]] = movie[at : at + size]
        at += size
    index = bytearray(boxes[b"moov"])
    at = index.index(b"stco") + 8
    (count,) = struct.unpack(">I", index[at : at + 4])
    offsets = np.frombuffer(bytes(index[at + 4 : at + 4 + 4 * count]), ">u4") + len(index)
    index[at + 4 : at + 4 + 4 * count] = offsets.astype(">u4").tobytes()
    return b"".join([boxes[b"ftyp"], index, *(boxes[name] for name in (b"free", b"mdat") if name in boxes)])


@pytest.mark.parametrize(
    "codec", ["flac", "mp3", "m4a", "alac", "aac", "mp2", "ac3", "ogg-opus", "webm", "mpegts", "flv"]
)
@pytest.mark.parametrize("damage", ["noise", "zeros"])
def test_damage_in_the_middle_costs_what_was_hit_and_times_behind_it_stay(codec, damage):
    content = bytearray(sounds.encode(TWELVE, codec))
    start = len(content) // 2
    size = len(content) // 16
    content[start : start + size] = bytes(size) if damage == "zeros" else np.random.default_rng(2).bytes(size)
    samples, notes = sounds.heard(bytes(content))
    assert notes.lost_s > 0.4 or notes.unread_bytes > size // 2
    assert place(samples[: 5 * RATE])[1] > 0.9
    # A cluster of Matroska holds up to five seconds, and is lost as a whole.
    assert place(samples[-2 * RATE :], SPEECH[-int(1.5 * RATE) :])[1] > 0.9
    # ADTS has no clock, and libav passes over the bytes between two frames without a word.
    if codec != "aac":
        assert len(samples) / RATE == pytest.approx(12.0, abs=0.3)


def test_damage_in_flac_is_never_heard():
    content = bytearray(sounds.encode(TWELVE, "flac"))
    rng = np.random.default_rng(3)
    for at in rng.integers(len(content) // 4, len(content), 6):
        content[at] ^= 0x10
    samples, notes = sounds.heard(bytes(content))
    expected = np.tile(SPEECH, 3) / 32_768
    wrong = np.abs(samples - expected) > 1e-4
    assert np.all(samples[wrong] == 0)
    assert 0.05 < notes.lost_s < 3.0


@pytest.mark.parametrize("codec", sorted(set(sounds.CODECS) - {"amr", "mpegts"}))
def test_a_file_of_which_nothing_is_left_is_called_damaged(codec):
    content = sounds.encode(CLIP, codec)
    # The head without the sound behind it.
    with pytest.raises(Refused) as refused:
        sounds.heard(content[:40])
    assert refused.value.refusal is Refusal.DAMAGED


@pytest.mark.parametrize(
    ("codec", "other"),
    [
        ("mp3", ("mp3", "libmp3lame", 22_050)),
        ("flac", ("flac", "flac", 44_100)),
        ("ogg-opus", ("ogg", "flac", 16_000)),
        ("ogg-vorbis", ("ogg", "libopus", 48_000)),
        ("aac", ("adts", "aac", 44_100)),
        ("webm", ("webm", "libopus", 16_000)),
    ],
)
def test_another_rate_or_codec_from_the_middle_on_is_heard_too(codec, other):
    samples, notes = sounds.heard(sounds.encode(CLIP, codec) + muxed(*other))
    assert len(samples) / RATE == pytest.approx(8.0, abs=0.2)
    assert place(samples[: int(4.2 * RATE)])[1] > 0.98
    assert place(samples[int(3.9 * RATE) :])[1] > 0.98
    assert notes.lost_s == notes.unread_bytes == 0


def test_a_rate_out_of_range_costs_no_more_than_its_own_recording():
    fast = muxed("flac", "flac", 384_000)
    for content in (sounds.encode(CLIP, "flac") + fast, fast + sounds.encode(CLIP, "flac")):
        samples, notes = sounds.heard(content)
        assert place(samples)[1] > 0.98
        assert notes.unread_bytes == len(fast)
    with pytest.raises(Refused) as refused:
        sounds.heard(fast)
    assert refused.value.refusal is Refusal.OUT_OF_RANGE


@pytest.mark.parametrize(("container", "encoder", "rate"), CLOCKED[:-1])
def test_a_late_start_behind_pictures_is_silence(container, encoder, rate):
    video = {"webm": "libvpx", "flv": "flv"}.get(container, "mpeg4")
    samples, notes = sounds.heard(muxed(container, encoder, rate, lambda at: at + 3.0, video))
    at, fit = place(samples)
    assert at == pytest.approx(3.0, abs=0.1)
    assert fit > 0.98
    assert not notes.clock_broken
    assert notes.lost_s == 0


@pytest.mark.parametrize(("container", "encoder", "rate"), CLOCKED[:-1])
def test_a_pause_of_the_recorder_is_silence(container, encoder, rate):
    samples, notes = sounds.heard(
        muxed(container, encoder, rate, lambda at: at + (6.0 if at >= 4.0 else 0.0), tracks=(np.tile(SPEECH, 2),))
    )
    assert place(samples[: 5 * RATE])[0] < 0.1
    assert place(samples[5 * RATE :])[0] == pytest.approx(5.0, abs=0.15)
    assert np.abs(samples[int(4.5 * RATE) : int(9.5 * RATE)]).max() < 0.01
    assert not notes.clock_broken
    assert notes.lost_s == 0


@pytest.mark.parametrize(("container", "encoder", "rate"), [("matroska", "flac", 16_000), ("mp4", "aac", 8_000)])
def test_pauses_one_soon_after_the_other_are_silence_however_long_a_frame_is(container, encoder, rate):
    samples, notes = sounds.heard(muxed(container, encoder, rate, lambda at: at + 2.0 * (at >= 1) + 3.0 * (at >= 2.6)))
    assert len(samples) / RATE == pytest.approx(9.0, abs=0.3)
    assert not notes.clock_broken


@pytest.mark.parametrize(
    ("container", "encoder", "rate", "options"),
    [
        ("matroska", "aac", 44_100, {}),
        ("webm", "libopus", 48_000, {}),
        ("mpegts", "aac", 48_000, {}),
        ("flv", "aac", 44_100, {}),
        (
            "mp4",
            "aac",
            44_100,
            {"movflags": "frag_keyframe+empty_moov", "frag_duration": "1000000", "use_editlist": "0"},
        ),
        ("ogg", "libopus", 48_000, {}),
    ],
)
def test_a_clock_that_starts_at_an_hour_is_no_silence(container, encoder, rate, options):
    content = muxed(container, encoder, rate, lambda at: at + 3600.0, options=options)
    samples, notes = sounds.heard(content, max_s=7200.0)
    assert len(samples) / RATE == pytest.approx(4.0, abs=0.2)
    assert place(samples)[1] > 0.98
    assert notes.lost_s == 0
    assert not notes.clock_broken


@pytest.mark.parametrize("jump", [20.0, 50_000.0])
def test_one_absurd_time_is_bridged_and_noted(jump):
    def piece(start, end, off):
        part = SPEECH[int(start * RATE) : int(end * RATE)]
        return muxed("mpegts", "mp2", 48_000, lambda at: at + start + off, tracks=(part,))

    samples, notes = sounds.heard(piece(0.0, 2.0, 0.0) + piece(2.0, 2.3, jump) + piece(2.3, 4.0, 0.0))
    assert len(samples) / RATE == pytest.approx(4.0, abs=0.3)
    assert notes.clock_broken


def test_a_clock_that_goes_back_is_bridged_and_noted():
    late = muxed("mpegts", "aac", 48_000, lambda at: at + 60.0)
    samples, notes = sounds.heard(late + muxed("mpegts", "aac", 48_000))
    assert len(samples) / RATE == pytest.approx(8.0, abs=0.3)
    assert place(samples[4 * RATE :])[1] > 0.98
    assert notes.clock_broken


def test_a_pause_beyond_the_limit_is_too_long_where_the_header_confirms_it():
    content = muxed("mp4", "aac", 44_100, lambda at: at + 60.0 * (at > 2))
    with pytest.raises(Refused) as refused:
        sounds.heard(content, max_s=30.0)
    assert refused.value.refusal is Refusal.TOO_LONG


def test_an_empty_edit_is_silence_in_a_movie_of_sound_alone():
    samples, notes = sounds.heard(muxed("mp4", "aac", 44_100, lambda at: at + 5.0))
    assert place(samples)[0] == pytest.approx(5.0, abs=0.1)
    assert not notes.clock_broken


def test_jitter_of_the_clock_neither_drifts_nor_cuts():
    rng = np.random.default_rng(4)
    times = np.cumsum(rng.uniform(0, 0.0001, 10_000))
    content = muxed("matroska", "libopus", 48_000, lambda at: at + times[int(at * 50)] + rng.uniform(-0.009, 0.009))
    samples, notes = sounds.heard(content)
    at, fit = place(samples)
    assert at < 0.05
    assert fit > 0.98
    assert not notes.clock_broken


def test_the_default_track_comes_first_and_every_track_can_be_heard_again():
    content = muxed("mp4", "aac", 44_100, tracks=(np.zeros_like(SPEECH), SPEECH))
    sound = open_sound(io.BytesIO(content), 30.0)
    assert sound.tracks == [0, 1]
    assert np.abs(sounds.heard(content, track=0)[0]).max() < 0.01
    once, _ = sounds.heard(content, track=1)
    assert place(once)[1] > 0.98
    assert np.array_equal(sounds.heard(content, track=1)[0], once)


@pytest.mark.parametrize("level", [30.0, 1000.0])
@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_track_of_noise_hides_no_voice_in_another(container, level):
    noise = (level * np.random.default_rng(8).standard_normal(len(SPEECH))).astype(np.int16)
    found = io.BytesIO()
    write_sound(io.BytesIO(muxed(container, "aac", 44_100, tracks=(noise, SPEECH))), found, 30.0)
    assert place(np.frombuffer(found.getvalue(), np.float32, offset=TRACK.size))[1] > 0.7


@pytest.mark.parametrize(("silent", "sounds_there"), [(15, True), (16, False)])
def test_sound_is_looked_for_in_sixteen_tracks(silent, sounds_there):
    short = SPEECH[: RATE // 4]
    content = muxed("matroska", "aac", 44_100, tracks=(*[np.zeros_like(short)] * silent, short))
    found = io.BytesIO()
    write_sound(io.BytesIO(content), found, 30.0)
    samples = np.frombuffer(found.getvalue(), np.float32, offset=TRACK.size)
    assert bool(np.abs(samples).max() > 0.01) is sounds_there


def test_the_channels_stay_apart():
    stereo = np.stack([SPEECH, -SPEECH]).T.reshape(1, -1)
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as output:
        stream = output.add_stream("flac", rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(stereo), format="s16", layout="stereo")
        frame.sample_rate = RATE
        output.mux([*stream.encode(frame), *stream.encode(None)])
    sound = open_sound(file, 30.0)
    block = next(sound.blocks(0, sounds.Notes()))
    assert block.shape[0] == 2
    assert np.abs(block[0] + block[1]).max() < 1e-4
    assert np.abs(block[0]).max() > 0.01


def test_a_hostile_gap_costs_no_more_than_the_limit():
    # This container's times are not sought, so the sound is heard up to the limit.
    content = muxed("mpegts", "aac", 48_000, lambda at: at + 50_000.0 * (at > 2))
    count = 0
    with pytest.raises(Refused) as refused:
        for block in open_sound(io.BytesIO(content), 20.0).blocks(0, sounds.Notes()):
            count += block.shape[1]
    assert refused.value.refusal is Refusal.TOO_LONG
    assert 2 * RATE < count <= 20 * RATE


@pytest.mark.parametrize("length", [1 << 62, (1 << 63) - 200, (1 << 63) - 1, (1 << 64) - 1])
def test_a_box_of_any_length_ends_a_movie(length):
    movie = sounds.encode(CLIP, "m4a")
    expected, _ = sounds.heard(movie)
    samples, _ = sounds.heard(movie + struct.pack(">I4sQ", 1, b"free", length) + bytes(20))
    assert np.array_equal(samples, expected)


@pytest.mark.parametrize("offset", [11, (1 << 63) - 1])
def test_a_place_behind_the_end_holds_nothing(offset):
    window = Part(5, 10).open(io.BytesIO(bytes(20)))
    window.seek(offset)
    assert window.read(4) == b""
    window.seek(-1, io.SEEK_END)
    assert window.read(4) == b"\0"


#: Containers whose length is known before any of it is heard.
FORETOLD = ["wav", "wav-float", "wav-alaw", "flac", "m4a", "alac", "3gp", "mov", "mkv", "webm", "wma", "aiff", "au"]


@pytest.mark.parametrize("codec", FORETOLD)
def test_what_goes_on_behind_the_limit_is_refused_before_it_is_heard(codec):
    content = sounds.encode(TWELVE, codec)
    with pytest.raises(Refused) as refused:
        open_sound(io.BytesIO(content), 8.0)
    assert refused.value.refusal is Refusal.TOO_LONG
    assert open_sound(io.BytesIO(content), 12.0).tracks == [0]


def claiming_hours(codec):
    """Return a clip of four seconds whose header names 12 hours."""
    content = bytearray(sounds.encode(CLIP, codec))
    seconds = 12 * 3600
    if codec == "flac":
        # STREAMINFO's 36-bit count of samples.
        content[21] = content[21] & 0xF0
        content[22:26] = (seconds * RATE).to_bytes(4, "big")
    elif codec == "wav":
        content[40:44] = (seconds * RATE * 2).to_bytes(4, "little")
    elif codec == "au":
        content[8:12] = (seconds * RATE * 2).to_bytes(4, "big")
    elif codec == "mkv":
        at = content.index(b"\x44\x89\x88") + 3
        content[at : at + 8] = struct.pack(">d", seconds * 1000.0)
    elif codec == "m4a":
        at = content.index(b"mdhd") + 20
        content[at : at + 4] = (seconds * 44_100 % 2**32).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize("codec", ["flac", "wav", "au", "mkv", "m4a"])
def test_a_header_that_names_hours_refuses_no_short_recording(codec):
    samples, _ = sounds.heard(claiming_hours(codec), max_s=8.0)
    assert len(samples) == pytest.approx(4 * RATE, abs=RATE)


@pytest.mark.parametrize("codec", ["flac", "wav", "mkv"])
def test_such_a_header_is_seen_where_it_does_not_lie(codec):
    with pytest.raises(Refused):
        open_sound(io.BytesIO(claiming_hours(codec)), 2.0)

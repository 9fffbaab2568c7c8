import contextlib
import io
import os
import re
import tempfile
import threading

import av
import numpy as np
import pytest
import soundfile

from shared.domain.audio import Channels, Segment, Track
from shared.domain.errors import AudioTooLong, ChannelNotFound, NotAudio
from shared.domain.quality import is_narrowband
from shared.sound.conditioning import condition
from tests.support import sounds
from worker.recordings.av_reader import FORMATS
from worker.recordings.decoder import ProcessDecoder
from worker.recordings.decoder_protocol import pack_track, unpack_track

CLIP = sounds.DATA / "3080-5032-0003.flac"


@pytest.fixture(scope="module")
def decoder():
    decoder = ProcessDecoder()
    yield decoder
    decoder.stop()


@pytest.fixture(scope="module")
def decode(decoder):
    def from_bytes(content):
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.flush()
            return decoder.decode(file, 30.0)

    return from_bytes


@pytest.fixture(scope="module")
def half_minute():
    return sounds.lasting(sounds.read(CLIP), 30.0)


@pytest.mark.parametrize("codec", sounds.CODECS)
def test_exactly_the_limit_passes_in_every_codec_and_comes_out_mono_16_khz(codec, half_minute, decode):
    waveform = decode(sounds.encode(half_minute, codec))
    assert waveform.sample_rate_hz == 16_000
    assert waveform.samples.dtype == np.float32
    assert waveform.samples.ndim == 1
    assert waveform.duration_s == pytest.approx(30.0, abs=0.05)
    assert 0.1 < np.abs(waveform.samples).max() <= 1.1
    assert waveform.track.sample_rate_hz == sounds.CODECS[codec][2]


@pytest.mark.parametrize("codec", sounds.CODECS)
def test_a_bit_more_than_the_limit_is_refused_in_every_codec(codec, half_minute, decode):
    longer = sounds.lasting(half_minute, 30.6)
    with pytest.raises(AudioTooLong, match="longer than 30 seconds"):
        decode(sounds.encode(longer, codec))


@pytest.mark.parametrize("codec", [codec for codec, (_, _, rate) in sounds.CODECS.items() if rate == 8_000])
def test_a_telephone_is_told_from_a_wide_band_in_every_codec(codec, decode):
    # Of the clips the one whose band leaves the strongest images when 8 kHz become 16.
    clip = sounds.read(sounds.DATA / "2609-156975-0009.flac")
    speech = [Segment(0.0, clip.duration_seconds)]
    assert is_narrowband(decode(sounds.encode(clip, codec)), speech)
    assert not is_narrowband(decode(sounds.encode(clip, "wav")), speech)


def test_a_wav_is_read_sample_for_sample_and_then_conditioned(half_minute, decode, tmp_path):
    path = tmp_path / "half-minute.wav"
    path.write_bytes(sounds.encode(half_minute, "wav"))
    expected = np.array(half_minute.get_array_of_samples(), np.float32) / 32_768
    assert np.array_equal(sounds.read_unconditioned(path), expected)
    np.testing.assert_allclose(decode(path.read_bytes()).samples, condition([expected[None]]), atol=1e-6)


@pytest.mark.parametrize(
    ("container_format", "encoder"),
    [("mp4", "aac"), ("flac", "flac"), ("ogg", "libopus"), ("caf", "pcm_s16le")],
)
def test_eight_channels_are_heard_in_planes_and_in_a_layout_of_the_file_s_own(
    container_format, encoder, half_minute, decode
):
    waveform = decode(surround(half_minute, container_format, encoder))
    assert waveform.track.channels.number == 8
    assert waveform.duration_s == pytest.approx(30.0, abs=0.05)
    one = decode(sounds.encode(half_minute, "wav")).samples
    start = slice(16_000, 19_200)
    alike = np.correlate(waveform.samples[start], one[start.start - 1600 : start.stop + 1600])
    assert np.abs(alike).max() > 0.9 * np.linalg.norm(waveform.samples[start]) * np.linalg.norm(one[start])


def surround(sound, container_format, encoder):
    """Return a file in which all of eight channels hold `sound`."""
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        stream = container.add_stream(encoder, rate=48_000, layout="7.1")
        samples = np.repeat(np.array(sound.get_array_of_samples(), np.int16), 8)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="7.1")
        frame.sample_rate = sound.frame_rate
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def test_a_header_that_lies_about_the_length_is_not_believed(half_minute, decode):
    wav = bytearray(sounds.encode(sounds.lasting(half_minute, 40), "flac"))
    # STREAMINFO's 36-bit count of samples, set to one second.
    wav[21] &= 0xF0
    wav[22:26] = (16_000).to_bytes(4, "big")
    with pytest.raises(AudioTooLong):
        decode(bytes(wav))


@pytest.mark.parametrize(
    "content",
    [
        b"\x00",
        b"hello, I am a text file\n" * 100,
        b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        b"\x89PNG\r\n\x1a\n" + b"\x00" * 64,
    ],
    ids=["a byte", "text", "playlist", "concat script", "sdp", "png"],
)
def test_what_is_not_audio_is_refused(content, decode):
    with pytest.raises(NotAudio, match="wav, flac, mp3"):
        decode(content)


def test_the_formats_that_a_refusal_lists_are_those_that_are_accepted(decode):
    with pytest.raises(NotAudio) as refusal:
        decode(b"\x00")
    listed = set(re.findall(r"\w+", str(refusal.value).partition(":")[2]))
    # Files of all of these are decoded by the tests above.
    names = {"adts": "aac", "matroska": "mkv"}
    decoded = {names.get(container, container) for container, _, _ in sounds.CODECS.values()}
    assert listed == decoded | {"m4a", "opus", "wma"}
    assert {names.get(container, container) for container in FORMATS.split(",")} <= listed


def pictures(container_format, encoder):
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        stream = container.add_stream(encoder, rate=10, width=64, height=64, pix_fmt="yuv420p")
        for frame in [*(av.VideoFrame(64, 64, "yuv420p") for _ in range(10)), None]:
            container.mux(stream.encode(frame))
    return file.getvalue()


@pytest.mark.parametrize(
    ("container_format", "encoder"), [("mp4", "mpeg4"), ("mov", "mpeg4"), ("matroska", "mpeg4"), ("webm", "libvpx-vp9")]
)
def test_a_video_without_sound_is_called_so(container_format, encoder, decode):
    with pytest.raises(NotAudio, match="is a video without sound") as refusal:
        decode(pictures(container_format, encoder))
    assert refusal.value.code == "not_audio"


def stereo(left, right):
    file = io.BytesIO()
    soundfile.write(file, np.stack([left, right], axis=1), 16_000, format="FLAC")
    return file.getvalue()


@pytest.mark.parametrize("seconds", [4.0, 130.0], ids=["read once", "read twice"])
def test_channels_are_decoded_one_by_one_or_each_apart(seconds, half_minute, decoder):
    once = np.array(half_minute.get_array_of_samples(), np.float32) / 32_768
    left, right = (np.resize(np.roll(once, shift), round(seconds * 16_000)) * 0.9 for shift in (0, 160_000))
    with tempfile.TemporaryFile() as file:
        file.write(stereo(left, right))
        file.flush()
        for channel, alone in enumerate((left, right)):
            found = decoder.decode(file, 7200.0, channel)
            assert found.track.channels == Channels(number=2, used=(channel,))
            np.testing.assert_allclose(found.samples, condition([alone[None]]), atol=1e-3)
        with decoder.stream_each(file, 7200.0) as stream:
            assert stream.track.channels.number == 2
            blocks = list(stream.blocks)
    assert [block.shape for block in blocks[:-1]] == [(2, 480_000)] * (len(blocks) - 1)
    assert np.concatenate(blocks, axis=1).shape == (2, round(seconds * 16_000))


@pytest.mark.parametrize(("number", "sentence"), [(1, "has one channel"), (2, "has 2 channels; .* from 0 to 1")])
def test_a_channel_that_the_recording_lacks_is_an_error_of_its_own(number, sentence, half_minute, decoder):
    with tempfile.TemporaryFile() as file:
        once = np.array(half_minute[:2000].get_array_of_samples(), np.float32) / 32_768
        file.write(stereo(once, once) if number == 2 else sounds.encode(half_minute[:2000], "wav"))
        file.flush()
        assert decoder.decode(file, 30.0, number - 1).track.channels == Channels(number=number, used=(number - 1,))
        for channel in {number, 7}:
            with pytest.raises(ChannelNotFound, match=sentence):
                decoder.decode(file, 30.0, channel)
        # The helper is not harmed.
        assert decoder.decode(file, 30.0).duration_s == pytest.approx(2.0)


def test_a_silent_channel_says_where_sound_is(half_minute, decoder):
    once = np.array(half_minute[:6000].get_array_of_samples(), np.float32) / 32_768
    with tempfile.TemporaryFile() as file:
        file.write(stereo(0.0 * once, once))
        file.flush()
        found = decoder.decode(file, 30.0, 0)
    assert np.abs(found.samples).max() == 0.0
    assert found.track.warning == "Nothing but silence or noise is on channel 0; there is sound on channel 1."


def test_what_a_child_says_of_channels_is_kept_within_bounds():
    mad = Track(channels=Channels(number=255, used=tuple(range(8))), voices=(0, 7))
    assert unpack_track(pack_track(mad)).channels == Channels(number=8, used=tuple(range(8)))
    few = Track(channels=Channels(number=0, used=(0, 5)), voices=(3,))
    assert unpack_track(pack_track(few)).channels == Channels(number=1, used=(0,))
    assert unpack_track(pack_track(few)).voices == ()


def test_an_empty_file_is_called_so(decode):
    with pytest.raises(NotAudio, match="is empty"):
        decode(b"")


@pytest.mark.parametrize("rate", [1, 2_000, 400_000])
def test_an_absurd_sample_rate_is_refused(rate, half_minute, decode):
    wav = bytearray(sounds.encode(half_minute, "wav"))
    wav[24:28] = rate.to_bytes(4, "little")
    with pytest.raises((NotAudio, AudioTooLong)):
        decode(bytes(wav))


def test_damage_in_the_middle_of_a_file_never_escapes_as_anything_but_our_errors(half_minute, decode):
    rng = np.random.default_rng(7)
    for codec in sounds.CODECS:
        good = sounds.encode(half_minute[:3000], codec)
        for _ in range(10):
            bad = bytearray(good)
            for position in rng.integers(0, len(bad), 20):
                bad[position] = rng.integers(256)
            with contextlib.suppress(NotAudio, AudioTooLong):
                decode(bytes(bad))


@pytest.fixture(scope="module")
def five_minutes(half_minute, tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "five-minutes.flac"
    path.write_bytes(sounds.encode(sounds.lasting(half_minute, 301.5), "flac"))
    return path


def test_a_long_recording_comes_in_blocks_that_hold_every_sample(five_minutes, half_minute, decoder):
    with five_minutes.open("rb") as file, decoder.stream(file, 7200.0) as stream:
        assert stream.track.duration_s == pytest.approx(301.5)
        blocks = list(stream.blocks)
    assert [len(block) for block in blocks] == [480_000] * 10 + [24_000]
    once = np.array(half_minute.get_array_of_samples(), np.float32) / 32_768
    expected = condition([np.resize(once, round(301.5 * 16_000))[None]])
    np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-4)


def test_a_long_recording_over_the_limit_is_refused_before_any_work_is_done(five_minutes, decoder):
    refused = pytest.raises(AudioTooLong, match="longer than 300 seconds")
    with five_minutes.open("rb") as file, decoder.stream(file, 300.0) as stream, refused:
        next(stream.blocks)


def test_two_recordings_can_be_open_at_once(five_minutes, decoder):
    with five_minutes.open("rb") as one, five_minutes.open("rb") as other, decoder.stream(one, 7200.0) as first:
        begun = next(first.blocks)
        with decoder.stream(other, 7200.0) as second:
            assert sum(map(len, second.blocks)) == 301.5 * 16_000
        assert len(begun) + sum(map(len, first.blocks)) == 301.5 * 16_000


def test_a_recording_that_nobody_takes_is_not_decoded_ahead(five_minutes, decoder):
    with five_minutes.open("rb") as file, decoder.stream(file, 7200.0) as stream:
        next(stream.blocks)
        threading.Event().wait(0.5)
        # A pipe holds 64 KiB, and so does the buffer of whoever writes to it.
        ahead = os.lseek(file.fileno(), 0, os.SEEK_CUR) / five_minutes.stat().st_size
        assert ahead < 0.3

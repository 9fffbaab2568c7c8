"""Recordings come in many formats, and may last half a minute."""

import io

import av
import numpy as np
import pytest
from pydub import AudioSegment

from shared.domain.voiceprints import Voiceprint
from tests.support.client import Client
from tests.support.sounds import CODECS, DATA, encode, lasting, read

CLIP = read(DATA / "1688-142285-0005.flac")
#: Cosine to the plain wav's voiceprint; at 8 kHz half of the spectrum is gone (0.85 was measured), and AMR keeps
#: 12.2 kbit/s of the rest (0.75).
LEAST, LEAST_AT_8_KHZ, LEAST_IN_AMR = 0.9, 0.8, 0.7


def written(sound: AudioSegment, container_format: str, encoder: str, rate: int, *, video: bool = False) -> bytes:
    """Return `sound` as a file, with moving pictures beside it if asked for."""
    file = io.BytesIO()
    layout = {1: "mono", 2: "stereo"}[sound.channels]
    with av.open(file, "w", format=container_format) as container:
        if video:
            pictures = container.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        stream = container.add_stream(encoder, rate=rate, layout=layout)
        if video:
            for _ in range(10):
                container.mux(pictures.encode(av.VideoFrame(32, 32, "yuv420p")))
            container.mux(pictures.encode(None))
        samples = np.array(sound.get_array_of_samples(), dtype=np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
        frame.sample_rate = sound.frame_rate
        for each in (frame, None):
            container.mux(stream.encode(each))
    return file.getvalue()


STEREO = AudioSegment.from_mono_audiosegments(CLIP, CLIP)
VARIANTS = {
    "stereo wav": (STEREO, "wav", "pcm_s16le", 16_000),
    "stereo mp3": (STEREO, "mp3", "libmp3lame", 48_000),
    "wav of 44.1 kHz": (CLIP, "wav", "pcm_s16le", 44_100),
    "wav of 96 kHz": (CLIP, "wav", "pcm_s24le", 96_000),
    "alac": (CLIP, "mp4", "alac", 44_100),
}


@pytest.fixture(scope="module")
def plain(client: Client) -> Voiceprint:
    """The voiceprint of the clip as a plain wav."""
    return client.voiceprint(client.upload("plain.wav", encode(CLIP, "wav")))


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_gives_nearly_the_same_voiceprint(codec: str, client: Client, plain: Voiceprint) -> None:
    least = LEAST_AT_8_KHZ if CODECS[codec][2] == 8_000 else LEAST
    least = LEAST_IN_AMR if codec in ("amr", "3gp") else least
    assert client.voiceprint(client.upload(codec, encode(CLIP, codec))).score(plain) >= least


@pytest.mark.parametrize("variant", VARIANTS)
def test_channels_and_sample_rates_do_not_matter(variant: str, client: Client, plain: Voiceprint) -> None:
    body = written(*VARIANTS[variant])
    assert client.voiceprint(client.upload("variant", body)).score(plain) >= LEAST


def test_a_telephone_recording_of_8_khz_is_still_the_same_voice(client: Client, plain: Voiceprint) -> None:
    body = written(CLIP, "wav", "pcm_s16le", 8_000)
    assert client.voiceprint(client.upload("telephone.wav", body)).score(plain) >= LEAST_AT_8_KHZ


@pytest.mark.parametrize(("container_format", "encoder"), [("mp4", "aac"), ("matroska", "libopus")])
def test_the_sound_of_a_video_is_taken(container_format: str, encoder: str, client: Client, plain: Voiceprint) -> None:
    body = written(CLIP, container_format, encoder, 48_000, video=True)
    assert client.voiceprint(client.upload("video", body)).score(plain) >= LEAST


def test_the_format_is_told_by_the_content_and_not_by_the_name(client: Client, plain: Voiceprint) -> None:
    assert client.voiceprint(client.upload("really-an-mp3.wav", encode(CLIP, "mp3"))).score(plain) >= LEAST


@pytest.mark.parametrize("codec", ["wav", "mp3", "m4a", "ogg-opus"])
def test_thirty_seconds_are_taken(codec: str, client: Client) -> None:
    job = client.run(client.upload("thirty", encode(lasting(CLIP, 30.0), codec)))
    assert job["status"] == "succeeded"
    assert job["output"]["audioSeconds"] == pytest.approx(30.0, abs=0.05)


@pytest.mark.parametrize("codec", ["wav", "mp3", "m4a", "ogg-opus"])
def test_more_than_thirty_seconds_are_refused(codec: str, client: Client) -> None:
    job = client.run(client.upload("longer", encode(lasting(CLIP, 30.6), codec)))
    assert job["status"] == "failed"
    assert job["output"]["code"] == "audio_too_long"
    assert "30 seconds" in job["output"]["error"]

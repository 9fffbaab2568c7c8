"""A job that cannot succeed says why, in a sentence and a code."""

from collections.abc import Callable

import numpy as np
import pytest
from pydub import AudioSegment

from tests.support.answers import failure
from tests.support.client import Client
from tests.support.servers import AudioHost
from tests.support.sounds import DATA, PAUSE, RATE, encode, read

CLIP = read(DATA / "1688-142285-0005.flac")


def noise() -> bytes:
    samples = np.random.default_rng(seed=1).normal(0, 3000, 3 * RATE).astype("<i2")
    return encode(AudioSegment(samples.tobytes(), frame_rate=RATE, sample_width=2, channels=1), "wav")


BODIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a text": (lambda: b"Dear sir or madam,\n" * 100, "not_audio"),
    "a web page": (lambda: b"<!doctype html><title>Sign in</title>" * 50, "not_audio"),
    "nothing": (lambda: b"", "not_audio"),
    "zeros": (lambda: bytes(50_000), "not_audio"),
    "a header alone": (lambda: encode(CLIP, "wav")[:44], "not_audio"),
    # What is left of it is heard, but it is too little.
    "a flac cut off at half": (lambda: _half(encode(CLIP, "flac")), "too_little_speech"),
    "a flac of which a header is left": (lambda: encode(CLIP, "flac")[:100], "not_audio"),
    "an m4a cut off at half": (lambda: _half(encode(CLIP, "m4a")), "not_audio"),
    "silence": (lambda: encode(PAUSE * 3, "wav"), "no_speech"),
    "white noise": (noise, "no_speech"),
    "a few milliseconds": (lambda: encode(CLIP[1000:1020], "wav"), "no_speech"),
    "half a second of speech": (lambda: encode(PAUSE + CLIP[1000:1500] + PAUSE, "wav"), "too_little_speech"),
}


def _half(body: bytes) -> bytes:
    return body[: len(body) // 2]


@pytest.mark.parametrize("what", BODIES)
def test_what_holds_no_voice_fails_with_its_reason(what: str, client: Client) -> None:
    make, code = BODIES[what]
    failure(client.run(client.upload("what", make())), code)


def test_too_little_speech_says_how_much_there_was_and_how_much_is_needed(client: Client) -> None:
    body = encode(PAUSE + CLIP[1000:1500] + PAUSE, "wav")
    failure(client.run(client.upload("short.wav", body)), "too_little_speech", "0.", " s;", "at least")


SCRIPTS = {
    "HLS playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n",
    "M3U playlist": "#EXTM3U\n{}\n",
    "concat script": "ffconcat version 1.0\nfile '{}'\n",
    "DASH manifest": "<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><Period><AdaptationSet mimeType='audio/wav'>"
    "<Representation id='1' bandwidth='1'><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "session description": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\na=control:{}\nm=audio 5004 RTP/AVP 0\n",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_file_that_points_elsewhere_is_not_followed(script: str, client: Client, host: AudioHost) -> None:
    elsewhere = host.serve("secret.wav", encode(CLIP, "wav"))
    url = host.serve("script.wav", SCRIPTS[script].format(elsewhere).encode())
    failure(client.run(url), "not_audio")
    assert host.hits == {"/file/script.wav": 1}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_file_that_points_to_a_local_file_is_not_followed(script: str, client: Client) -> None:
    local = (DATA / "conversation.flac").resolve()
    for name in (str(local), local.as_uri()):
        failure(client.run(client.upload("script.wav", SCRIPTS[script].format(name).encode())), "not_audio")


def test_media_that_was_never_uploaded_is_not_found(client: Client) -> None:
    failure(
        client.run("media://never/uploaded.wav"), "media_not_found", "media://never/uploaded.wav", "/v1/media/input"
    )

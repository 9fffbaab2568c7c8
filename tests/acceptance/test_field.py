"""Recordings as the field sends them: each file reproduces a situation that somebody reported of a service like this.

The speech is of LibriSpeech. Most files are made from `clean.flac` (8 s) or `ref_4s.wav` (its first half). A voiceprint
is compared with that of the undamaged file; that of another speaker is nearer than 0.6 to none of them.
"""

import gzip

import pytest

from shared.domain.voiceprints import Voiceprint
from tests.support.client import Client, put
from tests.support.sounds import DATA

FIELD = DATA / "field"

#: File -> the file without the fault, the least cosine to it, and what a warning must say.
VOICES = {
    # Stereo: the channels are inverted copies; voice left and hum right; both at full scale.
    "st_inverted.wav": ("ref_4s.wav", 0.99, None),
    "st_right_hum.flac": ("clean.flac", 0.99, None),
    "st_full.flac": ("mono_full.flac", 0.99, None),
    # Samples: floats of the size of 16-bit numbers; 24 valid bits in 32.
    "f32_int16scale.wav": ("ref_4s.wav", 0.99, None),
    "p24in32.wav": ("ref_4s.wav", 0.99, None),
    # Headers of WAV: a stray byte behind the samples; an odd chunk without its pad byte; 3 s named of 8.
    "h_odd_data.wav": ("clean.flac", 0.99, None),
    "h_oddlist_unpadded.wav": ("clean.flac", 0.99, None),
    "h_short3s.wav": ("clean.flac", 0.99, "more sound than its header names"),
    # A download or a recorder stopped; 200 bytes are damaged.
    "cut_clean.flac": ("ref_4s.wav", 0.95, "3.3 s of its sound could not be read"),
    "cut_x_fast.m4a": ("ref_4s.wav", 0.95, "3.3 s of its sound could not be read"),
    "dmg_x.mp3": ("clean.flac", 0.95, "could not be read"),
    # Files joined end to end: alike, of another rate, of other channels, a chained Ogg of another rate.
    "cat_same.mp3": ("clean.flac", 0.95, None),
    "cat_rate.mp3": ("clean.flac", 0.95, None),
    "cat_chan.mp3": ("clean.flac", 0.95, None),
    "cat_chain_rate.oga": ("clean.flac", 0.95, None),
    # A tag of over 1 MB before the sound; two audio tracks, the first silent.
    "id3_1200000_clean.flac.gz": ("clean.flac", 0.99, None),
    "two_silent_first.mp4": ("clean.flac", 0.95, None),
    # One person, the second sentence 20 dB quieter; a ring-back tone before clean speech.
    "d_A_vol.flac": ("d_A_only.flac", 0.95, None),
    "n_ring_then_speech.flac": ("clean.flac", 0.95, None),
    # Sound that starts 5 s into a video; a recorder that paused for 6 s.
    "t_video_off5.mp4": ("clean.flac", 0.95, None),
    "t_gap6.mp4": ("clean.flac", 0.95, None),
}


def content(name: str) -> bytes:
    raw = (FIELD / name).read_bytes()
    return gzip.decompress(raw) if name.endswith(".gz") else raw


def output(client: Client, name: str, operation: str = "voiceprint", **fields: str) -> dict:
    url = client.upload(f"field/{name}", content(name))
    job = client.wait(client.post(f"/v1/{operation}", url=url, **fields).json()["jobId"])
    assert job["status"] == "succeeded", job["output"]
    return job["output"]


@pytest.mark.parametrize("name", VOICES)
def test_the_voice_is_that_of_the_recording_without_the_fault(name: str, client: Client) -> None:
    reference, least, warning = VOICES[name]
    found = output(client, name)
    expected = Voiceprint.decode(output(client, reference)["voiceprint"])
    assert Voiceprint.decode(found["voiceprint"]).score(expected) >= least
    told = found.get("warning", "").removeprefix("This result is less certain than usual: the speaker talks for ")
    assert warning in told if warning else "." not in told.partition(" s only.")[2], told


@pytest.mark.parametrize("name", ["v_2414_test.flac", "v_2414_dc0.02.flac", "v_2414_dc0.1.flac"])
def test_a_constant_offset_of_the_microphone_rejects_nobody(name: str, client: Client) -> None:
    enrolled = output(client, "v_2414_enrol.flac")["voiceprint"]
    found = output(client, name, "verify", voiceprint=enrolled, operatingPoint="strict")
    assert found["decision"] == "accept"
    assert found["confidence"] >= 90


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("st_inverted.wav", {"number": 2, "used": [0, 1]}),
        ("st_right_hum.flac", {"number": 2, "used": [0]}),
        ("st_full.flac", {"number": 2, "used": [0, 1]}),
        ("mono_full.flac", {"number": 1, "used": [0]}),
    ],
)
def test_the_output_says_which_channels_were_heard(name: str, channels: dict, client: Client) -> None:
    assert output(client, name)["channels"] == channels


def test_a_quieter_sentence_is_no_second_speaker(client: Client) -> None:
    assert output(client, "d_A_vol.flac")["quality"]["speakerCount"] == 1


def test_a_ring_back_tone_is_no_noise(client: Client) -> None:
    found = output(client, "n_ring_then_speech.flac")
    assert found["quality"]["snrDb"] >= 15
    assert "warning" not in found


@pytest.mark.parametrize(("name", "seconds"), [("clean.flac", 8.0), ("h_short3s.wav", 8.0), ("t_gap6.mp4", 14.0)])
def test_nothing_of_a_recording_is_left_out(name: str, seconds: float, client: Client) -> None:
    assert output(client, name)["audioSeconds"] == pytest.approx(seconds, abs=0.2)


def turns(client: Client, name: str) -> list[dict]:
    return output(client, name, "diarize")["diarization"]


def test_times_are_those_of_a_player_when_sound_starts_late(client: Client) -> None:
    assert 4.8 <= turns(client, "t_video_off5.mp4")[0]["start"] <= 6.0


def test_times_are_those_of_a_player_when_the_recorder_paused(client: Client) -> None:
    found = turns(client, "t_gap6.mp4")
    assert found[0]["start"] < 1.0
    assert not [turn for turn in found if 5.0 < turn["start"] < 9.5 or 5.0 < turn["end"] < 9.5]
    assert found[-1]["end"] > 13.0


def test_a_multipart_form_is_refused_where_it_is_put(client: Client) -> None:
    refused = put(client.address("media://form.wav"), content("crlf_multipart.wav"))
    assert refused.status_code == 415
    assert "multipart" in refused.json()["message"]


def test_every_file_of_the_field_is_tested(request: pytest.FixtureRequest) -> None:
    source = request.path.read_text()
    assert [path.name for path in FIELD.iterdir() if f'"{path.name}"' not in source] == []

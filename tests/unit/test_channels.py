"""Diarization by channels: a speaker each, from blocks of any length, with the bundled voice activity detection."""

import numpy as np
import pytest

from api.schemas.recordings import DiarizeRequest, IdentifyRequest, VoiceprintRequest
from api.schemas.verifications import IdentityVerifyRequest
from models.vad import SileroVad
from shared.domain.audio import Channels, ChannelStream, Segment, Track
from shared.domain.commands import CreateVoiceprint, Diarize, from_record, to_record
from shared.domain.diarization import SpeakerTime, Turn
from shared.domain.results import RecordingDiarization
from shared.domain.sources import parse_source
from tests.support.sounds import DATA, read_waveform
from worker.voices.channels import _exclusive, diarize_channels
from worker.voices.progress import Steps

RATE = 16_000
URL = "https://a.example/1.wav"


@pytest.fixture(scope="module")
def voice():
    return read_waveform(DATA / "3080-5032-0003.flac").samples[: 4 * RATE]


def stream(planar, block_s=30.0, used=None, voices=None) -> ChannelStream:
    count = round(block_s * RATE)
    blocks = (planar[:, i : i + count] for i in range(0, planar.shape[1], count))
    every = tuple(range(len(planar)))
    channels = Channels(number=len(planar), used=every if used is None else used)
    return ChannelStream(
        blocks, Track(duration_s=planar.shape[1] / RATE, channels=channels, voices=every if voices is None else voices)
    )


def diarized(planar, steps=None, **options) -> RecordingDiarization:
    return diarize_channels(stream(planar, **options), SileroVad(), steps or Steps())


def at(voice, *starts_s, seconds=12.0):
    samples = np.zeros(round(seconds * RATE), np.float32)
    for start_s in starts_s:
        samples[round(start_s * RATE) :][: len(voice)] = voice
    return samples


def test_each_channel_is_a_speaker_by_its_number(voice):
    found = diarized(np.stack([at(voice, 6.0), at(voice, 0.5)]))
    assert found.diarization.speakers == ["SPEAKER_01", "SPEAKER_00"]
    assert [(one.speaker, one.channel) for one in found.diarization.speaker_times] == [
        ("SPEAKER_01", 1),
        ("SPEAKER_00", 0),
    ]
    assert found.audio_s == 12.0
    assert found.warning is None


def test_a_silent_channel_has_no_speaker_and_is_named(voice):
    found = diarized(np.stack([np.zeros(12 * RATE, np.float32), at(voice, 1.0), 0 * at(voice)]), used=(1,), voices=(1,))
    assert [(one.speaker, one.channel) for one in found.diarization.speaker_times] == [("SPEAKER_01", 1)]
    assert found.warning == "Nobody speaks on channels 0 and 2."


def test_a_copy_of_another_channel_is_told_of(voice):
    found = diarized(np.stack([at(voice, 1.0), at(voice, 1.0)]), used=(0,))
    assert found.diarization.speakers == ["SPEAKER_00"]
    assert "No sound of its own is on channel 1" in found.warning


def test_a_mono_recording_is_one_speaker_with_a_warning(voice):
    found = diarized(at(voice, 1.0)[None])
    assert found.diarization.speakers == ["SPEAKER_00"]
    assert "The recording has one channel" in found.warning


@pytest.mark.parametrize("used", [(), (0, 1)])
def test_nobody_speaks(used):
    found = diarized(np.zeros((2, 5 * RATE), np.float32), used=used, voices=())
    assert found.diarization.turns == found.exclusive == []
    assert (found.speech_s, found.audio_s) == (0.0, 5.0)
    assert len(found.frame_confidence.percent) == 250
    assert found.warning == "Nobody speaks on channels 0 and 1."


def test_the_result_does_not_depend_on_the_lengths_of_the_blocks(voice):
    planar = np.stack([at(voice, 1.0, 130.0, seconds=140.0), at(voice, 3.0, 60.0, 118.0, seconds=140.0)])
    whole, parts = (diarized(planar, block_s=block_s) for block_s in (140.0, 7.3))
    assert whole.diarization.turns == parts.diarization.turns
    np.testing.assert_array_equal(whole.frame_confidence.percent, parts.frame_confidence.percent)


def test_people_who_speak_at_once_have_turns_that_overlap(voice):
    found = diarized(np.stack([at(voice, 1.0), at(voice, 3.0)]))
    first, *_, last = found.diarization.turns
    assert first.segment.end_s > last.segment.start_s or len(found.diarization.turns) > 2
    assert found.speech_s < sum(found.diarization.seconds().values())
    ends = [turn.segment.end_s for turn in found.exclusive]
    assert all(turn.segment.start_s >= end for turn, end in zip(found.exclusive[1:], ends, strict=False))
    for turn in found.exclusive:
        assert set(turn.confidence) == {"SPEAKER_00", "SPEAKER_01"}


def test_whoever_speaks_first_goes_on_where_one_may_speak_at_a_time():
    turns = [Turn(Segment(*at), who) for at, who in [((0, 5), "A"), ((1, 2), "B"), ((4, 8), "B"), ((7.95, 8.01), "A")]]
    assert _exclusive(turns) == [Turn(Segment(0, 5), "A"), Turn(Segment(5, 8), "B")]


def test_a_confidence_is_the_share_of_speech_on_a_channel(voice):
    found = diarized(np.stack([at(voice, 1.0), at(voice, 7.0)]))
    for turn in found.diarization.turns:
        assert turn.confidence[turn.speaker] > 70 > 10 > min(turn.confidence.values())
    percent = found.frame_confidence.percent
    assert percent.dtype == np.uint8 and len(percent) == 600
    assert percent.mean() > 80


def test_progress_rises_to_the_end(voice):
    told = []
    steps = Steps(lambda step, percent: told.append(percent) if percent is not None else None)
    diarized(np.stack([at(voice, 1.0)] * 2), steps, block_s=3.0)
    assert told == [0, 25, 50, 75, 100]


@pytest.mark.parametrize("channel", [0, 1, 7, 1.0])
def test_a_request_names_a_channel_by_its_number(channel):
    command = VoiceprintRequest().load({"url": URL, "channel": channel}).command
    assert command.channel == channel and type(command.channel) is int
    assert from_record(to_record(command)) == command


@pytest.mark.parametrize("body", [{}, {"channel": "mix"}, {"channel": None}])
def test_without_a_number_all_channels_are_heard_and_the_release_before_can_read_the_job(body):
    for schema in (VoiceprintRequest(), DiarizeRequest()):
        command = schema.load({"url": URL} | body).command
        assert command.channel is None
        assert not {"channel", "each_channel"} & to_record(command).keys()


def test_a_request_names_each_channel():
    command = DiarizeRequest().load({"url": URL, "channel": "each"}).command
    assert (command.channel, command.each_channel) == (None, True)
    assert from_record(to_record(command)) == command


@pytest.mark.parametrize("schema", [VoiceprintRequest(), IdentifyRequest()])
def test_each_channel_goes_with_diarize_only(schema):
    assert "/v1/diarize only" in schema.validate({"url": URL, "channel": "each"})["channel"][0]


@pytest.mark.parametrize("channel", ["0", "Mix", "", -1, 8, 1.5, True, False, [], {}, 1e300])
def test_a_channel_is_a_number_or_a_word(channel):
    assert DiarizeRequest().validate({"url": URL, "channel": channel}).keys() == {"channel"}


def test_a_sample_that_was_heard_has_no_channel():
    assert IdentityVerifyRequest().validate({"sampleId": "first", "channel": 1}) == {
        "channel": ["Goes with `url` only."]
    }
    assert IdentityVerifyRequest().validate({"sampleId": "first", "channel": "mix"}) == {}


def test_channel_0_is_stored():
    source = parse_source(URL)
    for command in (CreateVoiceprint(source=source, channel=0), Diarize(source=source, channel=0)):
        assert to_record(command)["channel"] == 0


def test_speakers_without_channels_of_their_own_have_none():
    assert SpeakerTime("SPEAKER_00", 1.0).channel is None

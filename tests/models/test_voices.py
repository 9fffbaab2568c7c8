"""The whole recipe with the bundled model on the real speech that is kept with the tests."""

from pathlib import Path

import pytest

from models.vad import SileroVad
from shared.domain.audio import Track, Waveform
from shared.domain.errors import NoSpeech, TooLittleSpeech
from shared.networks import Embedder
from tests.support.sounds import encode, read, read_waveform
from tests.support.speech import DATA, Clip
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets, make_voiceprint


def test_one_speaker_is_not_split_however_short_the_recording(
    ge2e: Embedder, vad: SileroVad, clips: list[Clip]
) -> None:
    for clip in clips:
        result = make_voiceprint(Waveform(clip.samples, 16_000), Nets(vad, ge2e), Steps())
        assert result.quality.num_speakers == 1
        assert not result.voiceprint.capture.narrowband


def test_the_dominant_speaker_of_a_conversation_is_found(ge2e: Embedder, vad: SileroVad, clips: list[Clip]) -> None:
    result = make_voiceprint(read_waveform(DATA / "conversation.flac"), Nets(vad, ge2e), Steps())
    scores = {clip.speaker: float(ge2e.embed(clip.samples) @ result.voiceprint.vector) for clip in clips}
    assert result.quality.num_speakers == 2
    assert max(scores, key=scores.__getitem__) == "1688"


def test_no_turn_is_shorter_than_a_tenth_of_a_second(ge2e: Embedder, vad: SileroVad) -> None:
    # Without care there is one of 40 ms, where a hop reaches over a pause of a second.
    result = make_voiceprint(read_waveform(DATA / "conversation.flac"), Nets(vad, ge2e), Steps())
    assert min(turn.segment.duration_s for turn in result.diarization.turns) > 0.0999
    assert sum(result.diarization.seconds().values()) == pytest.approx(result.speech_s)


def test_a_clipped_recording_is_warned_of(ge2e: Embedder, vad: SileroVad, tmp_path: Path) -> None:
    path = tmp_path / "loud.flac"
    for gain_db, clipped in ((0, False), (18, True)):
        path.write_bytes(encode(read(DATA / "1688-142285-0005.flac").apply_gain(gain_db), "flac"))
        result = make_voiceprint(read_waveform(path), Nets(vad, ge2e), Steps())
        assert ("the recording is clipped" in (result.warning or "")) == clipped


@pytest.mark.parametrize(("seconds", "failure"), [(0.2, NoSpeech), (1.5, TooLittleSpeech)])
def test_a_recording_with_too_little_left_is_told_what_was_lost(
    seconds: float, failure: type[Exception], ge2e: Embedder, vad: SileroVad, clips: list[Clip]
) -> None:
    samples = clips[0].samples[: round(seconds * 16_000)]
    with pytest.raises(failure, match=r"damaged or cut off: 6\.5 s"):
        make_voiceprint(Waveform(samples, 16_000, Track(duration_s=seconds, lost_s=6.5)), Nets(vad, ge2e), Steps())

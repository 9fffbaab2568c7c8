"""The whole recipe with the bundled model on the real speech that is kept with the tests."""

import numpy as np
import pytest

from models.vad import SileroVad
from shared.domain.audio import Waveform
from shared.networks import Embedder
from tests.support.sounds import read_waveform
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


def test_a_clipped_recording_is_warned_of(ge2e: Embedder, vad: SileroVad, clips: list[Clip]) -> None:
    result = make_voiceprint(Waveform(np.clip(8 * clips[0].samples, -1.0, 1.0), 16_000), Nets(vad, ge2e), Steps())
    assert "the recording is clipped" in (result.quality.warning or "")

"""The whole recipe with an installed TitaNet against NeMo's forward on the same speech."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import registry
from models.titanet import TitaNet
from models.vad import SileroVad
from shared.domain.audio import Waveform
from shared.sound.level import evened
from tests.support.speech import Clip
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets, make_voiceprint

pytestmark = [pytest.mark.nemo, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("voices", [1, 2])
def test_the_voiceprint_is_nemos_embedding_of_the_dominant_speech(
    weights_dir: Path, nemo_file: Path, vad: SileroVad, clips: list[Clip], voices: int
) -> None:
    from models.installation.export import reference_embedding, restore

    card = registry.installed_card("titanet_large", weights_dir)
    # Random weights know no voices, so how many there are is decreed.
    decreed = replace(card.clustering, max_speakers=voices, split_gate=-2.0, merge_cosine=2.0, min_speaker_s=0.0)
    net = TitaNet(replace(card, clustering=decreed), weights_dir / card.handle)
    waveform = Waveform(np.concatenate([clips[i].samples for i in (0, 2, 1, 3)]), 16_000)

    result = make_voiceprint(waveform, Nets(vad, net), Steps())

    assert len(result.diarization.speakers) == voices
    dominant = waveform.join(result.diarization.segments(result.dominant_speaker))
    reference = reference_embedding(restore(nemo_file, card), evened(dominant))
    assert 1.0 - float(result.voiceprint.vector @ reference) < 1e-6

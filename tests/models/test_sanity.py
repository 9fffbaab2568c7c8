"""What is asked of a network that has no reference."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from models import registry
from models.installation.sanity import Voice, check_sanity, trial_voices
from shared.domain.audio import Samples, Segment
from shared.domain.errors import ModelInstallError
from shared.networks import Embedder, Frames
from tests.support.speech import Clip


class Toy(Embedder):
    """Network whose embedding is the direction (1, loudness in dB over a number)."""

    def __init__(self, scale_db: float) -> None:
        super().__init__(registry.entry("ge2e").card)
        self._scale_db = scale_db

    def encode(self, samples: Samples) -> Frames:
        return samples

    def pool(self, frames: Frames, segments: Sequence[Segment]) -> NDArray[np.float32]:
        loudness_db = 10 * np.log10(np.square(frames).mean() + 1e-9)
        vector = np.array([1.0, loudness_db / self._scale_db], np.float32)
        return (vector / np.linalg.norm(vector))[np.newaxis]


def voices(clips: Sequence[Clip]) -> list[Voice]:
    return [Voice(clip.speaker, clip.samples) for clip in clips]


def test_the_bundled_network_is_sane_and_known_to_hear_loudness(ge2e: Embedder) -> None:
    check_sanity(ge2e, trial_voices(), ignores_gain=False)
    with pytest.raises(ModelInstallError, match="hears loudness, which its features do not have"):
        check_sanity(ge2e, trial_voices(), ignores_gain=True)


def test_the_speech_to_try_is_two_pieces_of_each_of_eight_people() -> None:
    tried = trial_voices()
    assert len(tried) == 16
    assert len({voice.speaker for voice in tried}) == 8
    assert min(len(voice.samples) for voice in tried) >= 4 * 16_000


def test_one_person_must_be_more_alike_than_two(clips: list[Clip]) -> None:
    first, _, second, _ = voices(clips)[:4]
    loud = Voice(first.speaker, first.samples * np.float32(10))
    as_loud = Voice(second.speaker, second.samples * np.float32(10))
    with pytest.raises(ModelInstallError, match="recordings of one person are no more alike than those of two"):
        check_sanity(Toy(20.0), [first, loud, second, as_loud], ignores_gain=False)

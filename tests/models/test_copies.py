"""Copies of real recordings are found, through codecs, cuts and noise; other sentences and shared sounds are not."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from models.vad import SileroVad
from shared.domain.audio import Samples, Waveform
from shared.domain.fingerprints import Fingerprint, find_copy
from tests.support.copies import COPIES, noisy, wav
from tests.support.sounds import DATA, RATE, read_unconditioned, read_waveform
from worker.voices.fingerprint import fingerprint, sound_digest

PATHS = sorted(DATA.glob("*-*.flac"))
#: A room wears some recordings down further than is allowed.
SURE = sorted(COPIES.keys() - {"noise 10 dB", "room, 15 dB"})


def heard(waveform: Waveform, vad: SileroVad) -> Fingerprint:
    return fingerprint(waveform, vad.speech_segments(waveform.samples))


def decoded(content: bytes, folder: Path) -> Waveform:
    path = folder / "recording"
    path.write_bytes(content)
    return read_waveform(path)


@pytest.fixture(scope="module")
def known(vad: SileroVad) -> list[Fingerprint]:
    return [heard(read_waveform(path), vad) for path in PATHS]


@pytest.fixture(scope="module")
def originals() -> list[Samples]:
    return [read_unconditioned(path) for path in PATHS]


def preceded(sound: Samples, originals: list[Samples], folder: Path, vad: SileroVad) -> list[Fingerprint]:
    """Return recordings of two people that begin with the same sound."""
    files = [wav(np.concatenate([sound, originals[number]]).astype(np.float32)) for number in (0, 2)]
    return [heard(decoded(content, folder), vad) for content in files]


@pytest.mark.parametrize("kind", SURE)
def test_a_copy_is_found(kind, known, originals, vad, tmp_path):
    for number, samples in enumerate(originals):
        copy = find_copy(heard(decoded(COPIES[kind](samples), tmp_path), vad), known)
        assert copy is not None
        assert copy.index == number


def test_a_copy_tells_what_was_cut(known, originals, vad, tmp_path):
    copy = find_copy(heard(decoded(COPIES["cut 1.37 s"](originals[0]), tmp_path), vad), known)
    assert copy is not None
    assert copy.known_start_s - copy.start_s == pytest.approx(1.37, abs=0.016)
    assert copy.length_s > known[0].speech_s - 2.4


def test_a_part_in_a_recording_of_another_person_is_found(known, originals, vad, tmp_path):
    spliced = np.concatenate([originals[2], originals[0][: 4 * RATE]])
    copy = find_copy(heard(decoded(wav(spliced), tmp_path), vad), known[:2])
    assert copy is not None
    assert copy.index == 0
    assert copy.start_s > len(originals[2]) / RATE - 0.1
    assert copy.length_s < 5.0


def test_no_other_sentence_and_no_other_person_is_a_copy(known):
    assert [pair for pair in permutations(known, 2) if find_copy(pair[0], [pair[1]])] == []


@pytest.mark.parametrize("sound", ["silence", "noise", "ring-back tone", "beeps"])
def test_a_sound_before_the_speech_makes_no_copy(sound, originals, vad, tmp_path):
    times = np.arange(6 * RATE) / RATE
    sounds = {
        "silence": np.zeros(6 * RATE),
        "noise": noisy(np.full(6 * RATE, 0.01, np.float32), 0),
        "ring-back tone": (times % 5 < 1) * np.sin(2 * np.pi * 425 * times) / 10,
        "beeps": (times % 0.5 < 0.25) * np.sin(2 * np.pi * 1000 * times) / 10,
    }
    one, other = preceded(sounds[sound].astype(np.float32), originals, tmp_path, vad)
    assert one.speech_s > 3.0
    assert find_copy(one, [other]) is None


def test_one_sound_in_two_lossless_files_has_one_digest(originals, tmp_path):
    digests = {sound_digest(decoded(wav(originals[0]), tmp_path)), sound_digest(read_waveform(PATHS[0]))}
    assert len(digests) == 1
    assert sound_digest(decoded(COPIES["mp3 128k"](originals[0]), tmp_path)) not in digests

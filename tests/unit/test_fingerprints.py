"""Fingerprints: their binary form, what carries bits, and the search, with random words and made sound."""

import hashlib
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.audio import Segment, Waveform
from shared.domain.fingerprints import HOP_S, Fingerprint, find_copy
from worker.voices.fingerprint import fingerprint, sound_digest

RATE = 16_000
#: Version 1 of the form, byte for byte: fingerprints that are stored must stay readable.
GOLDEN = bytes.fromhex("544d4650 01 00000000 78563412 ffffffff ddd498a1")
WORDS = [0, 0x12345678, 0xFFFFFFFF]
BITS = np.uint32(1) << np.arange(32, dtype=np.uint32)


def packed(bits) -> Fingerprint:
    return Fingerprint((bits @ BITS).astype(np.uint32))


def spoken(num_words: int, seed: int) -> Fingerprint:
    """Return words that change as slowly as those of speech."""
    noise = np.random.default_rng(seed).standard_normal((num_words + 15, 32)).cumsum(axis=0)
    return packed(noise[15:] > noise[:-15])


def worn(words, share: float, seed: int) -> Fingerprint:
    """Return a copy of which a share of the bits is wrong."""
    wrong = np.random.default_rng(seed).random((len(words), 32)) < share
    return Fingerprint(words ^ packed(wrong).words)


def forged(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def shaped(seconds: float, seed: int) -> np.ndarray:
    """Return noise whose spectrum moves as that of a voice does."""
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(round(seconds / 0.1)):
        spectrum = np.fft.rfft(rng.standard_normal(RATE // 10))
        centre = rng.uniform(300, 3000)
        pieces.append(np.fft.irfft(spectrum * np.exp(-np.square((np.arange(len(spectrum)) * 10 - centre) / 300))))
    return (np.concatenate(pieces) / 5).astype(np.float32)


def heard(samples, *speech: tuple[float, float]) -> Fingerprint:
    segments = [Segment(*times) for times in speech] or [Segment(0.0, len(samples) / RATE)]
    return fingerprint(Waveform(np.asarray(samples, np.float32), RATE), segments)


def tone(*frequencies: float, seconds: float = 6.0) -> np.ndarray:
    times = np.arange(round(seconds * RATE)) / RATE
    return 0.1 * sum(np.sin(2 * np.pi * hz * times) for hz in frequencies)


def test_the_binary_form_never_changes():
    assert Fingerprint(np.array(WORDS, np.uint32)).to_bytes() == GOLDEN
    assert Fingerprint.from_bytes(GOLDEN).words.tolist() == WORDS


def test_a_fingerprint_of_no_words_is_read_again():
    assert len(Fingerprint.from_bytes(Fingerprint(np.empty(0, np.uint32)).to_bytes()).words) == 0


@pytest.mark.parametrize("length", range(len(GOLDEN)))
def test_a_cut_off_fingerprint_is_refused(length):
    with pytest.raises(ValueError, match="truncated"):
        Fingerprint.from_bytes(GOLDEN[:length])


@pytest.mark.parametrize("position", range(len(GOLDEN)))
def test_an_altered_byte_is_refused(position):
    with pytest.raises(ValueError, match="damaged"):
        Fingerprint.from_bytes(GOLDEN[:position] + bytes([GOLDEN[position] ^ 1]) + GOLDEN[position + 1 :])


@pytest.mark.parametrize("body", [b"TMFP\x02", b"TMBR\x01", b"TMFP\x01\x00\x00"])
def test_a_newer_a_foreign_and_a_broken_form_are_refused(body):
    with pytest.raises(ValueError):
        Fingerprint.from_bytes(forged(body))


def test_the_words_are_not_shown():
    assert "18" not in repr(Fingerprint(np.full(3, 18, np.uint32)))


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    which=st.integers(0, 4),
    start=st.integers(0, 400),
    length=st.integers(225, 600),
    before=st.integers(0, 300),
    share=st.floats(0, 0.2),
)
def test_a_shifted_noisy_part_of_a_known_recording_is_found(seed, which, start, length, before, share):
    known = [spoken(1000, seed + number) for number in range(5)]
    part = worn(known[which].words[start : start + length], share, seed)
    probe = Fingerprint(np.concatenate([spoken(before, seed + 7).words, part.words, spoken(50, seed + 8).words]))
    copy = find_copy(probe, known)
    assert copy is not None
    assert copy.index == which
    assert copy.known_start_s - copy.start_s == pytest.approx((start - before) * HOP_S)
    assert copy.bit_error_rate < share + 0.1
    assert abs(copy.length_s - length * HOP_S) < 2.4


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), lengths=st.lists(st.integers(0, 800), max_size=5))
def test_other_recordings_of_any_length_are_not_copies(seed, lengths):
    known = [spoken(length, seed + number) for number, length in enumerate(lengths)]
    assert find_copy(spoken(500, seed - 1 if seed else 99), known) is None


def test_known_recordings_without_words_are_passed_over():
    none = Fingerprint(np.empty(0, np.uint32))
    probe = spoken(300, 1)
    late = Fingerprint(probe.words[95:])
    assert find_copy(probe, [none, none]) is None
    copy = find_copy(probe, [none, late, none])
    assert copy is not None
    assert copy.index == 1


@pytest.mark.parametrize("at", ["first", "last"])
def test_a_part_that_sticks_out_of_the_known_recordings_is_found(at):
    known = [spoken(400, 1), spoken(400, 2)]
    new = spoken(50, 3).words
    joined = [new, known[0].words[:100]] if at == "first" else [known[1].words[-100:], new]
    copy = find_copy(Fingerprint(np.concatenate(joined)), known)
    assert copy is not None
    assert copy.index == (0 if at == "first" else 1)


def test_the_copy_that_is_most_alike_is_named():
    probe = spoken(500, 1)
    copy = find_copy(probe, [worn(probe.words, 0.2, 2), worn(probe.words, 0.1, 3), spoken(500, 4)])
    assert copy is not None
    assert copy.index == 1
    assert copy.length_s == pytest.approx(probe.speech_s)


def test_the_whole_length_is_told_where_many_known_recordings_are_alike():
    words = np.resize(spoken(200, 1).words, 800)
    copy = find_copy(Fingerprint(words), [Fingerprint(words)] * 300)
    assert copy is not None
    assert copy.length_s == pytest.approx(len(words) * HOP_S)


def test_a_copy_is_found_across_pauses():
    words = spoken(500, 1).words
    words[100:160] = 0
    words[300:380] = 0
    assert find_copy(worn(words, 0.1, 2), [Fingerprint(words)]) is not None


def test_less_than_a_second_and_a_half_is_never_a_copy():
    probe = Fingerprint(spoken(500, 1).words[:93])
    assert find_copy(probe, [probe]) is None
    assert find_copy(spoken(500, 1), [Fingerprint(spoken(500, 1).words[100:180])]) is None
    assert find_copy(Fingerprint(np.empty(0, np.uint32)), [probe]) is None
    assert find_copy(spoken(500, 1), []) is None


@pytest.mark.parametrize(
    "shared",
    [
        np.zeros(6 * RATE),
        tone(50, 150, 250, 350, 450),
        tone(425),
        tone(350, 440),
        tone(440, 480),
        np.full(6 * RATE, 0.1),
    ],
    ids=["silence", "hum", "tone", "dial tone", "ring-back tone", "offset"],
)
def test_silence_and_constant_sound_that_recordings_share_carry_no_bits(shared):
    one, other = (heard(np.concatenate([shared, shaped(4.0, seed)])) for seed in (1, 2))
    assert one.speech_s < 5.0
    assert find_copy(one, [other]) is None


def test_sound_outside_the_speech_carries_no_bits():
    music = shaped(5.0, 9)
    one, other = (np.concatenate([music, shaped(4.0, seed)]) for seed in (1, 2))
    assert find_copy(heard(one), [heard(other)]) is not None
    assert find_copy(heard(one, (5.0, 9.0)), [heard(other, (5.0, 9.0))]) is None


def test_speech_in_several_segments_is_counted():
    assert heard(shaped(9.0, 1), (1.0, 3.0), (5.0, 6.5)).speech_s == pytest.approx(3.5, abs=0.1)


@pytest.mark.parametrize("num_samples", [0, 1, 4095, 4096, 4352])
def test_sound_that_is_too_short_has_no_words_or_few(num_samples):
    assert heard(np.ones(num_samples)).speech_s == 0


def test_the_digest_is_that_of_the_sound_in_16_bits():
    samples = np.round(shaped(1.0, 1) * 32_768) / np.float32(32_768)
    digest = sound_digest(Waveform(samples, RATE))
    assert digest == hashlib.sha256((samples * 32_768).astype("<i2").tobytes()).digest()
    assert digest == sound_digest(Waveform(samples + np.float32(1e-9), RATE))
    assert digest != sound_digest(Waveform(samples + np.float32(1e-4), RATE))


def test_the_digest_of_sound_beyond_full_scale_is_that_of_full_scale():
    loud, louder = (sound_digest(Waveform(np.full(9, level, np.float32), RATE)) for level in (1.0, 1.5))
    assert loud == louder

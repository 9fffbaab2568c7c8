from dataclasses import replace

import numpy as np
import pytest

from shared.domain.audio import Samples, Segment, Waveform
from shared.domain.quality import Quality, is_narrowband, snr_db
from tests.support.toys import CLEAN

RATE = 16_000
MIDDLE = Segment(0.5, 1.5)
GOOD = Quality(capture=CLEAN, num_speakers=1, share=1.0, lead=1.0, consistency=0.9, clipped=False)


def burst(noise: float) -> Waveform:
    """Two seconds of noise, of power 1 in the middle second."""
    samples = np.random.default_rng(1).standard_normal(2 * RATE).astype(np.float32)
    samples[: RATE // 2] *= noise
    samples[-RATE // 2 :] *= noise
    return Waveform(samples, RATE)


def ratio_of(waveform: Waveform, *speech: Segment) -> float:
    """The ratio of the one voice that speaks in all of `speech`."""
    return snr_db(waveform, speech, speech)


def narrowed(samples: Samples) -> Samples:
    """What a telephone leaves of `samples`."""
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / RATE) > 3_400] = 0
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


@pytest.mark.parametrize("db", [5, 10, 20, 30])
def test_the_ratio_is_that_of_the_powers_inside_and_outside_of_speech(db):
    # What is heard in speech is voice and noise together, of power 1.
    noise = 1 / (1 + 10 ** (db / 10))
    assert ratio_of(burst(np.sqrt(noise)), MIDDLE) == pytest.approx(db, abs=0.5)


def test_the_ratio_stays_in_its_range():
    assert ratio_of(burst(0.005), MIDDLE) == 40.0
    assert ratio_of(burst(1.0), MIDDLE) < 3.0
    assert 0.0 <= ratio_of(burst(0.1), Segment(0.0, 2.0)) <= 40.0


def test_silence_that_no_microphone_heard_hides_no_noise():
    heard = burst(0.5)
    silence = np.zeros(2 * RATE, np.float32)
    ratio = ratio_of(heard, MIDDLE)
    assert ratio < 6.0
    assert ratio_of(Waveform(np.concatenate([silence, heard.samples]), RATE), Segment(2.5, 3.5)) == pytest.approx(ratio)


def test_pauses_that_were_gated_leave_the_noise_in_speech_to_judge_by():
    half = np.zeros(RATE // 2, np.float32)
    # Syllables: the voice comes and goes, the noise stays.
    voice = burst(1.0).samples[:RATE] * np.repeat([1.0, 0.3], RATE // 8)[np.arange(RATE) % (RATE // 4)]
    gated = np.concatenate([half, voice.astype(np.float32), half])
    assert ratio_of(Waveform(gated, RATE), MIDDLE) < 12.0
    assert ratio_of(Waveform(np.zeros(RATE, np.float32), RATE), Segment(0.0, 1.0)) == 0.0


def test_a_tone_before_the_speech_is_no_noise_of_it():
    heard = burst(0.1)
    # A ring-back tone, then a pause, then somebody speaks.
    tone = np.sin(2 * np.pi * 425 / RATE * np.arange(2 * RATE)).astype(np.float32)
    pause = 0.1 * burst(1.0).samples[:RATE]
    late = Waveform(np.concatenate([tone, pause, heard.samples]), RATE)
    assert ratio_of(late, Segment(3.5, 4.5)) == pytest.approx(ratio_of(heard, MIDDLE), abs=0.5)


def test_noise_that_stops_now_and_then_is_measured_at_its_quiet_end():
    heard = burst(0.1)
    loud = heard.samples.copy()
    loud[: RATE // 4] *= 10
    assert ratio_of(Waveform(loud, RATE), MIDDLE) > ratio_of(heard, MIDDLE) - 3.0


@pytest.mark.parametrize("loudness", [0.3, 3.0])
def test_what_sounds_in_pauses_only_is_no_noise_of_the_voice(loudness):
    heard = burst(0.1)
    # Hold music, hiss or a tone up to the first word; the voice itself has pauses of its own between its words.
    voice = heard.samples[RATE // 2 : -RATE // 2] * np.repeat([1.0, 0.1], RATE // 8)[np.arange(RATE) % (RATE // 4)]
    music = loudness * burst(1.0).samples[:RATE]
    between = np.concatenate([music, voice, music, voice, music]).astype(np.float32)
    assert ratio_of(Waveform(between, RATE), Segment(1.0, 2.0), Segment(3.0, 4.0)) > 15.0


def test_each_of_two_voices_has_the_noise_of_its_own_microphone():
    # One speaks beside a fan, then another in silence.
    both = np.concatenate([burst(0.5).samples, burst(0.01).samples])
    first, second = Segment(0.5, 1.5), Segment(2.5, 3.5)
    ratios = [snr_db(Waveform(both, RATE), [first, second], [own]) for own in (first, second)]
    assert ratios[0] < 8.0
    assert ratios[1] > 30.0


def test_the_ratio_does_not_jump_with_the_length_of_the_pauses():
    # A voice that sinks to a third between its words, and pauses that grow from none to 0.4 s on either side.
    waveform = burst(0.05)
    waveform.samples[RATE // 2 : -RATE // 2] *= np.repeat([1.0, 0.3], RATE // 8)[np.arange(RATE) % (RATE // 4)]
    found = [
        ratio_of(Waveform(waveform.samples[round((0.5 - s) * RATE) : round((1.5 + s) * RATE)], RATE), Segment(s, s + 1))
        for s in np.arange(0.0, 0.41, 0.02)
    ]
    assert np.abs(np.diff(found)).max() < 6.0


def test_a_telephone_is_told_from_a_wide_band():
    wide = burst(1.0)
    assert not is_narrowband(wide, [MIDDLE])
    assert is_narrowband(Waveform(narrowed(wide.samples), RATE), [MIDDLE])
    assert not is_narrowband(Waveform(np.zeros(10, np.float32), RATE), [Segment(0.0, 1.0)])
    assert not is_narrowband(Waveform(np.zeros(RATE, np.float32), RATE), [Segment(0.0, 1.0)])


def test_hiss_in_the_pauses_makes_no_wide_band_of_a_telephone():
    heard = burst(0.3)
    mixed = heard.samples.copy()
    mixed[RATE // 2 : -RATE // 2] = narrowed(mixed[RATE // 2 : -RATE // 2])
    # The ends of a segment of speech are pauses still.
    assert is_narrowband(Waveform(mixed, RATE), [Segment(0.4, 1.6)])


def test_a_tone_before_the_speech_makes_no_telephone_of_a_wide_band():
    voice = narrowed(burst(0.0).samples) + 0.05 * burst(0.0).samples
    tone = np.sin(2 * np.pi * 425 / RATE * np.arange(2 * RATE)).astype(np.float32)
    late = np.concatenate([10 * tone, voice])
    assert not is_narrowband(Waveform(late, RATE), [Segment(2.4, 3.6)])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"capture": replace(CLEAN, net_speech_s=3.25)}, "talks for 3.2 s only"),
        ({"capture": replace(CLEAN, snr_db=7.0)}, "noisy (7 dB)"),
        ({"clipped": True}, "is clipped"),
        ({"lead": 0.05}, "two voices"),
        ({"consistency": 0.5}, "do not sound much alike"),
    ],
)
def test_a_shaky_voiceprint_says_why(changes, reason):
    assert GOOD.warning is None
    assert reason in replace(GOOD, **changes).warning

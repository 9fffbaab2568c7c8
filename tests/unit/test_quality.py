from dataclasses import replace

import numpy as np
import pytest

from shared.domain.audio import Segment, Waveform
from shared.domain.quality import Condition, Quality, is_narrowband, snr_db
from tests.support.toys import CLEAN

RATE = 16_000
GOOD = Quality(capture=CLEAN, num_speakers=1, share=1.0, lead=1.0, consistency=0.9, clipped=False)


def burst(noise: float) -> Waveform:
    """Two seconds of noise, of power 1 in the middle second."""
    samples = np.random.default_rng(1).standard_normal(2 * RATE).astype(np.float32)
    samples[: RATE // 2] *= noise
    samples[-RATE // 2 :] *= noise
    return Waveform(samples, RATE)


@pytest.mark.parametrize("db", [5, 10, 20, 30])
def test_the_ratio_is_that_of_the_powers_inside_and_outside_of_speech(db):
    # What is heard in speech is voice and noise together, of power 1.
    noise = 1 / (1 + 10 ** (db / 10))
    assert snr_db(burst(np.sqrt(noise)), [Segment(0.5, 1.5)]) == pytest.approx(db, abs=0.5)


def test_the_ratio_stays_in_its_range():
    assert snr_db(burst(0.005), [Segment(0.5, 1.5)]) == 40.0
    assert snr_db(burst(1.0), [Segment(0.5, 1.5)]) < 3.0
    assert 0.0 <= snr_db(burst(0.1), [Segment(0.0, 2.0)]) <= 40.0


def test_silence_that_no_microphone_heard_hides_no_noise():
    heard = burst(0.5)
    silence = np.zeros(2 * RATE, np.float32)
    ratio = snr_db(heard, [Segment(0.5, 1.5)])
    assert ratio < 6.0
    assert snr_db(Waveform(np.concatenate([silence, heard.samples]), RATE), [Segment(2.5, 3.5)]) == pytest.approx(ratio)


def test_pauses_that_were_gated_leave_the_noise_in_speech_to_judge_by():
    half = np.zeros(RATE // 2, np.float32)
    # Syllables: the voice comes and goes, the noise stays.
    voice = burst(1.0).samples[:RATE] * np.repeat([1.0, 0.3], RATE // 8)[np.arange(RATE) % (RATE // 4)]
    gated = np.concatenate([half, voice.astype(np.float32), half])
    assert snr_db(Waveform(gated, RATE), [Segment(0.5, 1.5)]) < 12.0
    assert snr_db(Waveform(np.zeros(RATE, np.float32), RATE), [Segment(0.0, 1.0)]) == 0.0


def test_a_tone_before_the_speech_is_no_noise_of_it():
    heard = burst(0.1)
    # A ring-back tone, then a pause, then somebody speaks.
    tone = np.sin(2 * np.pi * 425 / RATE * np.arange(2 * RATE)).astype(np.float32)
    pause = 0.1 * burst(1.0).samples[:RATE]
    late = Waveform(np.concatenate([tone, pause, heard.samples]), RATE)
    assert snr_db(late, [Segment(3.5, 4.5)]) == pytest.approx(snr_db(heard, [Segment(0.5, 1.5)]), abs=0.5)


def test_noise_that_stops_now_and_then_is_measured_at_its_quiet_end():
    heard = burst(0.1)
    loud = heard.samples.copy()
    loud[: RATE // 4] *= 10
    assert snr_db(Waveform(loud, RATE), [Segment(0.5, 1.5)]) > snr_db(heard, [Segment(0.5, 1.5)]) - 3.0


def test_a_telephone_is_told_from_a_wide_band():
    wide = burst(1.0)
    spectrum = np.fft.rfft(wide.samples)
    spectrum[np.fft.rfftfreq(2 * RATE, 1 / RATE) > 3_400] = 0
    assert not is_narrowband(wide)
    assert is_narrowband(Waveform(np.fft.irfft(spectrum).astype(np.float32), RATE))
    assert not is_narrowband(Waveform(np.zeros(10, np.float32), RATE))


@pytest.mark.parametrize(
    ("changes", "condition"),
    [
        ({}, Condition.CLEAN),
        ({"snr_db": 12.0}, Condition.NOISY),
        ({"snr_db": 21.9}, Condition.NOISY),
        ({"snr_db": 22.0}, Condition.CLEAN),
        ({"narrowband": True}, Condition.TELEPHONE),
    ],
)
def test_a_recording_has_one_condition(changes, condition):
    assert replace(CLEAN, **changes).condition is condition


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

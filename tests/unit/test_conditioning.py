"""Conditioning of sound: channels become one, without what lies below the voice, at one level."""

import tracemalloc

import numpy as np
import pytest

from shared.sound.conditioning import Conditioner, Mix, Survey, _two_people, active_level_db, condition
from tests.support.sounds import DATA, read_unconditioned

RATE = 16_000
TIMES_S = np.arange(60 * RATE) / RATE


@pytest.fixture(scope="module")
def voice():
    return np.concatenate([read_unconditioned(path) for path in sorted(DATA.glob("1688-*"))])[: 8 * RATE]


@pytest.fixture(scope="module")
def other():
    return read_unconditioned(DATA / "3080-5032-0003.flac")[: 8 * RATE]


def mix(*channels) -> Mix:
    survey = Survey()
    survey.add(np.stack(channels).astype(np.float32))
    (found,) = survey.mixes().values()
    return found


def conditioned(*channels):
    return condition([np.stack(channels).astype(np.float32)])


def noise(like, level, seed=0):
    return level * np.random.default_rng(seed).standard_normal(len(like))


def likeness(one, other):
    """Return the correlation of two sounds, whatever their polarity."""
    return abs(float(one @ other)) / float(np.linalg.norm(one) * np.linalg.norm(other))


def level_db(samples):
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    return active_level_db(10 * np.log10(np.square(frames).mean(axis=1) + 1e-20))


@pytest.mark.parametrize("gain_db", [-50, -20, 0, 8, 90])
def test_speech_comes_out_at_one_level_however_loud_it_was(gain_db, voice):
    found = conditioned(voice * 10 ** (gain_db / 20))
    assert level_db(found) == pytest.approx(-20.0, abs=0.2)
    np.testing.assert_allclose(found, conditioned(voice), rtol=1e-3, atol=1e-4)


def test_values_beyond_full_scale_are_not_clipped(voice):
    assert likeness(conditioned(32_768 * voice), conditioned(voice)) > 0.9999


@pytest.mark.parametrize("offset", [0.02, -0.3])
def test_a_constant_offset_leaves_nothing_behind_not_even_a_click(offset, voice):
    np.testing.assert_allclose(conditioned(voice + offset), conditioned(voice), atol=1e-3)


@pytest.mark.parametrize("hz", [5, 20, 39, 50, 60])
def test_rumble_and_hum_are_gone(hz, voice):
    loud = 0.1 * np.sin(2 * np.pi * hz * TIMES_S[: len(voice)])
    assert likeness(conditioned(voice + loud)[RATE:], conditioned(voice)[RATE:]) > 0.98


def test_a_voice_is_left_as_it_is(voice):
    spectrum, before = (np.abs(np.fft.rfft(x)) for x in (conditioned(voice), voice))
    above = np.fft.rfftfreq(len(voice), 1 / RATE) > 120
    ratio = spectrum[above] / np.maximum(before[above], 1e-9)
    assert np.percentile(ratio, 5) == pytest.approx(np.percentile(ratio, 95), rel=0.05)


@pytest.mark.parametrize("block_s", [0.013, 1.0, 3.7])
def test_the_result_does_not_depend_on_the_lengths_of_the_blocks(block_s, voice):
    size = round(block_s * RATE)
    blocks = [voice[None, i : i + size] for i in range(0, len(voice), size)]
    np.testing.assert_allclose(condition(blocks), conditioned(voice), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("silence", [np.zeros(RATE), np.zeros(0), np.full(RATE, 0.5), np.zeros(7)])
def test_silence_stays_silence(silence):
    found = conditioned(silence)
    assert found.shape == silence.shape
    assert np.abs(found).max(initial=0.0) < 1e-6
    assert not mix(silence).sounds


def test_identical_channels_sound_like_one(voice):
    full = voice / np.abs(voice).max()
    np.testing.assert_allclose(conditioned(full, full), conditioned(full), atol=1e-5)
    assert mix(full, full).used == (0, 1)
    assert not mix(full, full).clipped


@pytest.mark.parametrize("scale", [-1.0, -0.3])
def test_inverted_channels_do_not_cancel(scale, voice):
    assert likeness(conditioned(voice, scale * voice), conditioned(voice)) > 0.9999
    assert mix(voice, scale * voice).used == (0, 1)


@pytest.mark.parametrize("number", [2, 3, 6, 8])
def test_silent_channels_are_dropped_wherever_they_are(number, voice):
    for place in range(number):
        channels = [np.zeros_like(voice)] * number
        channels[place] = voice
        np.testing.assert_allclose(conditioned(*channels), conditioned(voice), atol=1e-5)
        assert mix(*channels).used == (place,)


@pytest.mark.parametrize("number", [3, 4, 5, 6])
def test_no_channel_is_a_subwoofer_by_its_place(number, voice):
    channels = [noise(voice, 0.001, seed) for seed in range(number)]
    channels[min(3, number - 1)] = voice
    assert mix(*channels).used == (min(3, number - 1),)


@pytest.mark.parametrize(
    "disturbance",
    [
        pytest.param(lambda x: 0.1 * np.sin(2 * np.pi * 150 * TIMES_S[: len(x)]), id="a tone"),
        pytest.param(lambda x: noise(x, 0.05), id="noise alone"),
        pytest.param(lambda x: x + noise(x, 0.03), id="the voice in noise"),
        pytest.param(lambda x: 0.003 * x + noise(x, 0.0001), id="hardly anything"),
    ],
)
def test_the_better_channel_is_heard(disturbance, voice):
    assert mix(voice, disturbance(voice)).used == (0,)
    assert mix(disturbance(voice), voice).used == (1,)
    assert not mix(voice, disturbance(voice)).two_people


def test_two_people_on_two_channels_are_both_heard_and_told_of(voice, other):
    left = np.concatenate([voice, np.zeros_like(other)])
    right = np.concatenate([np.zeros_like(voice), other])
    left += noise(left, 0.0005, 1)
    right += noise(right, 0.0005, 2)
    assert mix(left, right).two_people
    assert mix(left, right).used == (0, 1)
    # Crosstalk: each is heard on the other's channel too, 20 dB quieter.
    assert mix(left + 0.1 * right, right + 0.1 * left).two_people


def test_one_voice_in_two_microphones_is_no_two_people(voice):
    echo = np.roll(voice, 160) * 0.4 + noise(voice, 0.001)
    assert not mix(voice + noise(voice, 0.001, 1), echo).two_people


@pytest.mark.parametrize("later", [3, 8, 20, 80, 320])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_later_copy_makes_no_comb_filter(later, sign, voice):
    assert len(mix(voice, sign * np.roll(voice, later)).used) == 1


@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_somebody_who_says_little_is_heard(seconds, voice, other):
    word = np.where(np.arange(RATE * 3) < seconds * RATE, other[RATE : RATE * 4], 0.0)
    left = np.concatenate([voice, 0.0 * word])
    right = np.concatenate([0.0 * voice, word])
    assert mix(left + noise(left, 0.0005, 1), right + noise(right, 0.0005, 2)).used == (0, 1)


def test_two_microphones_in_noise_are_both_heard(voice):
    assert mix(voice + noise(voice, 0.015, 1), voice + noise(voice, 0.015, 2)).used == (0, 1)


def test_eight_channels_of_two_hours_are_compared_in_little_memory():
    levels_db = np.random.default_rng(6).uniform(-60.0, 0.0, (8, 2 * 3600 * 50)).astype(np.float32)
    tracemalloc.start()
    assert _two_people(levels_db, levels_db.max(axis=1))
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 3 * levels_db.nbytes


def test_the_number_of_channels_may_change(voice):
    blocks = [np.stack([voice, voice])[:, : 4 * RATE], voice[None, 4 * RATE :]]
    assert likeness(condition(blocks), conditioned(voice)) > 0.99
    survey = Survey()
    for block in [*blocks, blocks[1]]:
        survey.add(block)
    assert [*survey.mixes()] == [1, 2], "the one that lasted longest comes first"


@pytest.mark.parametrize("clip", sorted(DATA.glob("*.flac")), ids=lambda path: path.stem)
def test_a_recording_that_was_too_loud_is_clipped_however_quiet_it_is_now(clip):
    loud = read_unconditioned(clip)
    loud = loud / np.abs(loud).max()
    assert not mix(loud).clipped
    cut = np.clip(8 * loud, -1.0, 1.0)
    assert mix(cut).clipped
    assert mix(0.1 * cut).clipped


def test_samples_of_any_size_give_finite_sound(voice):
    spike = voice.copy()
    spike[1000] = 2.0**31
    conditioner_input = [spike[None], np.full((1, RATE), -(2.0**31), np.float32)]
    assert np.isfinite(condition(conditioner_input)).all()


def test_a_conditioner_needs_the_survey_of_the_same_recording(voice):
    with pytest.raises(KeyError):
        Conditioner({1: mix(voice)})(np.stack([voice, voice]))

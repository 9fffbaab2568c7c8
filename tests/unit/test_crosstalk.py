"""Leaks between the channels of a call, and channels without sound of their own."""

import numpy as np
import pytest

from models.vad import SileroVad
from shared.sound.conditioning import Conditioner, Mix, Survey
from tests.support.calls import call, leaking
from tests.support.sounds import DATA, read_unconditioned

RATE = 16_000


@pytest.fixture(scope="module")
def people():
    return tuple([read_unconditioned(path) for path in sorted(DATA.glob(f"{who}-*"))] for who in ("1688", "3080"))


@pytest.fixture(scope="module")
def made(people):
    return call(people, 40.0)


def each(planar) -> Mix:
    survey = Survey()
    survey.add(planar)
    (found,) = survey.each().values()
    return found


def apart(planar):
    return Conditioner({len(planar): each(planar)})(planar)


def spoken(samples, segments):
    """Return the seconds of speech inside and outside of segments widened by a quarter of a second."""
    true = np.zeros(len(samples), bool)
    for segment in segments:
        true[round(max(0.0, segment.start_s - 0.25) * RATE) : round((segment.end_s + 0.25) * RATE)] = True
    found = np.zeros(len(samples), bool)
    for segment in SileroVad().speech_segments(samples):
        found[round(segment.start_s * RATE) : round(segment.end_s * RATE)] = True
    return (found & true).sum() / RATE, (found & ~true).sum() / RATE


@pytest.mark.parametrize("quieter_db", [0, 25])
@pytest.mark.parametrize("leak_db", [-12.0, -20.0, -30.0])
def test_a_leak_is_silenced_and_speech_is_not(leak_db, quieter_db, made):
    planar = leaking(made.sound, leak_db)
    planar[1] *= 10 ** (-quieter_db / 20)
    for samples, clean, speech in zip(apart(planar), apart(made.sound), made.speech, strict=True):
        heard_s, leaked_s = spoken(samples, speech)
        assert leaked_s < 0.3
        assert heard_s > 0.97 * spoken(clean, speech)[0]


def test_who_says_little_is_told_from_the_leak_that_fills_the_rest(people):
    made = call(people, 60.0, share=0.85, seed=1)
    assert 0.0 < sum(segment.duration_s for segment in made.speech[1]) < 10.0
    heard_s, leaked_s = spoken(apart(leaking(made.sound, -12.0))[1], made.speech[1])
    assert heard_s > 0.8 * sum(segment.duration_s for segment in made.speech[1])
    assert leaked_s < 0.3


def test_channels_without_leaks_are_silenced_nowhere_in_speech(people):
    made = call(people, 40.0, together=0.6)
    for samples, alone, speech in zip(apart(made.sound), made.sound, made.speech, strict=True):
        heard_s, _ = spoken(samples, speech)
        assert heard_s > 0.97 * spoken(apart(alone[None])[0], speech)[0]


def kept(planar):
    """Return the share of the loud frames of each channel that is not silenced."""
    shares = []
    for samples, heard in zip(planar, apart(planar), strict=True):
        powers, left = (
            np.square(one[: len(one) // 320 * 320].reshape(-1, 320)).mean(axis=1) for one in (samples, heard)
        )
        shares.append((left[powers > powers.max() / 1000] > 0).mean())
    return shares


PAIRS = [("1688", "2609"), ("1688", "3080"), ("2609", "3080")]


def at_once(pair, later_s):
    """Return two people who say 8 s each, the second a little later, on a channel each."""
    one, other = (
        np.concatenate([read_unconditioned(path) for path in sorted(DATA.glob(f"{who}-*"))])[: 8 * RATE] for who in pair
    )
    later = round(later_s * RATE)
    return np.stack([np.pad(one, (0, later)), np.pad(other, (later, 0))])


@pytest.mark.parametrize("noise", [0.0, 0.001])
@pytest.mark.parametrize("later_s", [0.0, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("pair", PAIRS)
def test_people_who_speak_at_once_lose_nothing_without_leaks(pair, later_s, noise):
    planar = at_once(pair, later_s)
    planar = (planar + noise * np.random.default_rng(3).standard_normal(planar.shape)).astype(np.float32)
    assert each(planar).used == (0, 1)
    assert min(kept(planar)) > 0.99


@pytest.mark.parametrize("leak_db", [-12.0, -20.0, -30.0])
@pytest.mark.parametrize("later_s", [0.0, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("pair", PAIRS)
def test_people_who_speak_at_once_are_both_heard_with_leaks(pair, later_s, leak_db):
    clean = at_once(pair, later_s)
    planar = leaking(clean, leak_db)
    assert each(planar).used == (0, 1)
    speech = np.abs(clean) > 0.05 * np.abs(clean).max(axis=1, keepdims=True)
    heard = (apart(planar) != 0) & speech
    assert (heard.sum(axis=1) / speech.sum(axis=1)).min() > 0.65


@pytest.mark.parametrize("late_ms", [5, 10, 30])
def test_a_leak_that_is_late_is_silenced(late_ms, made):
    late = round(late_ms * RATE / 1000)
    leaks = 0.1 * np.pad(made.sound[::-1], ((0, 0), (late, 0)))[:, : made.sound.shape[1]]
    for samples, speech in zip(apart(made.sound + leaks), made.speech, strict=True):
        assert spoken(samples, speech)[1] < 0.3


@pytest.mark.parametrize("gain", [1.0, -1.0, 0.1])
def test_the_same_sound_on_two_channels_counts_once(gain, made):
    one = made.sound.sum(axis=0)
    found = each(np.stack([one, gain * one]))
    assert found.voices == (0, 1)
    assert found.used == (0,)


def test_a_channel_with_a_leak_alone_has_no_sound_of_its_own(made):
    one = made.sound[:1]
    planar = leaking(np.concatenate([one, 1e-4 * np.random.default_rng(1).standard_normal(one.shape)]), -20.0)
    found = each(planar.astype(np.float32))
    assert found.used == (0,)
    assert found.leaks is None


def test_silence_and_noise_beside_a_voice_silence_nothing(made):
    noise = 0.003 * np.random.default_rng(2).standard_normal(made.sound.shape[1])
    found = each(np.stack([made.sound[0], noise, 0.0 * noise]).astype(np.float32))
    assert found.voices == (0,)
    assert found.used == (0, 1)
    assert found.leaks is None


@pytest.mark.parametrize("count", [0, 7, 320, 5000])
def test_recordings_of_any_length_can_be_taken_apart(count):
    assert apart(np.zeros((2, count), np.float32)).shape == (2, count)
    assert apart(np.ones((1, count), np.float32)).shape == (1, count)


def test_the_result_does_not_depend_on_the_lengths_of_the_blocks(made):
    planar = leaking(made.sound, -20.0)
    conditioner = Conditioner({2: each(planar)})
    blocks = [conditioner(planar[:, i : i + 7777]) for i in range(0, planar.shape[1], 7777)]
    np.testing.assert_allclose(np.concatenate(blocks, axis=1), apart(planar), rtol=1e-3, atol=1e-4)


def test_a_channel_that_comes_or_goes_in_the_middle_is_silent_elsewhere(made):
    survey = Survey()
    parts = [made.sound, made.sound[:1]]
    for part in parts:
        survey.add(part)
    conditioner = Conditioner(survey.each())
    whole, mono = (conditioner(part) for part in parts)
    assert (whole.shape, mono.shape) == (made.sound.shape, made.sound.shape)
    assert np.abs(mono[1, RATE:]).max() < 1e-6 < np.abs(mono[0]).max()
    lacking = Conditioner(survey.one(1))
    assert np.abs(lacking(parts[0])).max() > 0.1
    assert np.abs(lacking(parts[1])[0, RATE:]).max() < 1e-6


def test_one_channel_is_heard_at_its_own_level(made):
    loud = made.sound * np.array([[1.0], [0.01]], np.float32)
    survey = Survey()
    survey.add(loud)
    for k in (0, 1):
        (found,) = survey.one(k).values()
        assert found.used == (k,)
        assert not found.two_people
        alone = Survey()
        alone.add(loud[k : k + 1])
        expected = Conditioner(alone.mixes())(loud[k : k + 1])
        np.testing.assert_allclose(Conditioner({2: found})(loud), expected, rtol=1e-3, atol=1e-4)

"""Properties of voiceprints of real speech: what a microphone or a mixer does to a recording moves no decision."""

from functools import cache

import numpy as np
import pytest

from models import registry
from models.calibration.channels import CHANNELS
from shared.domain.audio import Waveform
from shared.domain.quality import NOISY_TO_CLEAN_DB
from shared.domain.verification import OperatingPoint, compare
from shared.sound.conditioning import condition
from tests.support.sounds import DATA, read_unconditioned
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets, make_voiceprint

RATE = 16_000
CLIPS = {path.stem: path for path in sorted(DATA.glob("*-*.flac"))}


def offset(by):
    return lambda x: x + by


def gain(db):
    return lambda x: x * 10 ** (db / 20)


def hum(hz, level):
    return lambda x: x + level * np.abs(x).max() * np.sin(2 * np.pi * hz / RATE * np.arange(len(x)))


def rumble(x):
    """Add random rumble below 40 Hz, as loud as the voice."""
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(len(x)))
    spectrum[np.fft.rfftfreq(len(x), 1 / RATE) > 38] = 0
    low = np.fft.irfft(spectrum, len(x))
    return x + low * np.sqrt(np.mean(np.square(x)) / np.mean(np.square(low)))


DISTURBANCES = {
    **{f"offset {by}": offset(by) for by in (0.02, -0.1, 0.3)},
    **{f"gain {db} dB": gain(db) for db in (-50, -30, -12, 8)},
    "samples of the size of 16-bit numbers": lambda x: 32_768 * x,
    "rumble": rumble,
    "a rumble of 20 Hz": hum(20, 0.5),
    "hum of 50 Hz": hum(50, 0.2),
    "hum of 60 Hz": hum(60, 0.2),
}


@pytest.fixture(scope="module")
def voiceprint_of(vad, ge2e):
    nets = Nets(vad, ge2e)

    @cache
    def of(clip, disturbance=None):
        samples = read_unconditioned(CLIPS[clip])
        heard = DISTURBANCES[disturbance](samples) if disturbance else samples
        waveform = Waveform(condition([heard[None].astype(np.float32)]), RATE)
        return make_voiceprint(waveform, nets, Steps()).voiceprint

    return of


@pytest.mark.parametrize("disturbance", DISTURBANCES)
@pytest.mark.parametrize("clip", CLIPS)
def test_what_a_microphone_does_moves_no_voiceprint_and_no_decision(clip, disturbance, voiceprint_of):
    plain = voiceprint_of(clip)
    moved = voiceprint_of(clip, disturbance)
    assert plain.score(moved) > 0.98
    calibration = registry.default_card(registry.WEIGHTS_DIR).calibration
    for other in CLIPS:
        before, after = (compare(probe, voiceprint_of(other), calibration) for probe in (plain, moved))
        for point in OperatingPoint:
            near = abs(before.confidence - point.least_confidence) <= 1
            assert near or after.accepted(point) == before.accepted(point)


def tone(times_s):
    return np.sin(2 * np.pi * 425 * times_s)


def ring_back(times_s):
    return tone(times_s) * (times_s % 1.5 < 0.7)


def hiss(times_s):
    return np.random.default_rng(1).standard_normal(len(times_s))


def music(times_s):
    """Notes with overtones up to 7.5 kHz, four a second."""
    mixed = np.zeros(len(times_s))
    for start_s, note in enumerate(np.random.default_rng(2).integers(0, 24, 8)):
        after_s = times_s - start_s / 4
        for overtone_hz in np.arange(1, 30) * 220 * 2 ** (note / 12):
            if overtone_hz < 7_500:
                mixed += (after_s >= 0) * np.sin(2 * np.pi * overtone_hz * after_s) * np.exp(-4 * np.abs(after_s))
    return mixed


def before(voice, sound):
    return np.concatenate([sound, voice])


def after(voice, sound):
    return np.concatenate([voice, sound])


def between(voice, sound):
    return np.concatenate([voice, sound, voice, sound, voice])


@pytest.mark.parametrize("put", [before, after, between])
@pytest.mark.parametrize("sound", [tone, ring_back, hiss, music])
@pytest.mark.parametrize("channel", ["clean", "telephone"])
def test_what_sounds_in_the_pauses_changes_neither_bandwidth_nor_noise(channel, sound, put, vad, ge2e):
    voice = CHANNELS[channel](read_unconditioned(CLIPS["1688-142285-0008"]))
    heard = sound(np.arange(2 * RATE) / RATE)
    heard *= np.sqrt(np.mean(np.square(voice)) / np.mean(np.square(heard)) / 10)
    plain, disturbed = (
        make_voiceprint(Waveform(condition([samples[None].astype(np.float32)]), RATE), Nets(vad, ge2e), Steps())
        for samples in (voice, put(voice, heard))
    )
    assert plain.voiceprint.capture.narrowband == (channel == "telephone")
    assert disturbed.voiceprint.capture.narrowband == plain.voiceprint.capture.narrowband
    # Above that no score is corrected for noise.
    assert disturbed.voiceprint.capture.snr_db > NOISY_TO_CLEAN_DB[1]


@pytest.mark.parametrize("step_db", [-20, 20])
@pytest.mark.parametrize("speaker", sorted({stem.partition("-")[0] for stem in CLIPS}))
def test_a_sentence_that_is_much_quieter_is_of_the_same_speaker(speaker, step_db, vad, ge2e):
    first, second = (read_unconditioned(path) for stem, path in CLIPS.items() if stem.startswith(speaker))
    joined = np.concatenate([first, np.zeros(RATE // 2, np.float32), second * np.float32(10 ** (step_db / 20))])
    result = make_voiceprint(Waveform(condition([joined[None]]), RATE), Nets(vad, ge2e), Steps())
    assert result.quality.num_speakers == 1


@pytest.mark.parametrize("pause_s", [0.0, 0.33])
@pytest.mark.parametrize("clip", CLIPS)
def test_a_sentence_in_a_loop_is_of_one_speaker(clip, pause_s, vad, ge2e):
    sentence = read_unconditioned(CLIPS[clip])[: round(4.13 * RATE)]
    loop = np.tile(np.concatenate([sentence, np.zeros(round(pause_s * RATE), np.float32)]), 6)
    result = make_voiceprint(Waveform(condition([loop[None]]), RATE), Nets(vad, ge2e), Steps())
    assert result.quality.num_speakers == 1

"""Words that a job asks for: the phrase is judged, and the result tells no more than was asked for."""

import math
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

from shared.domain.audio import Segment, Waveform
from shared.domain.commands import CreateVoiceprint, Diarize, Verify
from shared.domain.errors import (
    LanguageNotInstalled,
    MediaNotFound,
    ModelInstallError,
    TooLittleSpeech,
    WorkerUnavailable,
    WrongPhrase,
)
from shared.domain.limits import Limits
from shared.domain.sources import parse_source
from shared.domain.speech import ContentRequest, PhraseRule
from shared.domain.voiceprints import Voiceprint
from tests.support.toys import CLEAN, OneRecogniser, ToyEmbedder, sound_of, voices
from worker.jobs.handlers import Handlers
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets

RATE = 16_000
LIMITS = Limits(max_audio_s=30.0, max_bytes=10**6, download_timeout_s=10.0)
SOURCE = parse_source("media://a")
VOICEPRINT = Voiceprint("toy@1", voices(0)[0], CLEAN)


@dataclass
class Sound:
    """Reader of a recording in which words are said; each takes half a second."""

    samples: np.ndarray

    def waveform(self, client_id, source, limits, steps, channel):
        with steps("download"):
            if source.key == "gone":
                raise MediaNotFound("It is gone.")
        return Waveform(self.samples, RATE)


class AlwaysSpeech:
    def speech_segments(self, samples, **_):
        return [Segment(0.0, len(samples) / RATE)]


class Voices(ToyEmbedder):
    """Embedder to which negative words are of another voice."""

    def encode(self, samples):
        return [int(samples[i * RATE] < 0) for i in range(math.ceil(len(samples) / RATE))]

    def embed(self, samples):
        return voices(0)[0]


@pytest.fixture
def recognisers():
    return OneRecogniser()


@pytest.fixture
def handle(recognisers):
    def handle(command, *words):
        handlers = Handlers(
            reader=Sound(sound_of(*words)),
            nets=Nets(AlwaysSpeech(), Voices()),
            recognisers=recognisers,
            voiceprint_limits=LIMITS,
            diarize_limits=LIMITS,
            stores=None,
            enrolments=None,
            verifications=None,
            voices=None,
            searches=None,
        )
        return handlers._handle(Claimed(), command, Steps())

    return handle


@dataclass
class Claimed:
    client_id: str = "c"
    job_id: str = "j"


SAID = range(1, 21)
PHRASE = " ".join(f"w{number}" for number in SAID)
COMMANDS = {
    "voiceprint": CreateVoiceprint(source=SOURCE),
    "verify": Verify(source=SOURCE, voiceprint=VOICEPRINT),
}
both = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


def transcript_of(result):
    return (result if hasattr(result, "transcript") else result.voice).transcript


def asking(command, **content):
    return replace(command, content=ContentRequest(**content))


@both
def test_the_words_are_told(handle, command):
    result = handle(asking(command, language="en-US"), *SAID)
    assert transcript_of(result).text == PHRASE
    assert list(result.timings_s)[-1] == "transcribe"


@both
def test_words_are_not_told_that_nobody_asked_for(handle, command, recognisers):
    assert transcript_of(handle(command, *SAID)) is None
    assert recognisers.asked == []
    assert transcript_of(handle(asking(command, phrase=PHRASE, told=False), *SAID)) is None


@both
def test_a_language_that_is_not_installed_fails_the_job_before_its_download(handle, command):
    gone = replace(asking(command, language="nl-NL"), source=parse_source("media://gone"))
    with pytest.raises(LanguageNotInstalled):
        handle(gone)


@both
@pytest.mark.parametrize(
    ("rule", "phrase"),
    [
        (PhraseRule.SENTENCE, "the quick brown fox jumps over the lazy dog"),
        (PhraseRule.SENTENCE, PHRASE + " " + "and so on " * 10),
        (PhraseRule.WORDS, " ".join(reversed(PHRASE.split()))),
        (PhraseRule.WORDS, PHRASE + " fox"),
    ],
    ids=["another", "half", "shuffled", "missing"],
)
def test_another_phrase_fails_the_job_and_no_word_of_it_is_told(handle, command, rule, phrase):
    with pytest.raises(WrongPhrase) as raised:
        handle(asking(command, phrase=phrase, rule=rule), *SAID)
    told = str(raised.value)
    assert told.endswith(".")
    assert not set(re.findall(r"w\d+", told))
    assert "fox" not in told


@both
@pytest.mark.parametrize("rule", PhraseRule)
def test_the_right_phrase_passes(handle, command, rule):
    assert transcript_of(handle(asking(command, phrase=PHRASE.upper(), rule=rule), *SAID)).text == PHRASE


def test_a_wrong_phrase_says_nothing_of_the_voice(handle):
    """The voiceprint is of a model that cannot be compared, which only the comparison could find out."""
    command = asking(COMMANDS["verify"], phrase="something else entirely")
    assert handle(replace(command, content=None), *SAID).decision is None
    with pytest.raises(WrongPhrase) as raised:
        handle(command, *SAID)
    assert not re.search(r"score|confidence|voice", str(raised.value))


@both
def test_a_bystander_cannot_say_the_phrase(handle, command):
    """Another voice says it, which speaks less."""
    phrase = " ".join(f"w{number}" for number in range(100, 108))
    words = [*SAID, *range(-100, -108, -1)]
    with pytest.raises(WrongPhrase):
        handle(asking(command, phrase=phrase), *words)
    # Nor does the bystander spoil it.
    assert transcript_of(handle(asking(command, phrase=PHRASE), *words)).text == PHRASE


@both
def test_too_little_speech_is_told_before_the_words_are_judged(handle, command, recognisers):
    with pytest.raises(TooLittleSpeech):
        handle(asking(command, phrase=PHRASE), 1)
    assert recognisers.recogniser.heard_s == []


@both
def test_a_recogniser_that_cannot_be_loaded_leaves_the_job_to_another_worker(handle, command, recognisers, monkeypatch):
    def find(language):
        raise ModelInstallError("encoder.ort of the recogniser is damaged.")

    monkeypatch.setattr(recognisers, "find", find)
    with pytest.raises(WorkerUnavailable, match="damaged") as raised:
        handle(asking(command), *SAID)
    assert raised.value.passing


def test_a_diarization_asks_for_a_recogniser_before_the_download(handle, recognisers):
    recognisers.installed = False
    with pytest.raises(LanguageNotInstalled):
        handle(Diarize(source=parse_source("media://gone"), transcription=True))

"""What the bundled recogniser hears of real people, and the phrases that are found in it."""

import pytest

from models.recognisers import InstalledRecognisers
from models.vad import SileroVad
from shared.domain.audio import Stream, Waveform
from shared.domain.diarization import SpeakerHints
from shared.domain.errors import WrongPhrase
from shared.domain.speech import ContentRequest, PhraseRule
from shared.networks import Embedder, Recogniser
from tests.support.sounds import DATA, read_waveform
from tests.support.speech import Clip
from worker.voices.diarization import diarize_recording
from worker.voices.phrases import require_phrase
from worker.voices.progress import Steps
from worker.voices.transcription import transcribe_speaker
from worker.voices.voiceprint import Nets, make_voiceprint

SAID = {
    "1688-142285-0008": "His father dying in miserable circumstances.",
    "3080-5032-0003": "why did you NOT send me that news and a garland?",
}


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return InstalledRecognisers().find("en-US")


@pytest.fixture(scope="module")
def heard(clips: list[Clip], vad: SileroVad, ge2e: Embedder, recogniser: Recogniser) -> dict[str, str]:
    """Words of each clip's dominant speaker, by its name."""
    found = {}
    for clip in clips:
        waveform = Waveform(clip.samples, 16_000)
        voice = make_voiceprint(waveform, Nets(vad, ge2e), Steps())
        transcript = transcribe_speaker(waveform, voice.diarization, voice.dominant_speaker, recogniser, Steps())
        found[clip.name] = transcript.text
    return found


@pytest.mark.parametrize("said", SAID)
def test_a_phrase_is_found_in_the_clip_that_says_it_and_in_no_other(heard: dict[str, str], said: str) -> None:
    for rule in PhraseRule:
        content = ContentRequest(phrase=SAID[said], rule=rule)
        for name, words in heard.items():
            if name == said:
                require_phrase(words, content)
            else:
                with pytest.raises(WrongPhrase):
                    require_phrase(words, content)


def test_shuffled_and_missing_words_are_not_the_words_in_order(heard: dict[str, str]) -> None:
    words = heard["3080-5032-0003"]
    for phrase in ("news that me send not you did why", "why did you not send me that good news again"):
        with pytest.raises(WrongPhrase):
            require_phrase(words, ContentRequest(phrase=phrase, rule=PhraseRule.WORDS))


def test_only_the_dominant_speaker_of_a_conversation_is_heard(
    vad: SileroVad, ge2e: Embedder, recogniser: Recogniser
) -> None:
    waveform = read_waveform(DATA / "conversation.flac")
    voice = make_voiceprint(waveform, Nets(vad, ge2e), Steps())
    transcript = transcribe_speaker(waveform, voice.diarization, voice.dominant_speaker, recogniser, Steps())
    assert "without telling us what he had been" in transcript.text
    assert "how much shocked I was" in transcript.text
    assert "my lady" not in transcript.text


def test_blocks_of_any_length_give_the_same_words(vad: SileroVad, ge2e: Embedder, recogniser: Recogniser) -> None:
    samples = read_waveform(DATA / "conversation.flac").samples
    found = []
    for size in (16_000, len(samples)):
        stream = Stream(samples[i : i + size] for i in range(0, len(samples), size))
        recording = diarize_recording(
            stream, Nets(vad, ge2e), Steps(), SpeakerHints(), voices=False, recogniser=recogniser
        )
        found.append([(turn.speaker, turn.text) for turn in recording.transcript.turns])
    assert found[0] == found[1]

"""Words of recordings, with a recogniser that reads numbers in place of sound."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.audio import Chunk, Segment, Waveform
from shared.domain.diarization import Diarization
from tests.support.toys import Reader, sound_of, turn
from worker.voices.progress import Steps
from worker.voices.transcription import Transcriber, Word, by_turns, timed, transcribe_speaker

RATE = 16_000
#: Seconds of each word.
WORD_S = 0.5


def chunk(samples, start_s=0.0):
    """Return a chunk in which somebody speaks all the time."""
    whole = Segment(start_s, start_s + len(samples) / RATE)
    return Chunk(
        start_s=start_s, waveform=Waveform(samples, RATE), speech=[whole], probabilities=np.zeros(1), is_whole=False
    )


def turns_of(data, start_s, end_s):
    """Draw turns from one time to another, whose speakers change between words."""
    first, last = math.ceil(start_s / WORD_S), math.floor(end_s / WORD_S)
    changes = data.draw(st.sets(st.integers(first, max(first, last)), max_size=4))
    inner = [change * WORD_S for change in sorted(changes) if start_s < change * WORD_S < end_s]
    edges = itertools.pairwise([start_s, *inner, end_s])
    return [turn(*edge, data.draw(st.sampled_from("ABC"))) for edge in edges]


def spoken(found):
    return [(one.speaker, one.segment.start_s, one.segment.end_s, one.text) for one in found.turns]


def words(first, last):
    return [f"w{number}" for number in range(first, last)]


def test_each_turn_has_its_own_words():
    turns = [turn(0, 1, "A"), turn(1, 2, "B"), turn(3, 4, "A")]
    transcriber = Transcriber(Reader(), Steps())
    transcriber.hear(chunk(sound_of(1, 2, 3, 4, 0, 0, 5, 6, 0)), turns)
    found = transcriber.transcript(turns)
    assert spoken(found) == [("A", 0, 1, "w1 w2"), ("B", 1, 2, "w3 w4"), ("A", 3, 4, "w5 w6")]
    assert (found.recogniser_id, found.language, found.text) == ("reader@1", "en", "w1 w2 w3 w4 w5 w6")


def test_a_sentence_is_heard_as_a_whole_across_its_pauses():
    recogniser = Reader()
    turns = [turn(0, 1, "A"), turn(1.5, 2.5, "A"), turn(2.5, 3.5, "B"), turn(6, 7, "B")]
    transcriber = Transcriber(recogniser, Steps())
    transcriber.hear(chunk(sound_of(1, 2, 0, 3, 4, 5, 6, 0, 0, 0, 0, 0, 7, 8, 0)), turns)
    assert [text for *_, text in spoken(transcriber.transcript(turns))] == ["w1 w2 w3 w4", "w5 w6", "w7 w8"]
    # With some silence on the sides on which nobody else speaks.
    assert recogniser.heard_s == pytest.approx([2.5, 1.3, 1.6])


def test_a_turn_without_words_is_left_out():
    turns = [turn(0, 1, "A"), turn(1, 2, "B")]
    transcriber = Transcriber(Reader(), Steps())
    transcriber.hear(chunk(sound_of(1, 2, 0, 0, 0)), turns)
    assert spoken(transcriber.transcript(turns)) == [("A", 0, 1, "w1 w2")]


def test_the_end_of_a_sentence_that_was_given_to_the_next_speaker_is_heard_with_it():
    """The last hop of A's speech is taken for B's, who speaks a second later; a short answer stands alone."""
    turns = [turn(0, 1.3, "A"), turn(1.3, 1.5, "B"), turn(2.5, 3.5, "B"), turn(4.0, 4.3, "A")]
    transcriber = Transcriber(Reader(), Steps())
    transcriber.hear(chunk(sound_of(1, 2, 3, 0, 0, 4, 5, 0, 6, 0)), turns)
    assert spoken(transcriber.transcript(turns)) == [
        ("A", 0, 1.5, "w1 w2 w3"), ("B", 2.5, 3.5, "w4 w5"), ("A", 4.0, 4.3, "w6"),
    ]  # fmt: skip


def test_silence_has_no_words():
    transcriber = Transcriber(Reader(), Steps())
    transcriber.hear(chunk(sound_of(0, 0)), [])
    assert spoken(transcriber.transcript([])) == []


def test_words_go_to_the_turns_of_the_whole_recording_and_not_to_those_of_the_chunk():
    transcriber = Transcriber(Reader(), Steps())
    transcriber.hear(chunk(sound_of(1, 2, 3, 4, 0)), [turn(0, 2, "A")])
    assert spoken(transcriber.transcript([turn(0, 1, "B"), turn(1, 2, "A")])) == [
        ("B", 0, 1, "w1 w2"), ("A", 1, 2, "w3 w4"),
    ]  # fmt: skip


def test_a_turn_that_the_end_of_a_chunk_cuts_reads_as_one():
    """The border lies within the word w21."""
    sound = sound_of(*range(1, 41), 0)
    border = 20 * RATE // 2 + 3_000
    border_s = border / RATE
    transcriber = Transcriber(Reader(), Steps())
    transcriber.hear(chunk(sound[:border]), [turn(0, border_s, "A")])
    transcriber.hear(chunk(sound[border:], border_s), [turn(border_s, 20, "A")])
    found = transcriber.transcript([turn(0, border_s, "C"), turn(border_s, 20, "C")])
    assert spoken(found) == [("C", 0, 20, " ".join(words(1, 41)))]


def test_speech_that_a_chunk_cut_off_is_heard_if_nothing_follows():
    transcriber = Transcriber(Reader(), Steps())
    transcriber.hear(chunk(sound_of(1, 2)), [turn(0, 1, "A")])
    transcriber.hear(chunk(sound_of(0, 0), 1.0), [])
    assert transcriber.transcript([turn(0, 1, "A")]).text == "w1 w2"
    transcriber = Transcriber(Reader(), Steps())
    transcriber.hear(chunk(sound_of(1, 2)), [turn(0, 1, "A")])
    assert transcriber.transcript([turn(0, 1, "A")]).text == "w1 w2"


@given(st.data())
def test_no_word_is_lost_or_doubled_wherever_chunks_and_turns_begin(data):
    count = data.draw(st.integers(2, 80))
    sound = sound_of(*range(1, count + 1))
    # Some borders lie within a word.
    borders = sorted(data.draw(st.sets(st.integers(1, len(sound) - 1), max_size=4)))
    transcriber = Transcriber(Reader(), Steps())
    for start, end in zip([0, *borders], [*borders, len(sound)], strict=True):
        start_s, end_s = start / RATE, end / RATE
        transcriber.hear(chunk(sound[start:end], start_s), turns_of(data, start_s, end_s))
    found = transcriber.transcript(turns_of(data, 0.0, count * WORD_S))
    assert found.text.split() == words(1, count + 1)


def test_little_sound_is_kept_between_chunks():
    recogniser = Reader()
    transcriber = Transcriber(recogniser, Steps())
    for i in range(3):
        start_s = 60.0 * i
        transcriber.hear(chunk(sound_of(*range(1, 121)), start_s), [turn(start_s, start_s + 60.0, "A")])
    # All but the last seconds of a chunk were heard within it.
    assert 3 * 60.0 - 5.0 <= sum(recogniser.heard_s) < 3 * 60.0
    assert transcriber._waiting.waveform.samples.base is None


def test_each_stretch_is_a_step_that_may_stop_the_job():
    class Stop(Exception):
        pass

    announced = []

    def announce(step, percent):
        announced.append(step)
        if len(announced) == 2:
            raise Stop

    transcriber = Transcriber(Reader(), Steps(announce))
    with pytest.raises(Stop):
        transcriber.hear(chunk(sound_of(1, 2, 3, 0)), [turn(0, 0.5, "A"), turn(0.5, 1.0, "B"), turn(1.0, 1.5, "A")])
    assert announced == ["transcribe", "transcribe"]


def test_words_take_as_long_as_their_letters():
    assert list(timed("aaa b aaa", [Segment(1.0, 2.0), Segment(5.0, 6.0)])) == [
        Word(1.4, "aaa"), Word(5.0, "b"), Word(5.6, "aaa"),
    ]  # fmt: skip
    assert list(timed("", [Segment(1.0, 2.0)])) == []


def test_a_word_outside_of_all_turns_goes_to_the_nearest():
    turns = [turn(1, 2, "A"), turn(4, 5, "B")]
    found = by_turns([Word(0.5, "a"), Word(2.9, "b"), Word(3.1, "c"), Word(9.0, "d")], turns)
    assert [(one.speaker, one.text) for one in found] == [("A", "a b"), ("B", "c d")]


def test_of_a_short_recording_only_the_dominant_speaker_is_heard():
    waveform = Waveform(sound_of(0, 1, 2, 3, 4, 5, 6, 0), RATE)
    before = waveform.samples.copy()
    diarization = Diarization([turn(0.5, 1.5, "A"), turn(1.5, 2.5, "B"), turn(2.5, 3.5, "A")])
    recogniser = Reader()
    found = transcribe_speaker(waveform, diarization, "A", recogniser, Steps())
    assert spoken(found) == [("A", 0.5, 3.5, "w1 w2 w5 w6")]
    # The pause between is heard too, in the one go.
    assert recogniser.heard_s == [3.0]
    assert np.array_equal(waveform.samples, before)


def test_a_speaker_who_says_no_words_has_an_empty_transcript():
    found = transcribe_speaker(Waveform(sound_of(0, 0), RATE), Diarization([turn(0, 1, "A")]), "A", Reader(), Steps())
    assert (found.turns, found.text) == ([], "")

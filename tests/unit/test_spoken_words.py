"""Words that were said against those that were wanted: what counts as the same, and where the checks draw the line."""

import pytest

from shared.domain import words
from shared.domain.words import check_phrase, check_words, normalise, word_error_rate

#: Writings that a listener cannot tell apart, or that mean one number.
ALIKE = [
    ("1984", "nineteen eighty-four", "one nine eight four", "nineteen hundred and eighty four", "1-9-8-4", "1,984"),
    ("1905", "nineteen oh five", "nineteen o five", "one thousand nine hundred and five"),
    ("2021", "twenty twenty one", "two thousand and twenty-one", "two thousand twenty one"),
    ("007", "zero zero seven", "oh oh seven", "0 0 7"),
    ("21st of March", "twenty-first of March", "21ST OF MARCH"),
    ("2nd", "second", "Second."),
    ("3.5 percent", "three point five percent", "3.5%"),
    ("10:30 pm", "ten thirty p.m.", "10:30 P.M."),
    ("ten o'clock", "10:00", "ten o’clock"),
    ("$1,250", "one thousand two hundred and fifty dollars", "$1250"),
    ("5 thousand", "five thousand", "5000", "5,000"),
    ("100 to 1", "a hundred to one", "one hundred to one"),
    ("the nineteen eighties", "the 1980s"),
    ("too late for two", "to late four 2"),
    ("I don't know it's Mr. Smith", "i do not know it is mister smith", "I don’t know, it’s Mr Smith!"),
    ("Café Müller", "cafe muller"),
    ("ﬁne", "fine"),
    ("my favourite colour is grey", "My favorite color is gray."),
    ("um, my voice, uh, is my password", "my voice is my password"),
    ("R&D", "r and d"),
]


@pytest.mark.parametrize("texts", ALIKE, ids=lambda texts: texts[0])
def test_what_a_listener_calls_equal_has_one_normal_form(texts: tuple[str, ...]) -> None:
    assert len({normalise(text) for text in texts}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("fifteen", "fifty"),
        ("two one", "twelve"),
        ("twenty five", "twenty six"),
        ("cat", "hat"),
        ("point five", "five"),
    ],
)
def test_what_sounds_otherwise_stays_apart(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize("text", ["", "  ", "?!...", "um, uh"])
def test_a_text_without_words_has_none(text: str) -> None:
    assert normalise(text) == ()


@pytest.mark.parametrize(
    ("said", "wanted", "rate"),
    [
        ("kids are talking by the door", "kids are talking by the door", 0),
        ("kids are talking by a door", "kids are talking by the door", 1 / 6),
        ("kids are talking", "kids are talking by the door", 3 / 6),
        ("well the kids are talking by the door", "kids are talking by the door", 2 / 6),
        ("", "kids are talking", 1),
        ("one two three four", "five", 4),
        ("door the by talking", "by the door", 1),
        ("a black bird", "a blackbird", 0),
        ("a blackbird", "a black bird", 0),
        ("anything", "", 1),
    ],
)
def test_the_word_error_rate_is_the_usual_one_but_for_words_written_apart(said: str, wanted: str, rate: float) -> None:
    assert word_error_rate(said.split(), wanted.split()) == pytest.approx(rate)


def test_a_phrase_matches_in_spite_of_a_slip_of_the_recogniser() -> None:
    assert check_phrase("My voice is my pass word, verify it", "my voice is my password verify me").matched
    assert check_phrase(
        "I was born on the 3rd of May, 1984.", "I was born on the third of May nineteen eighty-four"
    ).matched


@pytest.mark.parametrize("said", ["", "something else altogether", "my voice is"])
def test_another_phrase_does_not_match_and_the_reason_tells_no_word(said: str) -> None:
    check = check_phrase(said, "my voice is my password verify me")
    assert not check.matched
    assert check.reason.startswith("The word error rate is ")
    assert "password" not in check.reason


@pytest.mark.parametrize(
    "said", ["4-7-1-9", "four, seven, one, nine", "Um, for seven won nine.", "4719", "forty seven nineteen"]
)
def test_words_in_their_order_match(said: str) -> None:
    assert check_words(said, "four seven one nine").matched


def test_a_word_that_is_spelled_by_ear_counts_and_a_short_one_does_not() -> None:
    assert check_words("apple hilston river", "apple helstone river").matched is False
    assert check_words("apple helston river", "apple helstone river").matched
    assert not check_words("apple hat river", "apple cat river").matched


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("seven four one nine", "not in their order"),
        ("nine one seven four", "not in their order"),
        ("four seven nine", "1 of 4 words"),
        ("four seven one", "1 of 4 words"),
        ("", "4 of 4 words"),
        ("four seven one eight", "1 of 4 words"),
        ("four seven one nine four seven nine one", "4 words beside the 4"),
    ],
)
def test_shuffled_missing_other_and_many_more_words_fail(said: str, reason: str) -> None:
    check = check_words(said, "four seven one nine")
    assert not check.matched
    assert reason in check.reason


def test_nothing_wanted_is_never_said() -> None:
    assert not check_words("anything", "...").matched
    assert not check_phrase("", "").matched


def test_letters_of_words_that_differ_in_length_are_never_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    # A phrase of one long word would keep a worker for minutes.
    compared = []
    monkeypatch.setattr(words, "_differ_by", lambda *pair: compared.append(pair))
    assert not check_words("one two three " * 30, "\N{SQUARE APAATO}" * 1000).matched
    assert not compared


@pytest.mark.parametrize(
    ("said", "wanted", "same"),
    [
        ("helston", "helstone", True),
        ("helstones", "helstone", True),
        ("helstane", "helstone", True),
        ("hilston", "helstone", False),
        ("apples", "apple", True),
        ("maple", "apple", False),
        ("cats", "cat", False),
    ],
)
def test_a_letter_in_five_may_differ(said: str, wanted: str, same: bool) -> None:
    assert check_words(said, wanted).matched is same

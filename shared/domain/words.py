"""Words that were said against words that were wanted: a normal form, the word error rate, and two checks.

The limits are fitted on real speech, heard by the bundled recogniser: `python -m tests.eval.phrases`. Twelve actors of
RAVDESS say sentences of six words. Accepted in %, at a word error rate of at most:

===================================  ====  ====  ====
phrase, channel                      0.15  0.30  0.35
===================================  ====  ====  ====
right, neutral or calm, clean          97    99   100
right, noise of 10 dB                  85    92    99
right, telephone                       68    72    98
right, acted emotions, clean           83    88    92
wrong, one word of six changed          0    97    99
wrong, two words of six changed         0     0    98
wrong, last 40 % cut off                1    27    80
===================================  ====  ====  ====

Texts of LibriSpeech could not be had. So 43 recordings of it, mostly of 15 s, were compared with what is heard in them
clean. At 0.3 these are accepted:

- the same recording by telephone: 93 %; in noise of 10 dB: 95 %,
- another recording's text: 0 of 258,
- the text with one word changed: 93 % of both; no limit can tell that from a word misheard,
- a recording without its last third: 19 %, and 60 % at 0.35.

Lists of six digits of three speakers, clean and by telephone: of 120 wrong ones none is accepted, of 24 right ones 15.
The recogniser mishears short words. This is the price of the rule that no word may be missing.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

#: Largest word error rate of a phrase that was said.
MAX_ERROR_RATE = 0.3
#: Most extra words, for each word that was to be said; fillers do not count.
MAX_EXTRA = 0.25

_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12}
_VALUES = {
    **{word: value for value, word in enumerate(_DIGITS + _TEENS)},
    **{word: 10 * value for value, word in enumerate(_TENS, 2)},
    **{word[:-1] + "ies": 10 * value for value, word in enumerate(_TENS, 2)},
}
_VALUES |= {
    word[:-1] + "ieth" if word[-1] == "y" else word + "th": value for word, value in _VALUES.items()
} | _ORDINALS
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_SCALES |= {word + "th": scale for word, scale in _SCALES.items()}
#: Words that sound like a digit, and the digit.
_HOMOPHONES = {"to": "two", "too": "two", "for": "four", "fore": "four", "ate": "eight", "won": "one"}
#: Zero, between digits; elsewhere a filler.
_ZEROS = ("oh", "o")
_FILLERS = {"um", "uhm", "uh", "er", "erm", "ah", "hm", "hmm", "mm", "mhm", "eh", "oh", "o"}
_VARIANTS = {
    "mr": "mister", "mrs": "missus", "ms": "miss", "dr": "doctor", "st": "saint", "ok": "okay", "till": "until",
    "til": "until", "gray": "grey", "alright": "all right", "cannot": "can not", "goodbye": "good bye", "vs": "versus",
    "wont": "will not", "won't": "will not", "can't": "can not", "shan't": "shall not", "let's": "let us",
}  # fmt: skip
_CONTRACTIONS = {"n't": " not", "'m": " am", "'re": " are", "'ll": " will", "'ve": " have", "'d": " would"}
#: Words after which 's is short for "is"; elsewhere it is a possessive.
_IS = {"it", "he", "she", "that", "what", "there", "here", "who", "where", "how"}
_SYMBOLS = {"&": " and ", "%": " percent ", "+": " plus ", "@": " at ", "=": " equals "}
_CURRENCIES = {"$": "dollars", "£": "pounds", "€": "euros"}
#: British endings, and the American ones that take their place on both sides.
_SPELLINGS = (
    (r"(?<=\w{2})our(?=$|s|ed|ing|able|ite|ful)", "or"),
    (r"(?<=\w{3})is(?=e|ing|ation)", "iz"),
    (r"tre(?=$|s$)", "ter"),
)


@dataclass(frozen=True)
class WordCheck:
    """Outcome of a comparison of words; it holds none of them."""

    matched: bool
    word_error_rate: float
    #: Sentence that says what is wrong; empty where the words match.
    reason: str = ""


def check_phrase(said: str, wanted: str) -> WordCheck:
    """Check that a phrase was said, whatever small slips of speaker and recogniser."""
    rate = word_error_rate(normalise(said), normalise(wanted))
    if rate <= MAX_ERROR_RATE:
        return WordCheck(True, rate)
    return WordCheck(False, rate, f"The word error rate is {rate:.2f}, and may be {MAX_ERROR_RATE:g}.")


def check_words(said: str, wanted: str) -> WordCheck:
    """Check that each of the wanted words was said, in their order, with few others between them."""
    heard = normalise(said)
    words = normalise(wanted)
    rate = word_error_rate(heard, words)
    _, missing, extra = _align(heard, words, _sounds_like)
    reason = ""
    if missing and not Counter(words) - Counter(heard):
        reason = "All the words were said, but not in their order."
    elif missing or not words:
        reason = f"{missing} of {len(words)} words were not said in their place."
    elif extra > MAX_EXTRA * len(words):
        reason = f"There are {extra} words beside the {len(words)} that were to be said."
    return WordCheck(not reason, rate, reason)


def word_error_rate(said: Sequence[str], wanted: Sequence[str]) -> float:
    """Return the word error rate: substitutions, deletions and insertions for each wanted word; 1 where none is wanted.

    As usual, these are the fewest that turn one into the other. Words that are only written apart or together cost
    nothing: "good bye" and "goodbye".
    """
    return _align(said, wanted, str.__eq__).errors / len(wanted) if wanted else 1.0


class _Alignment(NamedTuple):
    """Fewest differences of two sequences; of several ways the one with the fewest that are missing."""

    errors: int = 0
    #: Wanted ones that were left out, or of which another came in the place.
    missing: int = 0
    #: Ones that came in beside the wanted.
    extra: int = 0

    def plus(self, missing: int = 0, extra: int = 0) -> "_Alignment":
        return _Alignment(self.errors + missing + extra, self.missing + missing, self.extra + extra)


def _align(said: Sequence[str], wanted: Sequence[str], same: Callable[[str, str], bool]) -> _Alignment:
    # Levenshtein's distance, with two more steps: a word that stands for two of the other side.
    rows = [[_Alignment().plus(missing=j) for j in range(len(wanted) + 1)]]
    for i, word in enumerate(said, 1):
        row = [rows[-1][0].plus(extra=1)]
        for j, other in enumerate(wanted, 1):
            ways = [
                rows[-1][j - 1].plus(missing=not same(word, other)),
                rows[-1][j].plus(extra=1),
                row[-1].plus(missing=1),
            ]
            if i > 1 and same(said[i - 2] + word, other):
                ways.append(rows[-2][j - 1])
            if j > 1 and same(word, wanted[j - 2] + other):
                ways.append(rows[-1][j - 2])
            row.append(min(ways))
        rows.append(row)
    return rows[-1][-1]


def _sounds_like(said: str, wanted: str) -> bool:
    # A recogniser spells what it has never read by ear: a letter in five may differ, "hilston" for "helstone".
    most = len(wanted) // 5
    # Most words differ in length already. Letters of all pairs of words would take minutes.
    return said == wanted or (abs(len(said) - len(wanted)) <= most and _differ_by(said, wanted, most))


def _differ_by(said: str, wanted: str, most: int) -> bool:
    """Tell whether no more than `most` letters differ, by Levenshtein's distance."""
    row = list(range(len(wanted) + 1))
    for i, letter in enumerate(said, 1):
        above = row
        row = [i]
        for j, other in enumerate(wanted, 1):
            row.append(min(above[j - 1] + (letter != other), above[j] + 1, row[-1] + 1))
        if min(row) > most:
            return False
    return row[-1] <= most


def normalise(text: str) -> tuple[str, ...]:
    """Return the words of a text in the form in which a listener cannot tell them apart.

    - Numbers are their digits, however they are written or read: "1984", "nineteen eighty-four", "one nine eight four".
    - Words that sound like a digit are that digit: "for", "to". "oh" between digits is "zero".
    - Ordinals are their numbers, contractions are written out, fillers such as "um" are left out.
    - Case, punctuation, accents, and British or American spelling make no difference.
    """
    words = list(_spoken(_plain(text)))
    return tuple(_spelling(_HOMOPHONES.get(word, word)) for word in _digits(words))


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'").replace("\u2018", "'")
    text = re.sub(r"([$£€])\s*([\d.,]*\d)", lambda found: f"{found[2]} {_CURRENCIES[found[1]]} ", text)
    for symbol, word in _SYMBOLS.items():
        text = text.replace(symbol, word)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"(?<=\d):00(?!\d)|\bo'clock\b", " ", text)
    text = re.sub(r"(?<!\d)\.(?=\d)|(?<=\d)\.(?=\d)", " point ", text)
    text = re.sub(r"(?<=\d)(?:st|nd|rd|th|s)\b", "", text)
    # Letters with points between them are one word: "p.m.".
    text = re.sub(r"\b(?:[^\W\d_]\.){2,}", lambda found: found[0].replace(".", ""), text)
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def _spoken(text: str) -> Iterator[str]:
    for token in re.findall(r"\d+|[^\W\d_]+(?:'[^\W\d_]+)*", text):
        yield from _expanded(_VARIANTS.get(token, token)).split()


def _expanded(word: str) -> str:
    stem, mark, end = word.rpartition("'")
    if mark and end == "s":
        return f"{stem} is" if stem in _IS else f"{stem}s"
    for short, long in _CONTRACTIONS.items():
        if word.endswith(short):
            return word.removesuffix(short) + long
    return word.replace("'", "")


def _digits(words: Sequence[str]) -> Iterator[str]:
    """Yield the words with each number as its digits, and without fillers."""
    place = 0
    after_digit = False
    while place < len(words):
        word = words[place]
        digits, end = _number(words, place)
        if word in _ZEROS and (after_digit or _digit_follows(words, place)):
            digits = "0"
        yield from (_DIGITS[int(digit)] for digit in digits)
        if not digits and word not in _FILLERS:
            yield word
        after_digit = bool(digits)
        place = max(end, place + 1)


def _digit_follows(words: Sequence[str], place: int) -> bool:
    following = next((i for i in range(place, len(words)) if words[i] not in _ZEROS), len(words))
    return bool(_number(words, following)[0])


def _number(words: Sequence[str], start: int) -> tuple[str, int]:
    """Return the digits of the number that begins at `start`, empty where none does, and where it ends."""
    place = start
    total = 0
    below: int | None = None
    while place < len(words):
        word = words[place]
        following = words[place + 1] if place + 1 < len(words) else ""
        scale = _SCALES.get(word)
        value = _value(word, following)
        if scale == 100 and (below is None or below < 100):
            below = 100 if below is None else below * 100
        elif scale and scale > 100:
            total += (1 if below is None else below) * scale
            below = None
        elif value is not None and (below is None or _adds(below, value)):
            below = (below or 0) + value
        elif not (word == "and" and place > start and words[place - 1] in _SCALES and following in _VALUES):
            break
        place += 1
    if place == start:
        return (words[start], start + 1) if start < len(words) and words[start].isdecimal() else ("", start)
    return str(total + (below or 0)), place


def _value(word: str, following: str) -> int | None:
    # A numeral is a value only where a scale follows: "5 thousand". Elsewhere its digits stand as they are, zeros too.
    if following in _SCALES:
        if word == "a":
            return 1
        if word.isdecimal() and len(word) < 4:
            return int(word)
    return _VALUES.get(word)


def _adds(below: int, value: int) -> bool:
    """Return whether a value goes on with a number below a thousand: "twenty" with "one", "two hundred" with "five"."""
    return (below % 100 == 0 < below and value < 100) or (below % 100 >= 20 and below % 10 == 0 and 0 < value < 10)


def _spelling(word: str) -> str:
    for british, american in _SPELLINGS:
        word = re.sub(british, american, word)
    return word

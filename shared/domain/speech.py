"""Speech content: what is asked of the words of a recording, and the words that were recognised in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from shared.domain.audio import Segment


class PhraseRule(StrEnum):
    """Rule by which the words of a recording are compared with a phrase."""

    #: The phrase is said, within a limit of the word error rate.
    SENTENCE = "sentence"
    #: Each word of the phrase is said, in that order: the test of a person who is there now.
    WORDS = "words"


@dataclass(frozen=True, kw_only=True)
class ContentRequest:
    """Request for the words of a recording."""

    #: BCP 47 tag such as `en-US`; None: the language of the recogniser that is installed.
    language: str | None = None
    #: Phrase that must be said; None: any.
    phrase: str | None = field(default=None, repr=False)
    rule: PhraseRule = PhraseRule.SENTENCE
    #: Whether the result tells the words.
    told: bool = True


@dataclass(frozen=True, kw_only=True)
class SpokenTurn:
    """Words of a speaker's turn."""

    segment: Segment
    #: Label local to one recording, `SPEAKER_00`.
    speaker: str
    text: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """Words of a whole recording, turn by turn, and the recogniser that heard them."""

    turns: Sequence[SpokenTurn] = field(repr=False)
    recogniser_id: str
    language: str

    @property
    def text(self) -> str:
        """All words, in the order of the turns."""
        return " ".join(turn.text for turn in self.turns)

    @property
    def warning(self) -> str:
        """Sentence that says what recognised the words, in which language."""
        return f"The words were recognised by {self.recogniser_id}, which takes all speech for {self.language!r}."

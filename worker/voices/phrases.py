"""Phrases that a recording must say."""

from shared.domain.errors import WrongPhrase
from shared.domain.speech import ContentRequest, PhraseRule
from shared.domain.words import check_phrase, check_words

_WRONG = {
    PhraseRule.SENTENCE: "The recording's main speaker does not say the phrase.",
    PhraseRule.WORDS: "The recording's main speaker does not say the words in their order.",
}


def require_phrase(said: str, content: ContentRequest) -> None:
    """Refuse words that are not the phrase that is asked for; the message holds none of them.

    Raises
    ------
    WrongPhrase
    """
    if content.phrase is None:
        return
    check = check_words if content.rule is PhraseRule.WORDS else check_phrase
    found = check(said, content.phrase)
    if not found.matched:
        raise WrongPhrase(f"{_WRONG[content.rule]} {found.reason}")

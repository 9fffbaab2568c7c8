"""Speech recognisers: list those installed, find the one of a language, load it when it is first asked for."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.moonshine import Moonshine
from models.nemo_ctc import NemoCtc
from models.registry import RECORD_FILE, WEIGHTS_DIR, Record, check_installed, sha256_of
from shared.domain.errors import LanguageNotInstalled, ModelInstallError
from shared.domain.models import RecogniserCard
from shared.networks import Recogniser

_HERE = Path(__file__).parent
MANIFEST = _HERE / "recognisers.toml"
BUNDLED = _HERE / "bundled"


@dataclass(frozen=True)
class Entry:
    """A table of the manifest: the card, and the sha256 of each bundled file by its name."""

    card: RecogniserCard
    sha256: Mapping[str, str]


def manifest() -> dict[str, Entry]:
    """Return the manifest's entries by handle, in order of preference."""
    tables = tomllib.loads(MANIFEST.read_text())
    return {handle: _entry(handle, table) for handle, table in tables.items()}


def installed(weights_dir: Path = WEIGHTS_DIR) -> list[RecogniserCard]:
    """Return the cards of the recognisers that can be loaded, in order of preference.

    The revision of an installed NeMo recogniser ends in eight digits of its file's sha256, as that of a model does.
    """
    cards = [entry.card for entry in manifest().values()]
    return [_as_installed(card, weights_dir) for card in cards if _is_there(card, weights_dir)]


def load(card: RecogniserCard, weights_dir: Path = WEIGHTS_DIR, *, threads: int = 1) -> Recogniser:
    """Open the networks of `card`, computing with `threads` threads; raises ModelInstallError when they are damaged."""
    if not _is_bundled(card):
        folder = weights_dir / card.handle
        check_installed(folder)
        # Other weights may have been installed since the card was read.
        return NemoCtc(_as_installed(manifest()[card.handle].card, weights_dir), folder, threads)
    for name, sha256 in manifest()[card.handle].sha256.items():
        if sha256_of(BUNDLED / name) != sha256:
            raise ModelInstallError(f"{name} of the recogniser {card.handle} is damaged; install Timbre again.")
    return Moonshine(card, BUNDLED, threads)


def require_language(language: str | None, weights_dir: Path = WEIGHTS_DIR) -> None:
    """Make sure that the recogniser of the setting TIMBRE_LANGUAGE is installed; raises ModelInstallError."""
    try:
        _choose(installed(weights_dir), language)
    except LanguageNotInstalled as error:
        raise ModelInstallError(f"TIMBRE_LANGUAGE names a language that is not there. {error}") from error


class InstalledRecognisers:
    """Speech recognisers that are installed; each is loaded when it is first asked for, and kept."""

    def __init__(self, weights_dir: Path = WEIGHTS_DIR, threads: int = 1, language: str | None = None) -> None:
        self._weights_dir = weights_dir
        self._threads = threads
        #: Language of requests that name none.
        self._language = language
        self._cards = installed(weights_dir)
        self._loaded: dict[str, Recogniser] = {}

    def find(self, language: str | None) -> Recogniser:
        """Return the recogniser of a BCP 47 tag such as `en-US`; without one that of the settings, or the first.

        Raises
        ------
        LanguageNotInstalled
            No recogniser of that language is installed.
        ModelInstallError
            Its files are damaged.
        """
        card = _choose(self._cards, self._language if language is None else language)
        if card.handle not in self._loaded:
            self._loaded[card.handle] = load(card, self._weights_dir, threads=self._threads)
        return self._loaded[card.handle]


def _choose(cards: Sequence[RecogniserCard], language: str | None) -> RecogniserCard:
    if language is None:
        return cards[0]
    primary = primary_subtag(language)
    for card in cards:
        if card.language == primary:
            return card
    there = ", ".join(dict.fromkeys(card.language for card in cards))
    raise LanguageNotInstalled(
        f"No speech recogniser of the language {primary!r} is installed; there are those of: {there}. "
        f"The operator installs {_how(primary)}."
    )


def primary_subtag(language: str) -> str:
    """Return the language of a BCP 47 tag: `en` for `EN-US` and `en_GB`."""
    return language.strip().replace("_", "-").partition("-")[0].lower()


def _how(language: str) -> str:
    for entry in manifest().values():
        if entry.card.language == language:
            return f"one by `make models MODEL={entry.card.handle}`"
    return "others by `make models`"


def _is_bundled(card: RecogniserCard) -> bool:
    return card.architecture == "moonshine"


def _is_there(card: RecogniserCard, weights_dir: Path) -> bool:
    return _is_bundled(card) or (weights_dir / card.handle / RECORD_FILE).exists()


def _as_installed(card: RecogniserCard, weights_dir: Path) -> RecogniserCard:
    if _is_bundled(card):
        return card
    digits = Record.read(weights_dir / card.handle).sha256[:8]
    return replace(card, revision=f"{card.revision}.{digits}")


def _entry(handle: str, table: dict[str, Any]) -> Entry:
    sha256 = table.pop("sha256", {})
    return Entry(RecogniserCard(handle=handle, **table), sha256)

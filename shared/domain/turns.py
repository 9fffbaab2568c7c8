"""Turns of a job that has ended, to be exported by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shared.domain.audio import Segment


@dataclass(frozen=True, kw_only=True)
class ExportedTurn:
    """Turn by the name of who speaks, perhaps with the words."""

    segment: Segment
    #: Label local to one recording, `SPEAKER_00`.
    speaker: str
    #: The label, unless the speaker was named.
    name: str
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class TurnExport:
    """Turns of a recording, in order."""

    turns: Sequence[ExportedTurn]
    #: Words, turn by turn; empty where none were asked for, or none recognised.
    transcription: Sequence[ExportedTurn] = ()

    @property
    def speakers(self) -> list[str]:
        """Labels, in order of first appearance."""
        return list(dict.fromkeys(turn.speaker for turn in self.turns))

    @property
    def captions(self) -> Sequence[ExportedTurn]:
        """Words, or else the turns, as a person reads along."""
        return self.transcription or self.turns

    def renamed(self, names: Mapping[str, str]) -> "TurnExport":
        """Return the turns with other names, by label."""
        return TurnExport(turns=_renamed(self.turns, names), transcription=_renamed(self.transcription, names))


def _renamed(turns: Sequence[ExportedTurn], names: Mapping[str, str]) -> list[ExportedTurn]:
    return [replace(turn, name=names.get(turn.speaker, turn.name)) for turn in turns]

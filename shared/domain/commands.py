"""What clients ask for. A command is a job's whole payload; the worker dispatches on its type."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from shared.domain.addresses import SafeUrl
from shared.domain.verification import OperatingPoint

MEDIA_SCHEME = "media://"
S3_SCHEME = "s3://"


@dataclass(frozen=True, kw_only=True)
class Command:
    """Something to be done with a recording."""

    kind: ClassVar[str]
    #: Where the recording is: http(s), `media://` for an upload, or `s3://`.
    url: str
    #: Handle of the model to use; None: whichever the worker runs.
    model: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", SafeUrl(self.url))


@dataclass(frozen=True, kw_only=True)
class CreateVoiceprint(Command):
    """Make the voiceprint of whoever speaks most in a recording."""

    kind = "voiceprint"


@dataclass(frozen=True, kw_only=True)
class Diarize(Command):
    """Tell who speaks when in a recording, long or short."""

    kind = "diarize"
    #: How many speakers there are at least and at most, as far as the client knows.
    min_speakers: int | None = None
    max_speakers: int | None = None
    #: Whether the result says how sure each turn is, how sure each 20 ms is, and once more without overlaps.
    turn_confidence: bool = False
    frame_confidence: bool = False
    exclusive: bool = False


@dataclass(frozen=True, kw_only=True)
class Identify(Diarize):
    """Diarize a recording and name those of its speakers whose voiceprints are given."""

    kind = "identify"
    #: Voiceprint strings by label.
    voiceprints: Mapping[str, str] = field(repr=False)
    #: Whether no two speakers may have the same label.
    exclusive_matching: bool = True
    #: Least confidence, 0 to 100, of a match.
    threshold: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Verify(Command):
    """Say whether the voice that speaks most in a recording is that of a voiceprint."""

    kind = "verify"
    voiceprint: str = field(repr=False)
    operating_point: OperatingPoint = OperatingPoint.BALANCED

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "operating_point", OperatingPoint(self.operating_point))


_KINDS: dict[str, type[Command]] = {cls.kind: cls for cls in (CreateVoiceprint, Diarize, Identify, Verify)}


def media_key(url: str) -> str | None:
    """Return the name of the upload that `url` stands for; None when it is no `media://` address."""
    return url.removeprefix(MEDIA_SCHEME) if url.startswith(MEDIA_SCHEME) else None


def to_record(command: Command) -> dict[str, Any]:
    """Return `command` as plain JSON values, for the job record."""
    return {"kind": command.kind, **asdict(command)}


def from_record(record: dict[str, Any]) -> Command:
    """Return the command that `to_record` wrote."""
    values = dict(record)
    return _KINDS[values.pop("kind")](**values)

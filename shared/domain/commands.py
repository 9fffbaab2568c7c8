"""What clients ask for. A command is a job's whole payload; the worker dispatches on its type."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from shared.domain.addresses import SafeUrl

MEDIA_SCHEME = "media://"
S3_SCHEME = "s3://"


@dataclass(frozen=True, kw_only=True)
class CreateVoiceprint:
    """Make the voiceprint of whoever speaks most in a recording."""

    kind: ClassVar[str] = "voiceprint"
    #: Where the recording is: http(s), `media://` for an upload, or `s3://`.
    url: str
    #: Handle of the model to use; None: whichever the worker runs.
    model: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", SafeUrl(self.url))


Command = CreateVoiceprint
_KINDS: dict[str, type[Command]] = {cls.kind: cls for cls in (CreateVoiceprint,)}


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

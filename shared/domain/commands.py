"""Commands: a job's whole payload, a type for each kind of job; the worker dispatches on the type."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar

from shared.domain.addresses import InvalidAddress
from shared.domain.audio import Segment
from shared.domain.errors import UrlNotAllowed
from shared.domain.sources import Source, source_name, stored_source
from shared.domain.speech import ContentRequest, PhraseRule
from shared.domain.verification import OperatingPoint
from shared.domain.voiceprints import Voiceprint


class Lane(StrEnum):
    """Lane of work: short and long jobs wait in lines of their own, and never for each other."""

    SHORT = "short"
    LONG = "long"


@dataclass(frozen=True, kw_only=True)
class Command:
    """Work on a recording, or on what was heard before."""

    kind: ClassVar[str]
    usual_lane: ClassVar[Lane] = Lane.SHORT
    source: Source | None = None
    #: Handle of the model to use; None: whichever the worker runs.
    model: str | None = None
    #: Channel that is heard, from 0, the left one; None: all as one.
    channel: int | None = None

    @property
    def sources(self) -> Sequence[Source]:
        """Recordings that it is about."""
        return (self.source,) if self.source else ()

    @property
    def lane(self) -> Lane:
        """Lane in which it waits."""
        return self.usual_lane

    @property
    def source_name(self) -> str | None:
        """Name of the recording, or of the first of several, to show to people."""
        return source_name(self.sources[0]) if self.sources else None


@dataclass(frozen=True, kw_only=True)
class RecordingCommand(Command):
    """Work on a recording."""

    source: Source


@dataclass(frozen=True, kw_only=True)
class CreateVoiceprint(RecordingCommand):
    """Make the voiceprint of a recording's dominant speaker, of another one, or of who speaks in some segments."""

    kind = "voiceprint"
    #: What is asked of the words of the recording; None: nothing.
    content: ContentRequest | None = None
    #: Label of the speaker, as another such job gives it; None: the dominant one.
    speaker: str | None = None
    #: Segments of a recording, perhaps a long one, in which one person speaks; in order and disjoint.
    segments: tuple[Segment, ...] = ()

    @property
    def lane(self) -> Lane:
        """Lane in which it waits: that of long recordings where segments are picked from one."""
        return Lane.LONG if self.segments else self.usual_lane


@dataclass(frozen=True, kw_only=True)
class Diarize(RecordingCommand):
    """Diarize a recording, long or short: who speaks when."""

    kind = "diarize"
    usual_lane = Lane.LONG
    #: How many speakers there are at least and at most, as far as the client knows.
    min_speakers: int | None = None
    max_speakers: int | None = None
    #: Whether each channel is a speaker of its own.
    each_channel: bool = False
    #: Whether the result says how sure each turn is, how sure each 20 ms is, and once more without overlaps.
    turn_confidence: bool = False
    frame_confidence: bool = False
    exclusive: bool = False
    #: Whether the result says what was said, turn by turn.
    transcription: bool = False


@dataclass(frozen=True, kw_only=True)
class Identify(Diarize):
    """Diarize a recording and name those of its speakers whose voiceprints are given."""

    kind = "identify"
    #: By label.
    voiceprints: Mapping[str, Voiceprint] = field(default_factory=dict, repr=False)
    #: Ids of enrolments by label, beside the voiceprints.
    enrolments: Mapping[str, str] = field(default_factory=dict)
    #: Id of a space, all of whose identities may be heard.
    space: str | None = None
    #: Whether no two speakers may have the same label.
    exclusive_matching: bool = True
    #: Least confidence, 0 to 100, of a match.
    threshold: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Verify(RecordingCommand):
    """Verify that a recording's dominant speaker is the person of a voiceprint."""

    kind = "verify"
    voiceprint: Voiceprint = field(repr=False)
    operating_point: OperatingPoint = OperatingPoint.BALANCED
    #: What is asked of the words of the recording; None: nothing.
    content: ContentRequest | None = None


@dataclass(frozen=True, kw_only=True)
class AddSample(RecordingCommand):
    """Hear a sample, and keep what identities need of it."""

    kind = "sample"
    #: Its id.
    sample: str
    #: Whether one that does not meet the model's requirements is refused.
    checked: bool = True
    #: Id of the growing enrolment that it is added to.
    enrolment: str | None = None


@dataclass(frozen=True, kw_only=True)
class ComputeEnrolment(Command):
    """Compute the voiceprint of an enrolment from its samples."""

    kind = "enrolment"
    #: Its id.
    enrolment: str
    #: Whether the samples are heard again first, by a newer model.
    anew: bool = False


@dataclass(frozen=True, kw_only=True)
class EnrolVoice(RecordingCommand):
    """Enrol an identity by one or more recordings, wholly or not at all; those that are unfit are left out."""

    kind = "voice_enrolment"
    #: Recordings beside `source`.
    further: tuple[Source, ...] = ()
    #: Id of the space, and of the identity.
    space: str
    identity: str
    #: Handle of the identity, which is made; None: it is there already.
    handle: str | None = None
    #: Whether only recordings are accepted that `Limits.plain_wav` describes.
    plain_wav: bool = False

    @property
    def sources(self) -> Sequence[Source]:
        """Recordings that it is about."""
        return (self.source, *self.further)


@dataclass(frozen=True, kw_only=True)
class VerifyIdentity(Command):
    """Verify that a recording, or a sample that was heard before, is of an identity."""

    kind = "identity_verification"
    #: Id of the verification, which names the enrolment and, where there is no source, the sample.
    verification: str
    #: Recordings beside `source`, of the same voice; those that are unfit are left out.
    further: tuple[Source, ...] = ()
    #: Whether only recordings are accepted that `Limits.plain_wav` describes.
    plain_wav: bool = False
    #: Whether copies are looked for among all recordings of the space, and not only among the identity's.
    whole_space: bool = False
    #: Whether an adaptive enrolment learns nothing of it, however sure it is.
    keep_enrolment: bool = False

    @property
    def sources(self) -> Sequence[Source]:
        """Recordings that it is about."""
        return (*super().sources, *self.further)


@dataclass(frozen=True, kw_only=True)
class Search(RecordingCommand):
    """Find out who of a space speaks in a recording."""

    kind = "search"
    #: Id of the space.
    space: str
    #: Most candidates.
    limit: int = 5
    #: Least confidence of a candidate, 0 to 100.
    least_confidence: int = 50


def _stored_source(text: str | None) -> Source | None:
    if text is None:
        return None
    try:
        return stored_source(text)
    except InvalidAddress as error:
        raise UrlNotAllowed(str(error)) from None


_KINDS: dict[str, type[Command]] = {
    cls.kind: cls
    for cls in (
        CreateVoiceprint,
        Diarize,
        Identify,
        Verify,
        AddSample,
        ComputeEnrolment,
        EnrolVoice,
        VerifyIdentity,
        Search,
    )
}
#: Fields that are not JSON as they are, and how they are read.
_READERS: dict[str, Callable[[Any], Any]] = {
    "source": _stored_source,
    "further": lambda texts: tuple(_stored_source(text) for text in texts),
    "segments": lambda pairs: tuple(Segment(*pair) for pair in pairs),
    "content": lambda values: values and ContentRequest(**{**values, "rule": PhraseRule(values["rule"])}),
    "voiceprint": Voiceprint.decode,
    "voiceprints": lambda texts: {label: Voiceprint.decode(text) for label, text in texts.items()},
    "operating_point": OperatingPoint,
}
_WRITERS: dict[str, Callable[[Any], Any]] = {
    "source": lambda source: source and source.text,
    "further": lambda sources: [source.text for source in sources],
    "segments": lambda segments: [[segment.start_s, segment.end_s] for segment in segments],
    "content": lambda content: content and asdict(content),
    "voiceprint": Voiceprint.encode,
    "voiceprints": lambda voiceprints: {label: one.encode() for label, one in voiceprints.items()},
}
#: Fields that make a record one of form 2: workers that do form 1 do not know them.
_SECOND_FORM = frozenset({"channel", "each_channel", "keep_enrolment", "segments", "speaker"})
#: Fields that the release before does not know; it can do the jobs in which they ask for nothing.
_NEW = _SECOND_FORM | {"content", "transcription"}


def to_record(command: Command) -> dict[str, Any]:
    """Return `command` as plain JSON values, for the job record."""
    values = {f.name: getattr(command, f.name) for f in fields(command)}
    values = {name: value for name, value in values.items() if _asks(value) or name not in _NEW}
    record = {name: _WRITERS[name](value) if name in _WRITERS else value for name, value in values.items()}
    return {"kind": command.kind, "url": record.pop("source"), **record}


def _asks(value: object) -> bool:
    """Tell whether a field asks for anything: channel 0 does."""
    return bool(value) or type(value) is int


def record_form(record: Mapping[str, Any]) -> int:
    """Return the form of a record, see `RECORD_FORM`: the oldest whose workers can do its job."""
    return 2 if _SECOND_FORM & record.keys() else 1


def from_record(record: Mapping[str, Any]) -> Command:
    """Return the command that `to_record` wrote.

    Raises
    ------
    InvalidVoiceprint, UrlNotAllowed
        Another release wrote it, which knows other voiceprints or addresses.
    """
    values = dict(record)
    kind = _KINDS[values.pop("kind")]
    values["source"] = values.pop("url")
    return kind(**{name: _READERS[name](value) if name in _READERS else value for name, value in values.items()})

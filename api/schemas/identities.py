"""Spaces and identities, and receipts of what was removed with them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from marshmallow import Schema, ValidationError, fields, missing, post_load, validate

from api.schemas.base import ID, Moment, RecordList, SpacePageQuery, Text, handle, in_future, name, space
from shared.dialects.fields import Body, Timestamp
from shared.domain import identities
from shared.domain.identities import RecordKind

_MAX_REFERENCE_LENGTH = 200
_MAX_TEXT_LENGTH = 10_000
#: Ten years.
_MAX_KEEP_S = 315_360_000
#: Clocks of clients may be fast by so much.
_CLOCK_SKEW = timedelta(minutes=1)
_PLURALS = {
    RecordKind.SPACE: "spaces",
    RecordKind.IDENTITY: "identities",
    RecordKind.SAMPLE: "samples",
    RecordKind.ENROLMENT: "enrolments",
    RecordKind.VERIFICATION: "verifications",
}
_EXPIRES = "Time at which it is removed, with everything below it."
_CONSENT = "Consent of the person. The operator may require it (`TIMBRE_REQUIRE_CONSENT`)."
_NAME = "Free text; it is sealed, so lists cannot be filtered by it."


def _not_in_future(moment: datetime) -> None:
    if moment > datetime.now(UTC) + _CLOCK_SKEW:
        raise ValidationError("Must not lie in the future.")


class ConsentRequest(Schema):
    """Consent of a person, as it is given."""

    givenAt = Moment("When it was given.", required=True, validate=_not_in_future)
    reference = Text(_MAX_REFERENCE_LENGTH, "Where the proof of it lies.", required=True)
    text = Text(_MAX_TEXT_LENGTH, "What was agreed to.", allow_none=True, load_default=None)

    @post_load
    def read(self, data: dict[str, Any], **_: Any) -> identities.Consent:
        """Return the consent as a value."""
        return identities.Consent(given_at=data["givenAt"], reference=data["reference"], text=data["text"])


def consent(**options: Any) -> fields.Nested:
    """Return the field of a consent that is given."""
    example = {"givenAt": "2026-05-04T09:30:00Z", "reference": "contract 17"}
    return fields.Nested(
        ConsentRequest, allow_none=True, metadata={"description": _CONSENT, "examples": [example]}, **options
    )


def expiry(**options: Any) -> Moment:
    """Return the field of the time at which an identity is to be removed."""
    return Moment(_EXPIRES, allow_none=True, validate=in_future, **options)


class IdentityRequest(Schema):
    """Request for an identity."""

    handle = handle("Name of your own choice, unique in the space. Left out: the id.", "grace")
    space = space()
    name = name(_NAME)
    consent = consent(load_default=None)
    expiresAt = expiry(load_default=None)


class IdentityChangeRequest(Schema):
    """Changes of an identity; what is left out stays."""

    handle = handle("Another handle.", allow_none=False, load_default=missing)
    name = name(f"{_NAME} Null removes it.", load_default=missing)
    consent = consent()
    expiresAt = expiry()


class Consent(Body):
    """Consent of a person."""

    givenAt = Timestamp(required=True, attribute="given_at")
    reference = fields.String(required=True)
    text = fields.String(required=True, allow_none=True)


class Identity(Body):
    """Person in a space."""

    identityId = fields.String(required=True, attribute="id", metadata=ID)
    handle = fields.String(required=True, metadata={"examples": ["ada"]})
    name = fields.String(required=True, allow_none=True, attribute="alias", metadata={"examples": ["Ada Lovelace"]})
    space = fields.String(required=True, metadata={"description": "Handle of the space."})
    consent = fields.Nested(Consent, required=True, allow_none=True)
    expiresAt = Timestamp(required=True, allow_none=True, attribute="expires_at")
    createdAt = Timestamp(required=True, attribute="created_at")
    samples = fields.Integer(required=True, attribute="num_samples", metadata={"description": "How many it has."})
    enrolments = fields.Integer(required=True, attribute="num_enrolments")
    verifications = fields.Integer(required=True, attribute="num_verifications")
    models = fields.List(
        fields.String(),
        required=True,
        attribute="model_ids",
        metadata={
            "description": "Models of its computed enrolments, each `handle@revision`.",
            "examples": [["ge2e@1"]],
        },
    )


class IdentityQuery(SpacePageQuery):
    """Query for a page of identities."""

    handle = handle("Only the identity of this handle.")
    withoutModel = fields.String(
        load_default=None,
        validate=[validate.Length(1, 200), validate.ContainsNoneOf("\0", error="Must not hold the character 0.")],
        metadata={
            "description": "Only identities that are enrolled, but not under this model, `handle@revision`.",
            "examples": ["ge2e@2"],
        },
    )
    stale = fields.Boolean(
        load_default=False,
        metadata={"description": "Only identities that must be enrolled again: their models are not served any more."},
    )


class IdentityList(RecordList):
    """Some identities of a space, newest first."""

    items = fields.List(fields.Nested(Identity), required=True)


class SpaceChangeRequest(Schema):
    """Changes of a space; what is left out stays."""

    name = name("Free text. Null removes it.", load_default=missing)
    keepRecordingsSeconds = fields.Integer(
        allow_none=True,
        strict=True,
        validate=validate.Range(1, _MAX_KEEP_S),
        metadata={
            "description": "How long recordings of new samples are kept, so that they can be heard again by a newer "
            "model. Null: not beyond their hearing.",
            "examples": [2_592_000],
        },
    )
    consentBasis = Text(
        _MAX_REFERENCE_LENGTH, "Legal basis for enrolling voices here; then no consent is required.", allow_none=True
    )


class Space(Body):
    """Space: identities meet only inside of one."""

    spaceId = fields.String(required=True, attribute="id", metadata=ID)
    handle = fields.String(required=True, metadata={"examples": ["default"]})
    name = fields.String(required=True, allow_none=True, attribute="alias", metadata={"examples": ["Hotline"]})
    keepRecordingsSeconds = fields.Integer(required=True, allow_none=True, attribute="keep_recordings_s")
    consentBasis = fields.String(required=True, allow_none=True, attribute="consent_basis")
    createdAt = Timestamp(required=True, attribute="created_at")
    identities = fields.Integer(required=True, attribute="num_identities", metadata={"description": "How many."})


class Counts(fields.Dict):
    """Numbers of removed records by their kinds."""

    def _serialize(self, value: Any, *_: Any, **__: Any) -> dict[str, int]:
        return {_PLURALS[kind]: number for kind, number in value.items()}


class RemovalReceipt(Body):
    """Receipt for a removed record and all below it."""

    deletedAt = Timestamp(required=True, attribute="deleted_at")
    removed = Counts(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        attribute="counts",
        metadata={
            "description": "How many records of each kind were removed.",
            "examples": [{"identities": 1, "samples": 2, "enrolments": 1, "verifications": 7}],
        },
    )


class SpaceReceipt(RemovalReceipt):
    """Receipt for a removed space."""

    spaceId = fields.String(required=True, attribute="id", metadata=ID)


class IdentityReceipt(RemovalReceipt):
    """Receipt for a removed identity."""

    identityId = fields.String(required=True, attribute="id", metadata=ID)


class SampleReceipt(RemovalReceipt):
    """Receipt for a removed sample."""

    sampleId = fields.String(required=True, attribute="id", metadata=ID)


class EnrolmentReceipt(RemovalReceipt):
    """Receipt for a removed enrolment."""

    enrolmentId = fields.String(required=True, attribute="id", metadata=ID)


class VerificationReceipt(RemovalReceipt):
    """Receipt for a removed verification."""

    verificationId = fields.String(required=True, attribute="id", metadata=ID)

"""Tables of lasting identities: spaces and what is in them, keys of what is sealed, usage and audit log.

Times are microseconds since 1970. Columns called `sealed` hold names, voices, fingerprints and results, each sealed
under the key of its record, see `records.py`.
"""

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from shared.adapters.sql.tables import Base


def _reference(column: str, on_delete: str = "CASCADE") -> ForeignKey:
    return ForeignKey(column, ondelete=on_delete)


class SpaceRow(Base):
    """Space of a client."""

    __tablename__ = "spaces"
    __table_args__ = (UniqueConstraint("client_id", "handle"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[str] = mapped_column(_reference("clients.id"))
    handle: Mapped[str]
    alias: Mapped[str | None]
    keep_recordings_s: Mapped[int | None] = mapped_column(BigInteger)
    consent_basis: Mapped[str | None]
    #: Grows with every change of a voiceprint in it.
    gallery: Mapped[int] = mapped_column(BigInteger, default=0)
    created_us: Mapped[int] = mapped_column(BigInteger)


class IdentityRow(Base):
    """Person in a space."""

    __tablename__ = "identities"
    __table_args__ = (
        UniqueConstraint("space_id", "handle"),
        Index("identities_by_age", "space_id", "created_us"),
        Index("identities_by_end", "expires_us"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    space_id: Mapped[str] = mapped_column(_reference("spaces.id"))
    handle: Mapped[str]
    #: Name and consent.
    sealed: Mapped[bytes]
    expires_us: Mapped[int | None] = mapped_column(BigInteger)
    created_us: Mapped[int] = mapped_column(BigInteger)
    #: Verifications that accepted and rejected it, ever, and the time of the last one.
    num_accepted: Mapped[int] = mapped_column(default=0, server_default="0")
    num_rejected: Mapped[int] = mapped_column(default=0, server_default="0")
    verified_us: Mapped[int | None] = mapped_column(BigInteger)


class SampleRow(Base):
    """Recording that was heard, or is to be."""

    __tablename__ = "samples"
    __table_args__ = (
        UniqueConstraint("space_id", "handle"),
        Index("samples_by_age", "space_id", "created_us"),
        Index("samples_by_state", "state", "since_us"),
        Index("samples_by_end", "kept_until_us"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    space_id: Mapped[str] = mapped_column(_reference("spaces.id"))
    identity_id: Mapped[str | None] = mapped_column(_reference("identities.id"), index=True)
    handle: Mapped[str]
    state: Mapped[str]
    job_id: Mapped[str | None]
    #: Time of its state.
    since_us: Mapped[int] = mapped_column(BigInteger)
    #: Name.
    sealed: Mapped[bytes]
    sealed_voice: Mapped[bytes | None]
    sealed_trace: Mapped[bytes | None]
    #: Keyed hash of the decoded sound; None for a sample of a release that had none.
    sound: Mapped[bytes | None] = mapped_column(index=True)
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    kept_until_us: Mapped[int | None] = mapped_column(BigInteger)
    created_us: Mapped[int] = mapped_column(BigInteger)
    uploaded_us: Mapped[int | None] = mapped_column(BigInteger)


class EnrolmentRow(Base):
    """Enrolment of an identity."""

    __tablename__ = "enrolments"
    __table_args__ = (
        UniqueConstraint("identity_id", "handle"),
        Index("enrolments_by_age", "space_id", "created_us"),
        Index("enrolments_by_state", "state", "since_us"),
        # It holds all that a search of the space asks of enrolments that it knows already.
        Index("enrolments_by_model", "space_id", "model_id", "identity_id", "id", "version"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    space_id: Mapped[str] = mapped_column(_reference("spaces.id"))
    identity_id: Mapped[str] = mapped_column(_reference("identities.id"))
    handle: Mapped[str]
    kind: Mapped[str]
    adaptive: Mapped[bool]
    state: Mapped[str]
    since_us: Mapped[int] = mapped_column(BigInteger)
    #: As the client called it.
    model: Mapped[str]
    model_id: Mapped[str | None]
    min_samples: Mapped[int]
    version: Mapped[int] = mapped_column(default=0)
    job_id: Mapped[str | None]
    #: Name and warning.
    sealed: Mapped[bytes]
    sealed_voiceprint: Mapped[bytes | None]
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    audio_s: Mapped[float] = mapped_column(default=0.0)
    speech_s: Mapped[float] = mapped_column(default=0.0)
    created_us: Mapped[int] = mapped_column(BigInteger)
    computed_us: Mapped[int | None] = mapped_column(BigInteger)


class PartRow(Base):
    """Sample of an enrolment."""

    __tablename__ = "enrolment_parts"

    enrolment_id: Mapped[str] = mapped_column(_reference("enrolments.id"), primary_key=True)
    sample_id: Mapped[str] = mapped_column(_reference("samples.id"), primary_key=True, index=True)
    added_us: Mapped[int] = mapped_column(BigInteger)


class VerificationRow(Base):
    """Verification of a recording against an enrolment."""

    __tablename__ = "verifications"
    __table_args__ = (
        UniqueConstraint("space_id", "handle"),
        Index("verifications_by_age", "space_id", "created_us"),
        Index("verifications_by_state", "state", "created_us"),
        Index("verifications_of_identity", "identity_id", "created_us"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    space_id: Mapped[str] = mapped_column(_reference("spaces.id"))
    identity_id: Mapped[str] = mapped_column(_reference("identities.id"))
    enrolment_id: Mapped[str | None] = mapped_column(_reference("enrolments.id", "SET NULL"), index=True)
    sample_id: Mapped[str | None] = mapped_column(_reference("samples.id", "SET NULL"), index=True)
    handle: Mapped[str]
    state: Mapped[str]
    mode: Mapped[str]
    operating_point: Mapped[str]
    least_llr: Mapped[float | None]
    model: Mapped[str]
    model_id: Mapped[str]
    job_id: Mapped[str]
    #: Name.
    sealed: Mapped[bytes]
    sealed_result: Mapped[bytes | None]
    sealed_trace: Mapped[bytes | None]
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    created_us: Mapped[int] = mapped_column(BigInteger)
    performed_us: Mapped[int | None] = mapped_column(BigInteger)


class VerifiedSoundRow(Base):
    """Keyed hash of the decoded sound of a verification's recording, of which it may have several."""

    __tablename__ = "verified_sounds"

    verification_id: Mapped[str] = mapped_column(_reference("verifications.id"), primary_key=True)
    sound: Mapped[bytes] = mapped_column(primary_key=True, index=True)


class PendingVoiceRow(Base):
    """Right of a job to enrol a voice, once, and who asked for it."""

    __tablename__ = "pending_voices"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    space_id: Mapped[str] = mapped_column(_reference("spaces.id"), index=True)
    client_id: Mapped[str]
    key_id: Mapped[str]
    request_id: Mapped[str]
    created_us: Mapped[int] = mapped_column(BigInteger, index=True)


class LeftRecordingRow(Base):
    """Recording whose sample is gone, and which housekeeping is still to remove."""

    __tablename__ = "left_recordings"

    sample_id: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[str]


class KeyRow(Base):
    """Key of one record, sealed under the server's; it goes with its record.

    It stands apart from what it seals: a backup of the other tables cannot be read once the record is gone.
    """

    __tablename__ = "record_keys"

    #: Id of the record.
    id: Mapped[str] = mapped_column(primary_key=True)
    sealed: Mapped[bytes]
    identity_id: Mapped[str | None] = mapped_column(_reference("identities.id"), index=True)
    sample_id: Mapped[str | None] = mapped_column(_reference("samples.id"), index=True)
    enrolment_id: Mapped[str | None] = mapped_column(_reference("enrolments.id"), index=True)
    verification_id: Mapped[str | None] = mapped_column(_reference("verifications.id"), index=True)


class NotedJobRow(Base):
    """Job about an identity, which is ended or removed along with it."""

    __tablename__ = "identity_jobs"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    identity_id: Mapped[str] = mapped_column(_reference("identities.id"), primary_key=True, index=True)
    client_id: Mapped[str]
    noted_us: Mapped[int] = mapped_column(BigInteger, index=True)


class UsageRow(Base):
    """Use that was counted; it names records, and outlives them."""

    __tablename__ = "usage_records"
    __table_args__ = (Index("usage_by_time", "client_id", "at_us"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    model_id: Mapped[str]
    space_id: Mapped[str]
    subject_id: Mapped[str]
    seconds: Mapped[float]
    client_id: Mapped[str]
    key_id: Mapped[str]
    at_us: Mapped[int] = mapped_column(BigInteger, index=True)


class AuditRow(Base):
    """Entry of the audit log."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("audit_by_time", "client_id", "at_us"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    at_us: Mapped[int] = mapped_column(BigInteger, index=True)
    client_id: Mapped[str]
    key_id: Mapped[str]
    request_id: Mapped[str]
    action: Mapped[str]
    kind: Mapped[str]
    record_id: Mapped[str]

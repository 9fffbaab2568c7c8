"""Lasting identities: spaces and what is in them, keys, usage and audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
#: Completes the sentence that a downgrade loses these things.
loses = "all spaces with their identities, samples, enrolments and verifications, the usage and the audit log"

_TABLES = (
    "audit_log",
    "usage_records",
    "spaces",
    "identities",
    "enrolments",
    "identity_jobs",
    "samples",
    "enrolment_parts",
    "verifications",
    "record_keys",
)


def upgrade() -> None:
    """Create the tables, each after those that it refers to."""
    _make_audit_log()
    _make_usage_records()
    _make_spaces()
    _make_identities()
    _make_enrolments()
    _make_identity_jobs()
    _make_samples()
    _make_enrolment_parts()
    _make_verifications()
    _make_record_keys()


def _make_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("audit_by_time", "audit_log", ["client_id", "at_us"])
    op.create_index("ix_audit_log_at_us", "audit_log", ["at_us"])


def _make_usage_records() -> None:
    op.create_table(
        "usage_records",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("space_id", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_usage_records_at_us", "usage_records", ["at_us"])
    op.create_index("usage_by_time", "usage_records", ["client_id", "at_us"])


def _make_spaces() -> None:
    op.create_table(
        "spaces",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("handle", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=True),
        sa.Column("keep_recordings_s", sa.BigInteger(), nullable=True),
        sa.Column("consent_basis", sa.String(), nullable=True),
        sa.Column("gallery", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("client_id", "handle"),
    )


def _make_identities() -> None:
    op.create_table(
        "identities",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("space_id", sa.String(), nullable=False),
        sa.Column("handle", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["space_id"], ["spaces.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("space_id", "handle"),
    )
    op.create_index("identities_by_age", "identities", ["space_id", "created_us"])
    op.create_index("identities_by_end", "identities", ["expires_us"])


def _make_enrolments() -> None:
    op.create_table(
        "enrolments",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("space_id", sa.String(), nullable=False),
        sa.Column("identity_id", sa.String(), nullable=False),
        sa.Column("handle", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("adaptive", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=True),
        sa.Column("min_samples", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_voiceprint", sa.LargeBinary(), nullable=True),
        sa.Column("failure_code", sa.String(), nullable=True),
        sa.Column("failure_message", sa.String(), nullable=True),
        sa.Column("audio_s", sa.Double(), nullable=False),
        sa.Column("speech_s", sa.Double(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("computed_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["identity_id"], ["identities.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["space_id"], ["spaces.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("identity_id", "handle"),
    )
    op.create_index("enrolments_by_age", "enrolments", ["space_id", "created_us"])
    op.create_index("enrolments_by_model", "enrolments", ["space_id", "model_id", "identity_id", "id", "version"])
    op.create_index("enrolments_by_state", "enrolments", ["state", "since_us"])


def _make_identity_jobs() -> None:
    op.create_table(
        "identity_jobs",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("identity_id", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("noted_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["identity_id"], ["identities.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "identity_id"),
    )
    op.create_index("ix_identity_jobs_identity_id", "identity_jobs", ["identity_id"])
    op.create_index("ix_identity_jobs_noted_us", "identity_jobs", ["noted_us"])


def _make_samples() -> None:
    op.create_table(
        "samples",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("space_id", sa.String(), nullable=False),
        sa.Column("identity_id", sa.String(), nullable=True),
        sa.Column("handle", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_voice", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_trace", sa.LargeBinary(), nullable=True),
        sa.Column("failure_code", sa.String(), nullable=True),
        sa.Column("failure_message", sa.String(), nullable=True),
        sa.Column("kept_until_us", sa.BigInteger(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("uploaded_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["identity_id"], ["identities.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["space_id"], ["spaces.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("space_id", "handle"),
    )
    op.create_index("ix_samples_identity_id", "samples", ["identity_id"])
    op.create_index("samples_by_age", "samples", ["space_id", "created_us"])
    op.create_index("samples_by_end", "samples", ["kept_until_us"])
    op.create_index("samples_by_state", "samples", ["state", "since_us"])


def _make_enrolment_parts() -> None:
    op.create_table(
        "enrolment_parts",
        sa.Column("enrolment_id", sa.String(), nullable=False),
        sa.Column("sample_id", sa.String(), nullable=False),
        sa.Column("added_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["enrolment_id"], ["enrolments.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("enrolment_id", "sample_id"),
    )
    op.create_index("ix_enrolment_parts_sample_id", "enrolment_parts", ["sample_id"])


def _make_verifications() -> None:
    op.create_table(
        "verifications",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("space_id", sa.String(), nullable=False),
        sa.Column("identity_id", sa.String(), nullable=False),
        sa.Column("enrolment_id", sa.String(), nullable=True),
        sa.Column("sample_id", sa.String(), nullable=True),
        sa.Column("handle", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("operating_point", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_result", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_trace", sa.LargeBinary(), nullable=True),
        sa.Column("failure_code", sa.String(), nullable=True),
        sa.Column("failure_message", sa.String(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("performed_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["enrolment_id"], ["enrolments.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["identity_id"], ["identities.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["space_id"], ["spaces.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("space_id", "handle"),
    )
    op.create_index("ix_verifications_enrolment_id", "verifications", ["enrolment_id"])
    op.create_index("ix_verifications_sample_id", "verifications", ["sample_id"])
    op.create_index("verifications_by_age", "verifications", ["space_id", "created_us"])
    op.create_index("verifications_by_state", "verifications", ["state", "created_us"])
    op.create_index("verifications_of_identity", "verifications", ["identity_id", "created_us"])


def _make_record_keys() -> None:
    op.create_table(
        "record_keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("identity_id", sa.String(), nullable=True),
        sa.Column("sample_id", sa.String(), nullable=True),
        sa.Column("enrolment_id", sa.String(), nullable=True),
        sa.Column("verification_id", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["enrolment_id"], ["enrolments.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["identity_id"], ["identities.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["verification_id"], ["verifications.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_record_keys_enrolment_id", "record_keys", ["enrolment_id"])
    op.create_index("ix_record_keys_identity_id", "record_keys", ["identity_id"])
    op.create_index("ix_record_keys_sample_id", "record_keys", ["sample_id"])
    op.create_index("ix_record_keys_verification_id", "record_keys", ["verification_id"])


def downgrade() -> None:
    """Drop the tables."""
    for table in reversed(_TABLES):
        op.drop_table(table)

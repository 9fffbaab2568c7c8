"""Voices enrolled by one job, the sound of recordings, decisions about identities, and keys of one space."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
#: Completes the sentence that a downgrade loses these things.
loses = (
    "keys of user groups, waiting jobs that enrol voices, counts of decisions, and the hashes by which copies of sound "
    "are found"
)


def upgrade() -> None:
    """Add tables and columns; the release before writes rows without them."""
    _make_pending_voices()
    _make_left_recordings()
    _make_verified_sounds()
    op.add_column("samples", sa.Column("sound", sa.LargeBinary(), nullable=True))
    op.create_index("ix_samples_sound", "samples", ["sound"])
    op.add_column("verifications", sa.Column("least_llr", sa.Double(), nullable=True))
    for name in ("num_accepted", "num_rejected"):
        op.add_column("identities", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("identities", sa.Column("verified_us", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("api_keys") as table:
        table.add_column(sa.Column("space_id", sa.String(), nullable=True))
        table.create_foreign_key("api_keys_space_id_fkey", "spaces", ["space_id"], ["id"], ondelete="CASCADE")
    op.create_index("ix_api_keys_space_id", "api_keys", ["space_id"])


def _make_pending_voices() -> None:
    op.create_table(
        "pending_voices",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("space_id", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["space_id"], ["spaces.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_index("ix_pending_voices_space_id", "pending_voices", ["space_id"])
    op.create_index("ix_pending_voices_created_us", "pending_voices", ["created_us"])


def _make_left_recordings() -> None:
    op.create_table(
        "left_recordings",
        sa.Column("sample_id", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("sample_id"),
    )


def _make_verified_sounds() -> None:
    op.create_table(
        "verified_sounds",
        sa.Column("verification_id", sa.String(), nullable=False),
        sa.Column("sound", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["verification_id"], ["verifications.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("verification_id", "sound"),
    )
    op.create_index("ix_verified_sounds_sound", "verified_sounds", ["sound"])


def downgrade() -> None:
    """Drop them; a key of one space would open the whole client to the release before."""
    op.execute("DELETE FROM api_keys WHERE space_id IS NOT NULL")
    op.drop_index("ix_api_keys_space_id", "api_keys")
    with op.batch_alter_table("api_keys") as table:
        table.drop_constraint("api_keys_space_id_fkey", type_="foreignkey")
        table.drop_column("space_id")
    # Tables that others refer to are not made anew.
    for name in ("verified_us", "num_rejected", "num_accepted"):
        op.drop_column("identities", name)
    op.drop_column("verifications", "least_llr")
    op.drop_index("ix_samples_sound", "samples")
    op.drop_column("samples", "sound")
    for name in ("verified_sounds", "left_recordings", "pending_voices"):
        op.drop_table(name)

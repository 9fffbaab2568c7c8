"""Webhook secrets."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
#: Completes the sentence that a downgrade loses these things.
loses = "all webhook secrets"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "webhook_secrets",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("client_id", sa.String(), sa.ForeignKey("clients.id"), nullable=False, index=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("shown", sa.Boolean(), nullable=False),
    )
    newest = sa.text("expires_at IS NULL")
    op.create_index(
        "one_newest_secret", "webhook_secrets", ["client_id"], unique=True, sqlite_where=newest, postgresql_where=newest
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("webhook_secrets")

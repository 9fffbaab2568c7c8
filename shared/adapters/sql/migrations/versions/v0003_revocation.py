"""Keys and clients that end."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
#: Completes the sentence that a downgrade loses these things.
loses = "the ends of keys and clients, so that revoked ones work again"


def upgrade() -> None:
    """Add the times."""
    op.add_column("clients", sa.Column("revoked_at", sa.Double(), nullable=True))
    op.add_column("api_keys", sa.Column("expires_at", sa.Double(), nullable=True))


def downgrade() -> None:
    """Drop the times."""
    with op.batch_alter_table("api_keys") as table:
        table.drop_column("expires_at")
    with op.batch_alter_table("clients") as table:
        table.drop_column("revoked_at")

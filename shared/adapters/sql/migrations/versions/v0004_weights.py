"""Weights of clients."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
#: Completes the sentence that a downgrade loses these things.
loses = "the weights of clients"


def upgrade() -> None:
    """Add the column; every client has one turn a round."""
    op.add_column("clients", sa.Column("weight", sa.Integer(), nullable=False, server_default="1"))


def downgrade() -> None:
    """Drop the column."""
    with op.batch_alter_table("clients") as table:
        table.drop_column("weight")

"""Tables of clients, their API keys and their webhook secrets."""

from datetime import UTC, datetime

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_NEWEST = text("expires_at IS NULL")


def _now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Base class of the tables."""


class ClientRow(Base):
    """Client of the API."""

    __tablename__ = "clients"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(default=_now)
    #: Unix seconds; empty while the client may call.
    revoked_at: Mapped[float | None]
    #: Turns that its jobs have in a round of all clients that wait.
    weight: Mapped[int] = mapped_column(default=1, server_default="1")


class ApiKeyRow(Base):
    """API key of a client, as its keyed hash."""

    __tablename__ = "api_keys"

    key_hash: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("clients.id"), index=True)
    #: The only space that it is good for; None for all of the client.
    space_id: Mapped[str | None] = mapped_column(ForeignKey("spaces.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=_now)
    #: Unix seconds, in the past for a revoked key; empty for one that does not expire.
    expires_at: Mapped[float | None]


class WebhookSecretRow(Base):
    """Webhook secret of a client, sealed; it signs until it expires."""

    __tablename__ = "webhook_secrets"

    id: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("clients.id"), index=True)
    sealed: Mapped[bytes]
    #: Unix seconds; empty for the newest.
    expires_at: Mapped[float | None]
    #: False until its client was shown it; until then it may be replaced at once.
    shown: Mapped[bool]

    # Two rotations at once must not leave two secrets without an end.
    __table_args__ = (
        Index(
            "one_newest_secret",
            "client_id",
            unique=True,
            sqlite_where=_NEWEST,
            postgresql_where=_NEWEST,
        ),
    )

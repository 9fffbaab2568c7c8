"""Administration of clients, their API keys and their webhook secrets, by an operator."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from shared.adapters.sql.clients import SqlClients, lock_secrets
from shared.adapters.sql.database import forget_log, writing
from shared.adapters.sql.record_tables import SpaceRow
from shared.adapters.sql.tables import ApiKeyRow, ClientRow, WebhookSecretRow
from shared.domain.errors import KeyEndedError, UnknownNameError
from shared.domain.keys import ID_LENGTH, key_hash


@dataclass(frozen=True, kw_only=True)
class Entry:
    """API key or webhook secret, as lists show it."""

    client: str
    client_id: str
    kind: str
    id: str
    created_at: datetime | None
    #: Time of its end, past or to come; None when it has none.
    ends_at: datetime | None
    live: bool
    #: Turns of the client in a round of all clients that wait.
    weight: int
    #: Handle of the only space that a key is good for; None for all of the client.
    group: str | None = None


class Administration:
    """Operations on clients that no client may do itself, on the database of `SqlClients`."""

    def __init__(self, engine: Engine, secret: bytes) -> None:
        self._engine = engine
        self._writing = writing(engine)
        self._pepper = secret
        self._clients = SqlClients(engine, secret)

    def create_key(self, name: str) -> str:
        """Make an API key for the client called `name`, and the client if it is new; returns the key."""
        return self._clients.create_key(name)

    def create_group_key(self, name: str, group: str) -> str:
        """Make an API key for one user group, a space, of a client; both are made where they are new."""
        return self._clients.create_group_key(name, group)

    def key_id(self, key: str) -> str:
        """Return the id that lists show for an API key."""
        return key_hash(key, self._pepper)[:ID_LENGTH]

    def entries(self) -> list[Entry]:
        """List all keys and webhook secrets, by client, oldest first."""
        with Session(self._engine) as session:
            groups = dict(session.execute(select(SpaceRow.id, SpaceRow.handle).join(ApiKeyRow)).all())
            keys = session.execute(select(ApiKeyRow, ClientRow).join(ClientRow)).all()
            secrets = session.execute(select(WebhookSecretRow, ClientRow).join(ClientRow)).all()
            found = [_key_entry(key, client, groups.get(key.space_id or "")) for key, client in keys]
            found += [_secret_entry(secret, client) for secret, client in secrets]
        return sorted(found, key=lambda entry: (entry.client, entry.kind, str(entry.created_at), entry.id))

    def rotate_key(self, key_id: str, overlap_s: float) -> str:
        """Make another key for the same client, and group, and return it; the old one works for `overlap_s` more.

        Raises
        ------
        UnknownNameError, KeyEndedError
        """
        with Session(self._writing) as session, session.begin():
            key = _key(session, key_id)
            client = session.get_one(ClientRow, key.client_id)
            if not _is_live(key, client):
                raise KeyEndedError(f"The API key {key_id} has ended; `create` makes a new one for {client.name}.")
            self._end(key, overlap_s)
            return self._clients.add_key(session, client.id, key.space_id)

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key: whoever looks it up from now on finds that it has ended.

        Raises
        ------
        UnknownNameError
        """
        with Session(self._writing) as session, session.begin():
            self._end(_key(session, key_id), 0.0)

    def revoke_client(self, name: str) -> None:
        """Revoke a client and all its keys, likewise.

        Raises
        ------
        UnknownNameError
        """
        with Session(self._writing) as session, session.begin():
            client = _client(session, name)
            client.revoked_at = time.time()
            for key in session.scalars(select(ApiKeyRow).where(ApiKeyRow.client_id == client.id)):
                self._end(key, 0.0)

    def client_id(self, name: str) -> str:
        """Return the id of a client.

        Raises
        ------
        UnknownNameError
        """
        with Session(self._engine) as session:
            return _client(session, name).id

    def delete_client(self, client_id: str) -> dict[str, int]:
        """Delete a client with its keys and webhook secrets; returns how many of these there were."""
        with Session(writing(self._engine)) as session, session.begin():
            lock_secrets(session, client_id)
            tables = {"keys": ApiKeyRow, "webhook secrets": WebhookSecretRow}
            counts = {name: _delete_of(session, table, client_id) for name, table in tables.items()}
            session.execute(delete(ClientRow).where(ClientRow.id == client_id))
        forget_log(self._engine)
        return counts

    def weigh(self, name: str, weight: int) -> None:
        """Weigh a client: its jobs, posted from now on, have so many turns when those of others have one.

        Raises
        ------
        UnknownNameError
        """
        with Session(self._writing) as session, session.begin():
            _client(session, name).weight = weight

    def rotate_secret(self, name: str, overlap_s: float) -> str:
        """Make a webhook secret for a client and return it; the one before signs for `overlap_s` more.

        Raises
        ------
        UnknownNameError, SecretRotating
        """
        with Session(self._engine) as session:
            client_id = _client(session, name).id
        return self._clients.rotate_webhook_secret(client_id, overlap_s)

    def revoke_secrets(self, name: str) -> str:
        """Revoke all webhook secrets of a client at once, and return a new one.

        Raises
        ------
        UnknownNameError
        """
        with Session(self._writing) as session, session.begin():
            client_id = _client(session, name).id
            lock_secrets(session, client_id)
            session.execute(delete(WebhookSecretRow).where(WebhookSecretRow.client_id == client_id))
            return self._clients.add_secret(session, client_id, shown=True)

    def _end(self, key: ApiKeyRow, after_s: float) -> None:
        ends_at = time.time() + after_s
        key.expires_at = min(ends_at, key.expires_at or ends_at)


def _delete_of(session: Session, table: Any, client_id: str) -> int:
    rows = session.scalars(select(table).where(table.client_id == client_id)).all()
    for row in rows:
        session.delete(row)
    session.flush()
    return len(rows)


def _client(session: Session, name: str) -> ClientRow:
    found = session.scalar(select(ClientRow).where(ClientRow.name == name))
    if found is None:
        raise UnknownNameError(f"There is no client called {name}.")
    return found


def _key(session: Session, key_id: str) -> ApiKeyRow:
    starting = ApiKeyRow.key_hash.startswith(key_id, autoescape=True)
    found = session.scalars(select(ApiKeyRow).where(starting).limit(2)).all()
    if len(found) != 1 or len(key_id) < ID_LENGTH:
        raise UnknownNameError(f"There is no API key with the id {key_id}; `list` shows them.")
    return found[0]


def _key_entry(key: ApiKeyRow, client: ClientRow, group: str | None) -> Entry:
    return Entry(
        client=client.name,
        client_id=client.id,
        kind="key",
        id=key.key_hash[:ID_LENGTH],
        created_at=key.created_at,
        ends_at=_datetime(key.expires_at),
        live=_is_live(key, client),
        weight=client.weight,
        group=group,
    )


def _is_live(key: ApiKeyRow, client: ClientRow) -> bool:
    return client.revoked_at is None and not _is_past(key.expires_at)


def _secret_entry(secret: WebhookSecretRow, client: ClientRow) -> Entry:
    return Entry(
        client=client.name,
        client_id=client.id,
        kind="webhook secret",
        id=str(secret.id),
        created_at=None,
        ends_at=_datetime(secret.expires_at),
        live=not _is_past(secret.expires_at),
        weight=client.weight,
    )


def _datetime(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _is_past(seconds: float | None) -> bool:
    return seconds is not None and seconds <= time.time()

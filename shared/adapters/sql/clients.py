"""Clients, their API keys and webhook secrets in SQL."""

import hmac
import math
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from sqlalchemy import Engine, delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shared.adapters.remembering import remembered
from shared.adapters.sealing import Sealer
from shared.adapters.sql.database import writing
from shared.adapters.sql.record_tables import SpaceRow
from shared.adapters.sql.records import note, now_us
from shared.adapters.sql.tables import ApiKeyRow, ClientRow, WebhookSecretRow
from shared.dialects.signatures import new_secret
from shared.domain.errors import SealBroken, SecretRotating
from shared.domain.identities import Action, Actor, RecordKind, new_id
from shared.domain.keys import GROUP_PREFIX, ID_LENGTH, Client, is_well_formed, key_hash, new_key


class SqlClients:
    """Clients in a migrated database.

    The server secret keys the hashes of API keys and seals webhook secrets. For `remember_s` a key's client is not
    looked up again, so that a revoked key lives as much longer.
    """

    def __init__(self, engine: Engine, secret: bytes, *, remember_s: float = 0.0) -> None:
        self._engine = engine
        self._writing = writing(engine)
        self._client_of = remembered(self._find, remember_s) if remember_s else self._find
        self._pepper = secret
        self._sealer = Sealer(secret, "webhook secrets")

    def authenticate(self, key: str) -> Client | None:
        """Return the client of an API key; None when the key is unknown or has ended.

        So it is for a user group key.
        """
        return self.holder(key_hash(key, self._pepper)) if is_well_formed(key) else None

    def authenticate_group(self, key: str) -> Client | None:
        """Return the client of a user group key, with the group's space; None when it is unknown or has ended.

        It is a key of `create_group_key`, and no other.
        """
        return self._client_of(key_hash(key, self._pepper)) if is_well_formed(key, GROUP_PREFIX) else None

    def holder(self, digest: str) -> Client | None:
        """Return the client of an API key by the key's hash, `key_hash`; None as `authenticate` does."""
        client = self._client_of(digest)
        return client if client is not None and client.space_id is None else None

    def holder_of(self, client_id: str, key_id: str) -> Client | None:
        """Return a client by its id and that of an API key; None when the key has ended.

        It is looked up each time.
        """
        of_client = ApiKeyRow.key_hash.startswith(key_id, autoescape=True) & (ApiKeyRow.client_id == client_id)
        with Session(self._engine) as session:
            digest = session.scalar(select(ApiKeyRow.key_hash).where(of_client))
        return self._find(digest) if digest else None

    def _find(self, digest: str) -> Client | None:
        live = or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > time.time())
        found = select(ApiKeyRow, ClientRow).join(ClientRow)
        with Session(self._engine) as session:
            row = session.execute(
                found.where(ApiKeyRow.key_hash == digest, live, ClientRow.revoked_at.is_(None))
            ).first()
            # Compared again in constant time, which the database's comparison is not.
            if row is None or not hmac.compare_digest(row[0].key_hash, digest):
                return None
            key, client = row
            return Client(client.id, client.name, client.weight, key.space_id, key_id=digest[:ID_LENGTH])

    def may_call(self, client_id: str) -> bool:
        """Say whether the client exists and was not revoked."""
        with Session(self._engine) as session:
            return _is_live(session, client_id)

    def rotate_webhook_secret(self, client_id: str, overlap_s: float) -> str:
        """Make a webhook secret and return it; it is not shown again. The one before signs for `overlap_s` more.

        An overlap of 0 ends all earlier secrets at once.

        Raises
        ------
        SecretRotating
            Two secrets sign already, and a third would cut the oldest off early.
        """
        with Session(self._writing) as session, session.begin():
            lock_secrets(session, client_id)
            # A secret that nobody was shown signs for nobody.
            mine = WebhookSecretRow.client_id == client_id
            session.execute(delete(WebhookSecretRow).where(mine, WebhookSecretRow.shown.is_(False)))
            self._end_secrets(session, client_id, overlap_s)
            return self.add_secret(session, client_id, shown=True)

    def _end_secrets(self, session: Session, client_id: str, overlap_s: float) -> None:
        now = time.time()
        for row in self._signing(session, client_id, now):
            if not self._unseals(row):
                session.delete(row)
        signing = self._signing(session, client_id, now)
        if len(signing) > 1 and overlap_s > 0:
            raise _rotating(min(row.expires_at for row in signing if row.expires_at))
        for row in signing:
            row.expires_at = now + overlap_s
        session.flush()

    def webhook_secrets(self, client_id: str) -> list[str]:
        """Return the secrets that sign a client's webhooks now, oldest first; none for a revoked client."""
        with Session(self._engine) as session:
            rows = self._signing(session, client_id, time.time()) if _is_live(session, client_id) else []
            return [self._sealer.unseal(row.sealed, client_id).decode() for row in rows]

    def _unseals(self, row: WebhookSecretRow) -> bool:
        """Say whether a secret can be unsealed; one sealed under another server secret can not."""
        try:
            self._sealer.unseal(row.sealed, row.client_id)
        except SealBroken:
            return False
        return True

    def _signing(self, session: Session, client_id: str, now: float) -> Sequence[WebhookSecretRow]:
        live = or_(WebhookSecretRow.expires_at.is_(None), WebhookSecretRow.expires_at > now)
        found = select(WebhookSecretRow).where(WebhookSecretRow.client_id == client_id, live)
        return session.scalars(found.order_by(WebhookSecretRow.id)).all()

    def add_secret(self, session: Session, client_id: str, *, shown: bool) -> str:
        """Add a webhook secret in `session`; returns the secret."""
        secret = new_secret()
        sealed = self._sealer.seal(secret.encode(), client_id)
        session.add(WebhookSecretRow(client_id=client_id, sealed=sealed, shown=shown))
        return secret

    def is_empty(self) -> bool:
        """Say whether there are no clients."""
        with Session(self._engine) as session:
            return session.scalar(select(ClientRow.id).limit(1)) is None

    def create_key(self, name: str) -> str:
        """Make an API key for the client called `name`; returns the key, which is not kept.

        A new client is made; a revoked client may call again.
        """
        with Session(self._writing) as session, session.begin():
            return self.add_key(session, self._living_client(session, name).id)

    def create_group_key(self, name: str, group: str) -> str:
        """Make an API key for one user group, a space, of the client called `name`; returns the key.

        It is not kept. Client and space are made where they are new; a revoked client may call again.

        Parameters
        ----------
        group : handle of the space.
        """
        with Session(self._writing) as session, session.begin():
            client = self._living_client(session, name)
            mine = (SpaceRow.client_id == client.id) & (SpaceRow.handle == group)
            space_id = session.scalar(select(SpaceRow.id).where(mine)) or _add_space(session, client.id, group)
            return self.add_key(session, client.id, space_id)

    def _living_client(self, session: Session, name: str) -> ClientRow:
        """Return the client called `name`, locked and not revoked, made where it is new."""
        client = session.scalar(select(ClientRow).where(ClientRow.name == name).with_for_update())
        if client is None:
            client = self._add_client(session, name)
        client.revoked_at = None
        return client

    def _add_client(self, session: Session, name: str) -> ClientRow:
        client = ClientRow(id=uuid.uuid4().hex, name=name)
        session.add(client)
        session.flush()
        self.add_secret(session, client.id, shown=False)
        return client

    def add_key(self, session: Session, client_id: str, space_id: str | None = None) -> str:
        """Add an API key in `session`, for one space alone where one is given; returns the key."""
        key = new_key(GROUP_PREFIX) if space_id else new_key()
        session.add(ApiKeyRow(key_hash=key_hash(key, self._pepper), client_id=client_id, space_id=space_id))
        return key

    def create_first_key(self, keep: Callable[[str], None]) -> None:
        """Make the first client and call `keep` with its key, unless there is a client.

        The client is stored only after `keep` has returned. Of several processes at once, one stores it.
        """
        if not self.is_empty():
            return
        with suppress(IntegrityError), Session(self._writing) as session, session.begin():
            key = self.add_key(session, self._add_client(session, "default").id)
            session.flush()
            keep(key)


def _add_space(session: Session, client_id: str, handle: str) -> str:
    row = SpaceRow(id=new_id(), client_id=client_id, handle=handle, created_us=now_us())
    session.add(row)
    session.flush()
    note(session, Actor(client_id=client_id), Action.CREATE, RecordKind.SPACE, row.id)
    return row.id


def _is_live(session: Session, client_id: str) -> bool:
    live = select(ClientRow.id).where(ClientRow.id == client_id, ClientRow.revoked_at.is_(None))
    return session.scalar(live) is not None


def lock_secrets(session: Session, client_id: str) -> None:
    """Lock a client's webhook secrets until the transaction ends."""
    # SQLite knows no such lock; its transactions write one after the other.
    session.execute(select(ClientRow.id).where(ClientRow.id == client_id).with_for_update())


def _rotating(until: float) -> SecretRotating:
    time_utc = datetime.fromtimestamp(math.ceil(until), UTC)
    return SecretRotating(
        f"Two secrets sign until {time_utc:%Y-%m-%dT%H:%M:%SZ}. Rotate again after that; "
        "or now with an overlap of 0 s, which ends both at once."
    )

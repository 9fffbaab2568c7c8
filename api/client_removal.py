"""Removal of a client with all that is kept for it, by an operator."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from api.services import REVOKED_WITHIN_S
from shared.adapters.celery_queue import CeleryQueue, celery_app
from shared.adapters.media import open_media, open_recordings
from shared.adapters.redis_client import connect
from shared.adapters.redis_deliveries import RedisDeliveries
from shared.adapters.redis_jobs import open_jobs
from shared.adapters.sealing import Envelope
from shared.adapters.sql.administration import Administration
from shared.adapters.sql.database import open_database
from shared.adapters.sql.enrolments import SqlEnrolments
from shared.adapters.sql.spaces import SqlSpaces
from shared.dialects import speak
from shared.domain.errors import NotFound
from shared.domain.jobs import JobCursor, PageQuery
from shared.identity_service import IdentityService
from shared.job_service import JobService
from shared.settings import Settings

#: Records that one step looks at.
_MOST = 100


@dataclass(frozen=True, kw_only=True)
class ClientRemoval:
    """Removes clients: their jobs and uploads, spaces and all in them, usage, audit log, keys and secrets."""

    administration: Administration
    identities: IdentityService
    jobs: JobService
    pause: Callable[[float], None] = time.sleep

    @classmethod
    def from_settings(cls, settings: Settings) -> "ClientRemoval":
        """Connect to what `settings` names; the database is migrated first."""
        secret = settings.secret_bytes()
        redis = connect(settings.redis_url)
        engine = open_database(settings.sql_url())
        jobs = JobService(
            jobs=open_jobs(redis, settings),
            deliveries=RedisDeliveries(redis, Envelope(secret)),
            queue=CeleryQueue(celery_app(settings.redis_url), redis),
            media=open_media(settings),
            dialects=speak(settings.webhook_signature_encoding),
        )
        recordings = open_recordings(settings, SqlEnrolments(engine, secret).recording_key)
        identities = IdentityService(store=SqlSpaces(engine, secret), recordings=recordings, jobs=jobs)
        return cls(administration=Administration(engine, secret), identities=identities, jobs=jobs)

    def remove(self, name: str) -> str:
        """Remove a client; returns a receipt. One that broke off can be asked for again.

        Raises
        ------
        UnknownNameError, Unavailable
        """
        client_id = self.administration.client_id(name)
        self.administration.revoke_client(name)
        # Until then a process of the API may know a key, and take requests.
        self.pause(REVOKED_WITHIN_S)
        counts = Counter(jobs=self._remove_jobs(client_id))
        removal = self.identities.delete_client(client_id)
        counts.update({str(kind): number for kind, number in removal.counts.items()})
        counts.update(uploads=self._remove_uploads(client_id))
        counts.update(self.administration.delete_client(client_id))
        removed = "".join(f"  {what} {number}" for what, number in counts.items())
        return f"deleted {name}  client {client_id}  at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}{removed}"

    def _remove_jobs(self, client_id: str) -> int:
        removed = 0
        cursor: JobCursor | None = None
        while True:
            page = self.jobs.page(client_id, None, PageQuery(take=_MOST, cursor=cursor))
            for job in page.jobs:
                with suppress(NotFound):
                    self.jobs.delete(client_id, job.id)
                    removed += 1
            cursor = page.cursor
            if cursor is None:
                return removed

    def _remove_uploads(self, client_id: str) -> int:
        removed = 0
        cursor: str | None = ""
        while cursor is not None:
            page = self.jobs.list_media(client_id, cursor, _MOST)
            for upload in page.uploads:
                with suppress(NotFound):
                    self.jobs.remove_media(client_id, upload.key)
                    removed += 1
            cursor = page.cursor
        return removed

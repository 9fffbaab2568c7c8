"""Services that the views use, made once from the settings."""

from dataclasses import dataclass

from flask import current_app
from redis import Redis
from sqlalchemy import Engine

from api.addresses import ServedAddresses
from api.browser_tokens import BrowserTokens
from api.rates import RateLimits
from api.readiness import Readiness
from api.waits import Waits
from shared.adapters.celery_queue import CeleryQueue, celery_app
from shared.adapters.media import open_bucket, open_folder, open_recordings
from shared.adapters.redis_client import connect
from shared.adapters.redis_deliveries import RedisDeliveries
from shared.adapters.redis_jobs import open_jobs
from shared.adapters.redis_models import RedisModels
from shared.adapters.redis_presence import Seen
from shared.adapters.sealing import Envelope
from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_database
from shared.adapters.sql.enrolments import SqlEnrolments
from shared.adapters.sql.spaces import SqlSpaces
from shared.adapters.sql.verifications import SqlVerifications
from shared.dialects import speak
from shared.domain.enrolling import pool_parts
from shared.domain.keys import Client
from shared.domain.models import ListedModel
from shared.enrolment_service import EnrolmentService
from shared.identity_service import IdentityService
from shared.job_service import JobService
from shared.ports import MediaAddresses
from shared.settings import Settings
from shared.telemetry import metrics
from shared.verification_service import VerificationService

#: A revoked key is refused after this many seconds at the latest; until then its client is not looked up again.
REVOKED_WITHIN_S = 5.0
#: Longest that counting a request may take, in seconds; each process then counts for itself.
RATES_TRY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Services:
    """Adapters and services of one API process."""

    settings: Settings
    redis: Redis
    engine: Engine
    jobs: JobService
    identities: IdentityService
    enrolments: EnrolmentService
    verifications: VerificationService
    waits: Waits
    clients: SqlClients
    browser_tokens: BrowserTokens
    models: RedisModels
    rates: RateLimits
    readiness: Readiness
    #: Signed addresses of uploads, and those among them that the API serves itself.
    addresses: MediaAddresses
    signed_media: ServedAddresses

    @classmethod
    def from_settings(cls, settings: Settings) -> "Services":
        """Connect to what `settings` names; the database is migrated first."""
        secret = settings.secret_bytes()
        redis = connect(settings.redis_url)
        engine = open_database(settings.sql_url())
        clients = SqlClients(engine, secret, remember_s=REVOKED_WITHIN_S)
        signed_media = ServedAddresses(secret, settings.public_url, settings.bind, clients.may_call)
        bucket = open_bucket(settings)
        jobs = JobService(
            jobs=open_jobs(redis, settings),
            deliveries=RedisDeliveries(redis, Envelope(secret)),
            queue=CeleryQueue(celery_app(settings.redis_url), redis),
            media=bucket or open_folder(settings),
            dialects=speak(settings.webhook_signature_encoding),
        )
        models = RedisModels(redis, ttl_s=2 * settings.lease_s)
        enrolment_store = SqlEnrolments(engine, secret)
        identities = IdentityService(
            store=SqlSpaces(engine, secret),
            recordings=open_recordings(settings, enrolment_store.recording_key),
            jobs=jobs,
            consent_required=settings.require_consent,
        )
        enrolments = EnrolmentService(
            store=enrolment_store,
            identities=identities,
            jobs=jobs,
            # Which voiceprints are unlike the others only a calibrated model can tell.
            pool=lambda parts: pool_parts(parts, None),
        )
        verifications = VerificationService(
            store=SqlVerifications(engine, secret),
            enrolments=enrolments,
            jobs=jobs,
            served_models=lambda: [model.model_id for model in _served(models)],
        )
        return cls(
            settings=settings,
            redis=redis,
            engine=engine,
            jobs=jobs,
            identities=identities,
            enrolments=enrolments,
            verifications=verifications,
            waits=Waits(jobs, settings.api_threads, settings.wait_share),
            clients=clients,
            browser_tokens=BrowserTokens(secret),
            models=models,
            rates=RateLimits(
                # Counting must not use up the patience that the request itself may need.
                connect(settings.redis_url, retries=0, try_s=RATES_TRY_S),
                posts_per_minute=settings.posts_per_minute,
                reads_per_minute=settings.reads_per_minute,
            ),
            readiness=Readiness(settings, jobs, engine, Seen(redis)),
            addresses=bucket or signed_media,
            signed_media=signed_media,
        )

    def name_in_metrics(self, client: Client) -> None:
        """Let metrics of what this thread does name its client, where the settings ask for it."""
        if self.settings.name_clients:
            metrics.client_name.set(client.name)

    def models_served(self) -> list[ListedModel]:
        """Return the models that workers make voiceprints with, as far as they have said so."""
        return _served(self.models)


def _served(models: RedisModels) -> list[ListedModel]:
    return [model for model in models.recent() if model.default and model.installed]


def services() -> Services:
    """Return the running application's services."""
    found: Services = current_app.extensions["timbre"]
    return found

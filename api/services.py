"""What the views work with, made once from the settings."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import current_app
from redis import Redis
from sqlalchemy import Engine

from api.addresses import ServedAddresses
from api.rates import RateLimits
from shared.adapters.celery_queue import CeleryQueue, celery_app
from shared.adapters.dir_media import DirMedia
from shared.adapters.media import open_media
from shared.adapters.redis_client import connect
from shared.adapters.redis_deliveries import RedisDeliveries
from shared.adapters.redis_jobs import RedisJobs, open_jobs
from shared.adapters.redis_models import RedisModels
from shared.adapters.sealing import Envelope
from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_database
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.adapters.s3 import S3Media

#: Longest that counting a request may take, in seconds; each process then counts for itself.
RATES_TRY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Services:
    """The API's way to everything outside it."""

    settings: Settings
    redis: Redis
    engine: Engine
    jobs: RedisJobs
    deliveries: RedisDeliveries
    queue: CeleryQueue
    media: "DirMedia | S3Media"
    clients: SqlClients
    models: RedisModels
    rates: RateLimits
    addresses: ServedAddresses

    @classmethod
    def from_settings(cls, settings: Settings) -> "Services":
        """Connect to what `settings` names; the database is migrated first."""
        secret = settings.secret_bytes()
        redis = connect(settings.redis_url)
        engine = open_database(settings.sql_url())
        clients = SqlClients(engine, secret)
        return cls(
            settings=settings,
            redis=redis,
            engine=engine,
            jobs=open_jobs(redis, settings),
            deliveries=RedisDeliveries(redis, Envelope(secret)),
            queue=CeleryQueue(celery_app(settings.redis_url)),
            media=open_media(settings),
            clients=clients,
            models=RedisModels(redis, ttl_s=2 * settings.lease_s),
            rates=RateLimits(
                # Counting must not use up the patience that the request itself may need.
                connect(settings.redis_url, retries=0, try_s=RATES_TRY_S),
                posts_per_minute=settings.posts_per_minute,
                reads_per_minute=settings.reads_per_minute,
            ),
            addresses=ServedAddresses(secret, settings.public_url, clients.may_call),
        )


def services() -> Services:
    """Return the running application's services."""
    found: Services = current_app.extensions["timbre"]
    return found

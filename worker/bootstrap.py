"""Bootstrap: settings become a runner; beside `worker.tuning` the only module of the worker that imports `models`."""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import structlog
from redis.exceptions import RedisError

from models import registry, segmentation
from models.device import require_device
from models.recognisers import InstalledRecognisers, require_language
from models.recognisers import installed as installed_recognisers
from models.vad import SileroVad
from shared.adapters.celery_queue import CeleryQueue, celery_app
from shared.adapters.media import open_check, open_media, open_recordings, open_sources
from shared.adapters.redis_client import connect
from shared.adapters.redis_deliveries import RedisDeliveries
from shared.adapters.redis_file import RedisFile
from shared.adapters.redis_jobs import open_jobs
from shared.adapters.redis_models import RedisModels, RedisServed
from shared.adapters.redis_presence import RedisPresence, open_presence
from shared.adapters.sealing import Envelope
from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_migrated, require_migrated
from shared.adapters.sql.enrolments import SqlEnrolments
from shared.adapters.sql.spaces import SqlSpaces
from shared.adapters.sql.verifications import SqlVerifications
from shared.dialects import speak
from shared.domain.errors import ModelInstallError, SettingsError
from shared.domain.models import ModelCard
from shared.identity_service import IdentityService
from shared.job_service import JobService
from shared.names import process_name
from shared.ports import MediaStore
from shared.retention import Retention
from shared.settings import Settings
from worker.egress import Egress
from worker.jobs.enrolments import EnrolmentHandlers
from worker.jobs.galleries import Galleries
from worker.jobs.handlers import Handlers
from worker.jobs.hearings import Listener
from worker.jobs.heartbeat import Hand
from worker.jobs.runner import Runner
from worker.jobs.searches import SearchHandlers
from worker.jobs.sources import SourceReader
from worker.jobs.stores import IdentityStores
from worker.jobs.verifications import VerificationHandlers
from worker.jobs.voices import VoiceHandlers
from worker.recordings.decoder import ProcessDecoder
from worker.recordings.fetch import SourceFetcher
from worker.voices.voiceprint import Nets
from worker.webhooks.sender import Deliverer

log = structlog.get_logger()

#: A worker waits for a Redis that restarts, some 15 s, rather than lose what it has done.
WORKER_RETRIES = 10
#: Longest recording of a job that accepts plain WAV files only, in seconds: vendors' clients expect the limit.
_MOST_PLAIN_S = 60.0
#: Name of this worker, for all its processes.
_WORKER = process_name()
#: Pause between two looks whether Redis answers, and whether workers that serve other models have ended.
_LOOK_S = 1.0
#: Pause between two looks of a process that may be the first one.
_FIRST_LOOK_S = 0.25


def make_presence(settings: Settings, role: str) -> RedisPresence:
    """Return the presence of this process among those of the service.

    Raises
    ------
    SettingsError
        The credentials of S3 are incomplete.
    """
    open_check(settings)
    return open_presence(settings, role)


def join(presence: RedisPresence) -> None:
    """Note that this process lives, as soon as Redis answers, without which there is no work.

    Raises
    ------
    SettingsError
        The processes that live do not agree with this one.
    """
    while True:
        try:
            if presence.mark():
                return
            time.sleep(_FIRST_LOOK_S)
        except RedisError as error:
            log.warning("waiting for Redis (TIMBRE_REDIS_URL)", error=type(error).__name__)
            time.sleep(_LOOK_S)


def make_service(settings: Settings, retries: int = WORKER_RETRIES) -> JobService:
    """Return the job service of a worker or courier, which repeats a command to Redis `retries` times."""
    redis = connect(settings.redis_url, retries=retries)
    return JobService(
        jobs=open_jobs(redis, settings),
        deliveries=RedisDeliveries(redis, Envelope(settings.secret_bytes())),
        queue=CeleryQueue(celery_app(settings.redis_url), redis),
        media=open_media(settings),
        dialects=speak(settings.webhook_signature_encoding),
    )


def make_forgetting(settings: Settings) -> Callable[[], None]:
    """Return the step that makes deleted results leave Redis's append-only file."""
    return RedisFile(connect(settings.redis_url, retries=WORKER_RETRIES)).forget


def make_fetcher(settings: Settings, media: MediaStore) -> SourceFetcher:
    """Return the fetcher of recordings."""
    return SourceFetcher(
        egress=make_egress(settings),
        media=media,
        buckets=open_sources(settings),
        scratch=settings.data_dir / "scratch",
    )


def make_egress(settings: Settings) -> Egress:
    """Return the HTTP client for clients' addresses."""
    return Egress(rules=settings.address_rules())


def make_deliverer(settings: Settings, service: JobService) -> Deliverer:
    """Return the sender of webhooks."""
    clients = SqlClients(open_migrated(settings.sql_url()), settings.secret_bytes())
    return Deliverer(
        deliveries=service.deliveries,
        secrets=clients.webhook_secrets,
        egress=make_egress(settings),
        dialects=service.dialects,
        https_only=not settings.allow_http_webhooks,
    )


def make_model_list(settings: Settings) -> Callable[[], bool]:
    """Return the step that publishes the models and their calibrations to the API, and tells whether it did.

    It raises SettingsError, and publishes nothing, where workers that live serve other models. Nor does it publish
    where none was found for a moment only, see `RedisServed.confirm`.
    """
    redis = connect(settings.redis_url)
    ttl_s = 2 * settings.lease_s
    served = RedisServed(redis, ttl_s=ttl_s)
    index = RedisModels(redis, ttl_s=ttl_s)
    facts = facts_served(settings)
    models = registry.listed(settings.weights_dir, settings.model)
    calibrations = registry.calibrations(settings.weights_dir)

    def publish() -> bool:
        confirmed = served.confirm(facts)
        if confirmed:
            index.publish(models, calibrations)
        return confirmed

    return publish


def facts_served(settings: Settings) -> dict[str, str]:
    """Return what other workers must have as this one has it, by names that an operator reads."""
    card = _card(settings)
    weights = settings.weights_dir
    is_tuned = card.clustering != registry.untuned(card)
    return {
        "model": card.model_id,
        "calibration": card.calibration.fitted_at if card.calibration else "none",
        "tuning": hashlib.sha256(repr(card.clustering).encode()).hexdigest()[:8] if is_tuned else "none",
        "segmentation": segmentation_id(settings) or "none",
        "recognisers": ", ".join(one.recogniser_id for one in installed_recognisers(weights)),
    }


def await_agreement(publish: Callable[[], bool], within_s: float) -> None:
    """Publish the models, as soon as no worker lives that serves others; a Redis that is away is asked later.

    Of workers that were killed it is known for some seconds only that they live no more.

    Raises
    ------
    SettingsError
        They still live.
    """
    ends_at = time.monotonic() + within_s
    with suppress(RedisError):
        while True:
            try:
                if publish():
                    return
                time.sleep(_FIRST_LOOK_S)
            except SettingsError:
                if time.monotonic() > ends_at:
                    raise
                time.sleep(_LOOK_S)


def require_model(settings: Settings) -> None:
    """Make sure that the model can be loaded, without loading it: a network does not survive a fork.

    Raises
    ------
    ModelInstallError
        The model that the settings name is unknown, not installed, or damaged, or the device cannot be used. Or no
        speech recogniser of the language that they name is installed, or the segmentation model is damaged.
    """
    require_device(settings.device)
    require_language(settings.language, settings.weights_dir)
    segmentation.verify(settings.weights_dir)
    registry.verify(_card(settings), settings.weights_dir)


def damaged_models(settings: Settings) -> list[ModelInstallError]:
    """Return what is wrong with installed models that the worker does not use."""
    return registry.faults(settings.weights_dir)


def make_nets(settings: Settings) -> Nets:
    """Load the networks: the model that the settings name, or the first one installed; and segmentation, if it is."""
    threads = settings.inference_threads
    device = settings.device
    embedder = registry.load(_card(settings), settings.weights_dir, threads=threads, device=device)
    return Nets(SileroVad(threads=threads), embedder, segmentation.load(settings.weights_dir, threads=threads))


def segmentation_id(settings: Settings) -> str | None:
    """Return the name and revision of the segmentation model; None where none is installed."""
    layout = segmentation.installed(settings.weights_dir)
    return layout.segmentation_id if layout else None


def model_labels(settings: Settings) -> dict[str, str]:
    """Return what metrics tell of the model that makes the voiceprints."""
    card = _card(settings)
    return {"model": card.model_id, "calibrated": "yes" if card.calibration else "no"}


def _card(settings: Settings) -> ModelCard:
    weights = settings.weights_dir
    return registry.installed_card(settings.model, weights) if settings.model else registry.default_card(weights)


def await_migrations(settings: Settings) -> None:
    """Wait for the API, or `api.database upgrade`, to migrate the database; raises DatabaseRevisionWrong."""
    require_migrated(settings.sql_url())


def make_stores(settings: Settings) -> IdentityStores:
    """Return the stores of lasting identities, whose database the API has migrated."""
    engine = open_migrated(settings.sql_url())
    secret = settings.secret_bytes()
    enrolments = SqlEnrolments(engine, secret)
    return IdentityStores(
        spaces=SqlSpaces(engine, secret),
        enrolments=enrolments,
        verifications=SqlVerifications(engine, secret),
        recordings=open_recordings(settings, enrolments.recording_key),
    )


def make_retention(settings: Settings, service: JobService) -> Retention:
    """Return the housekeeping of lasting identities."""
    stores = make_stores(settings)
    return Retention(
        identities=IdentityService(store=stores.spaces, recordings=stores.recordings, jobs=service),
        enrolments=stores.enrolments,
        verifications=stores.verifications,
        recordings=stores.recordings,
        jobs=service,
        verification_ttl_s=settings.verification_ttl_s,
        usage_ttl_s=settings.usage_ttl_s,
        audit_ttl_s=settings.audit_ttl_s,
        job_ttl_s=settings.job_deadline_s + settings.result_ttl_s,
    )


def make_handlers(settings: Settings, reader: SourceReader, nets: Nets, stores: IdentityStores) -> Handlers:
    """Return the handlers of all commands."""
    limits = settings.sample_limits()
    plain_limits = replace(limits, max_audio_s=min(limits.max_audio_s, _MOST_PLAIN_S), plain_wav=True)
    listener = Listener(reader=reader, nets=nets, limits=limits, plain_limits=plain_limits)
    galleries = Galleries(stores.enrolments, nets.embedder.card, settings.search_bytes)
    return Handlers(
        reader=reader,
        nets=nets,
        recognisers=InstalledRecognisers(settings.weights_dir, settings.inference_threads, settings.language),
        voiceprint_limits=settings.voiceprint_limits(),
        diarize_limits=settings.diarize_limits(),
        stores=stores,
        enrolments=EnrolmentHandlers(reader=reader, nets=nets, limits=limits, stores=stores),
        voices=VoiceHandlers(listener=listener, stores=stores),
        verifications=VerificationHandlers(listener=listener, stores=stores),
        searches=SearchHandlers(reader=reader, nets=nets, limits=limits, stores=stores, galleries=galleries),
    )


def make_runner(
    settings: Settings, hand: Hand, *, stopping: Callable[[], bool], handing_back: Callable[[], bool]
) -> Runner:
    """Return the runner of a worker's child process, with its networks loaded; the hooks are those of `Runner`."""
    decoder = ProcessDecoder()
    # It gets ready while the networks are loaded.
    decoder.start()
    service = make_service(settings)
    reader = SourceReader(fetcher=make_fetcher(settings, service.media), decoder=decoder)
    handlers = make_handlers(settings, reader, make_nets(settings), make_stores(settings))
    return Runner(
        service=service,
        handle=handlers.handle,
        beat_s=settings.lease_s / 3,
        worker=_WORKER,
        most_long=settings.most_long_jobs(),
        takes_turns=settings.most_long_jobs() == settings.worker_processes,
        hand=hand,
        stopping=stopping,
        handing_back=handing_back,
    )

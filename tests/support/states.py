"""Jobs and webhooks in every state, made without workers: what a worker and a courier would do is done here."""

from datetime import UTC, datetime
from pathlib import Path

from models import registry
from shared.adapters.redis_client import connect
from shared.adapters.redis_deliveries import RedisDeliveries
from shared.adapters.redis_jobs import open_jobs
from shared.adapters.redis_models import RedisModels
from shared.adapters.sealing import Envelope
from shared.domain.delivery import DeliveryState, LogEntry, Next
from shared.domain.errors import NoSpeech
from shared.domain.jobs import Status
from shared.domain.models import ListedCalibration, ListedModel
from shared.settings import Settings
from tests.support.client import Client
from tests.support.records import claim, finish

HOOK = "https://host.invalid/hook"
CALIBRATION = registry.installed_card("ge2e").calibration
assert CALIBRATION
MODEL = ListedModel(
    handle="ge2e", version="1", dimension=256, sample_rate_hz=16_000, min_speech_s=1.6, licence="Apache-2.0",
    installed=True, calibrated=True, default=True,
    calibration=ListedCalibration(data=CALIBRATION.data, fitted_at=CALIBRATION.fitted_at),
)  # fmt: skip
OUTPUTS = {
    Status.FAILED: {"error": "Nobody speaks.", "code": NoSpeech.code},
    Status.SUCCEEDED: {
        "voiceprint": "VE1C", "model": "ge2e@1", "dimension": 2, "audioSeconds": 4.0, "speechSeconds": 2.75,
        "netSpeechSeconds": 2.25, "speaker": "SPEAKER_00", "dominantSpeaker": "SPEAKER_00",
        "segments": [{"start": 1.0, "end": 3.25}],
        "speakers": [{"speaker": "SPEAKER_00", "seconds": 2.25}],
        "diarization": [{"speaker": "SPEAKER_00", "start": 1.0, "end": 3.25}],
        "quality": {"snrDb": 31.3, "narrowband": False, "speakerCount": 1, "dominantShare": 1.0, "consistency": 0.9},
        "channels": {"number": 1, "used": [0]}, "calibrated": True, "timings": {"decode": 0.01},
    },
}  # fmt: skip


class States:
    """Makes what a client of an API without workers can ask about."""

    def __init__(self, client: Client, redis_url: str, data_dir: Path) -> None:
        settings = Settings(data_dir=data_dir, redis_url=redis_url)
        self._client, self.redis = client, connect(redis_url)
        self._jobs = open_jobs(self.redis, settings)
        self._deliveries = RedisDeliveries(self.redis, Envelope(settings.secret_bytes()))

    def serve_models(self) -> None:
        """Say what a worker would say of its models."""
        RedisModels(self.redis, ttl_s=3600).publish([MODEL], [CALIBRATION])

    def job(self, status: Status, webhook: str | None = HOOK) -> str:
        """Return the id of a job that stands so."""
        job_id = self._client.submit("media://voice.wav", webhook=webhook)
        if status is Status.CANCELED:
            assert self._client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
        elif status is not Status.CREATED:
            claimed = claim(self._jobs, job_id)
            assert claimed
            if status is not Status.RUNNING:
                assert finish(self._jobs, claimed, status, OUTPUTS[status])
        return job_id

    def deliver_all(self) -> None:
        """Answer for the receivers of all webhooks that are due."""
        entry = LogEntry(attempt=1, at=datetime.now(UTC), duration_ms=5, status=204, reason=None, answer="")
        while due := self._deliveries.take(100):
            for delivery in due:
                self._deliveries.settle(delivery, entry, Next(state=DeliveryState.DELIVERED))

    def forget_body(self, job_id: str) -> None:
        """Drop what a webhook carries, as time does when the result is over."""
        self.redis.delete(f"timbre:delivery:{job_id}:body")

    def damage(self, job_id: str) -> None:
        """Make a job's record unreadable."""
        self.redis.hset(f"timbre:job:{job_id}", "output", "?")

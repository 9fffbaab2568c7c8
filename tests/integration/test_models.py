"""What workers say of their models reaches clients."""

import pytest

from api.app import create_app
from api.services import Services
from models import registry
from shared.adapters.redis_models import RedisModels
from shared.settings import Settings
from tests.support.client import eventually


@pytest.fixture
def get(redis, redis_server, tmp_path):
    services = Services.from_settings(Settings(redis_url=redis_server.url, data_dir=tmp_path))
    key = services.clients.create_key("tester")
    client = create_app(services).test_client()
    yield lambda: client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
    services.engine.dispose()


def test_without_a_worker_nobody_can_say(get):
    answer = get()
    assert answer.status_code == 503
    assert answer.json["code"] == "unavailable"


def test_the_list_is_that_of_the_manifest_and_the_weights_folder(get, redis, tmp_path):
    RedisModels(redis, ttl_s=60).publish(registry.listed(tmp_path / "weights"))
    models = {model["handle"]: model for model in get().json["models"]}
    assert list(models) == ["titanet_large", "titanet_small", "ge2e"]
    assert models["titanet_large"]["installed"] is False
    assert models["titanet_large"]["version"] is None
    assert models["ge2e"] == {
        "handle": "ge2e", "version": "1", "dimension": 256, "sampleRate": 16_000, "minSpeechSeconds": 1.6,
        "licence": "Apache-2.0", "installed": True, "calibrated": registry.entry("ge2e").card.calibration is not None,
        "default": True,
    }  # fmt: skip


def test_a_silent_worker_is_forgotten(redis, tmp_path):
    models = RedisModels(redis, ttl_s=60)
    models.publish(registry.listed(tmp_path))
    assert models.all()
    RedisModels(redis, ttl_s=0.05).publish(registry.listed(tmp_path))
    eventually(lambda: models.all() == [])

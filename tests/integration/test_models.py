"""What workers say of their models reaches clients."""

import json

import pytest

from api.app import create_app
from api.services import Services
from models import registry
from models.registry import Record
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
    assert (models["titanet_large"]["calibrated"], models["titanet_large"]["calibration"]) == (False, None)
    fitted = registry.default_card(tmp_path / "weights").calibration
    assert models["ge2e"] == {
        "handle": "ge2e", "version": "1", "dimension": 256, "sampleRate": 16_000, "minSpeechSeconds": 1.6,
        "licence": "Apache-2.0", "installed": True, "calibrated": True,
        "calibration": {"data": fitted.data, "fittedAt": fitted.fitted_at}, "default": True,
    }  # fmt: skip


def test_an_installed_model_without_a_calibration_says_so(get, redis, tmp_path):
    record = Record(
        sha256="ab" * 32, files={}, nemo_version="3.0.0", parity=0.0, installed_at="2026-11-01T00:00:00+00:00"
    )
    (tmp_path / "titanet_small").mkdir()
    record.write(tmp_path / "titanet_small")
    RedisModels(redis, ttl_s=60).publish(registry.listed(tmp_path))
    model = next(model for model in get().json["models"] if model["handle"] == "titanet_small")
    assert (model["installed"], model["calibrated"], model["calibration"]) == (True, False, None)


def test_what_a_worker_of_an_earlier_release_said_is_still_read(get, redis, tmp_path):
    RedisModels(redis, ttl_s=60).publish(registry.listed(tmp_path))
    said = json.loads(redis.get("timbre:models"))
    redis.set("timbre:models", json.dumps([{k: v for k, v in one.items() if k != "calibration"} for one in said]))
    model = next(model for model in get().json["models"] if model["handle"] == "ge2e")
    assert (model["calibrated"], model["calibration"]) == (True, None)


def test_a_silent_worker_is_forgotten(redis, tmp_path):
    models = RedisModels(redis, ttl_s=60)
    models.publish(registry.listed(tmp_path))
    assert models.all()
    RedisModels(redis, ttl_s=0.05).publish(registry.listed(tmp_path))
    eventually(lambda: models.all() == [])

"""What workers say of their models reaches clients."""

import json

import pytest

from api.app import create_app
from api.services import Services
from models import registry, tuned
from models.registry import Record
from models.tuned import Tuned
from shared.adapters.redis_client import connect
from shared.adapters.redis_models import RedisModels, RedisServed
from shared.domain.errors import SettingsError
from shared.settings import Settings
from tests.support.client import eventually
from tests.support.clock import Clock
from worker.bootstrap import await_agreement, facts_served


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


FACTS = {"model": "ge2e@1", "calibration": "2026-05-04"}


def settled(redis, ttl_s=60):
    """Return the facts of a worker that confirmed them where no other one lives."""
    served = RedisServed(redis, ttl_s=ttl_s)
    await_agreement(lambda: served.confirm(FACTS), within_s=0)
    return served


def test_workers_that_confirmed_before_come_first_after_redis_lost_what_they_serve(redis):
    clock = Clock()
    healthy, new = (RedisServed(redis, ttl_s=60, clock=clock) for _ in range(2))
    assert not healthy.confirm(FACTS)
    clock.pass_s(1.5)
    assert healthy.confirm(FACTS)
    redis.flushall()
    assert not new.confirm(FACTS | {"model": "own@2"})
    clock.pass_s(1)
    assert not new.confirm(FACTS | {"model": "own@2"})
    assert healthy.confirm(FACTS)
    clock.pass_s(1)
    with pytest.raises(SettingsError, match="model ge2e@1, here own@2"):
        new.confirm(FACTS | {"model": "own@2"})


def test_a_worker_that_serves_another_model_than_those_that_live_is_told_so(redis):
    served, other = settled(redis), RedisServed(redis, ttl_s=60)
    assert other.confirm(FACTS)
    with pytest.raises(SettingsError, match=r"model ge2e@1, here own@2.*TIMBRE_MODEL.*stop all workers first"):
        other.confirm(FACTS | {"model": "own@2"})
    assert served.confirm(FACTS)


def test_releases_that_know_more_or_fewer_facts_agree(redis):
    served = settled(redis)
    assert served.confirm(FACTS | {"segmentation": "none"})
    assert served.confirm(FACTS)


def test_the_facts_go_with_the_last_worker(redis):
    settled(redis, ttl_s=0.05)
    eventually(lambda: not redis.exists("timbre:served"))
    await_agreement(lambda: RedisServed(redis, ttl_s=60).confirm(FACTS | {"model": "own@2"}), within_s=0)


def test_a_worker_waits_for_those_that_were_killed_but_not_for_those_that_live(redis):
    settled(redis, ttl_s=0.5)
    served = RedisServed(redis, ttl_s=60)
    await_agreement(lambda: served.confirm(FACTS | {"model": "own@2"}), within_s=30)
    with pytest.raises(SettingsError):
        await_agreement(lambda: served.confirm(FACTS), within_s=0)


def test_a_worker_whose_redis_is_away_begins_all_the_same():
    away = connect("redis://127.0.0.1:1/0", retries=0)
    await_agreement(lambda: RedisServed(away, ttl_s=60).confirm(FACTS), within_s=0)


def test_calibration_tuning_and_recognisers_are_among_the_facts(tmp_path):
    facts = facts_served(Settings(weights_dir=tmp_path))
    fitted = registry.default_card(tmp_path).calibration.fitted_at
    assert facts == {
        "model": "ge2e@1", "calibration": fitted, "tuning": "none", "segmentation": "none",
        "recognisers": "moonshine_tiny_en@1",
    }  # fmt: skip
    card = registry.default_card(tmp_path)
    thresholds = {"split_gate": 0.123}
    tuned.tuned_file(card, tmp_path).parent.mkdir()
    tuned.write(
        Tuned(model=card.model_id, data="x", tuned_at="x", der_before=2.0, der_after=1.0, thresholds=thresholds),
        tuned.tuned_file(card, tmp_path),
    )
    assert facts_served(Settings(weights_dir=tmp_path)).items() - facts.items() != set()

"""Job POSTs against the application itself, on a real Redis."""

import gc
from dataclasses import replace

import pytest

from api.app import create_app
from api.services import Services
from models import registry
from shared.adapters.redis_models import RedisModels
from shared.domain.errors import RequestError
from shared.settings import Settings


@pytest.fixture
def settings(redis, redis_server, tmp_path):
    return Settings(redis_url=redis_server.url, data_dir=tmp_path, allow_http_webhooks=True)


def post(settings, api_key, key, **body):
    services = Services.from_settings(settings)
    headers = {"Authorization": f"Bearer {api_key}", "Idempotency-Key": key}
    answer = create_app(services).test_client().post("/v1/voiceprint", json=body, headers=headers)
    services.engine.dispose()
    return answer


def test_a_repeated_request_is_answered_as_before_though_it_would_be_refused_today(settings):
    services = Services.from_settings(settings)
    api_key = services.clients.create_key("tester")
    services.engine.dispose()
    body = {"url": "media://a", "webhook": "http://receiver.example/"}
    first = post(settings, api_key, "key", **body)
    assert first.status_code == 200
    stricter = replace(settings, allow_http_webhooks=False)
    assert post(stricter, api_key, "key", **body).json == first.json
    assert post(stricter, api_key, "another", **body).status_code == 400
    assert post(stricter, api_key, "key", **body, model="ge2e").json["code"] == "idempotency_mismatch"


@pytest.mark.parametrize("named", ["my_finetune", "my_finetune@1.12345678"])
def test_a_model_that_is_installed_and_not_served_is_refused_with_the_setting_that_serves_it(settings, redis, named):
    services = Services.from_settings(settings)
    api_key = services.clients.create_key("tester")
    services.engine.dispose()
    (served,) = [model for model in registry.listed(settings.data_dir) if model.installed]
    own = replace(served, handle="my_finetune", version="1.12345678", default=False)
    RedisModels(redis, ttl_s=60).publish([served, own])
    answer = post(settings, api_key, "key", url="media://a", model=named)
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_request")
    assert f"Model {named} is not served here; leave it out, or take one of: ge2e." in answer.json["message"]
    assert answer.json["message"].endswith("TIMBRE_MODEL=my_finetune use it.")
    assert post(settings, api_key, "another", url="media://a", model=served.model_id).status_code == 200


def test_an_error_that_is_answered_again_and_again_keeps_no_request_alive(settings):
    services = Services.from_settings(settings)
    key = services.clients.create_key("tester")
    client = create_app(services).test_client()
    headers = {"Authorization": f"Bearer {key}"}

    def refused_everywhere():
        job_id = client.post("/v1/voiceprint", json={"url": "media://a"}, headers=headers).json["jobId"]
        assert client.get(f"/v1/jobs/{job_id}/deliveries", headers=headers).status_code == 404
        assert client.post("/v1/voiceprint", data="x", headers=headers).status_code == 415
        assert client.get("/nowhere").status_code == 404

    for _ in range(5):
        refused_everywhere()
    gc.collect()
    services.engine.dispose()
    # Asking torch's objects for their class warns.
    errors = [one for one in gc.get_objects() if issubclass(type(one), RequestError)]
    assert not [error for error in errors if error.__traceback__]

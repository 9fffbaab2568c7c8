"""Records of the last release in every stored form, as this release reads them: tests/data/last_release/README.md."""

import json
import time

import pytest
from sqlalchemy import text

from api.app import create_app
from api.services import Services
from shared.adapters.redis_deliveries import RedisDeliveries
from shared.adapters.sealing import Envelope
from shared.adapters.sql.database import newest_revision, revision
from shared.adapters.sql.records import heard_from_bytes, heard_to_bytes
from shared.adapters.sql.tables import Base
from shared.domain.commands import _KINDS, from_record, to_record
from shared.domain.jobs import IdempotencyKey, Status
from shared.domain.voiceprints import Voiceprint
from shared.settings import Settings
from tests.support.golden import MANIFEST, SETTINGS, load_redis, unpack
from tests.support.lasting import heard
from tests.support.records import finish, submission

#: Fields of the log of tries.
TRIES = {"answer:1", "1"}
HOUR_MS = 3_600_000


@pytest.fixture
def services(redis, redis_server, tmp_path):
    """Services over the last release's data."""
    unpack(tmp_path)
    load_redis(redis)
    found = Services.from_settings(Settings(**SETTINGS, redis_url=redis_server.url, data_dir=tmp_path))
    yield found
    found.engine.dispose()


@pytest.fixture
def get(services):
    """Send a GET with the client's key; returns the answer's body."""
    client = create_app(services).test_client()

    def get(path):
        answer = client.get(path, headers={"Authorization": f"Bearer {MANIFEST['key']}"})
        assert answer.status_code == 200, answer.text
        return answer.json

    return get


def includes(new, old):
    """Return whether a new answer says all that an old one said; it may say more."""
    if isinstance(old, dict):
        return all(name in new and includes(new[name], value) for name, value in old.items())
    if isinstance(old, list):
        return len(old) == len(new) and all(map(includes, new, old))
    return old == new


def test_the_api_answers_about_old_records_as_the_last_release_did(get):
    assert [path for path, old in MANIFEST["answers"].items() if not includes(get(path), old)] == []


def test_turns_of_old_jobs_are_exported(get):
    for kind in ("voiceprint", "diarize", "identify"):
        output = MANIFEST["answers"][f"/v1/jobs/{MANIFEST['jobs'][kind]}"]["output"]
        turns = get(f"/v1/jobs/{MANIFEST['jobs'][kind]}/turns")["turns"]
        assert [(one["start"], one["end"]) for one in turns] == [(o["start"], o["end"]) for o in output["diarization"]]


def test_old_keys_and_webhook_secrets_work(services):
    for name in ("key", "acme"):
        client = services.clients.authenticate(MANIFEST[name])
        assert len(services.clients.webhook_secrets(client.id)) == 1
    assert services.clients.authenticate_group(MANIFEST["group"]) is not None


def test_there_are_rows_of_every_table(services):
    assert revision(services.engine) == newest_revision()
    with services.engine.connect() as connection:
        empty = [name for name in Base.metadata.tables if not connection.scalar(text(f"SELECT count(*) FROM {name}"))]
    assert empty == []


def claims(services):
    """Claim all jobs that wait."""
    found = []
    while claim := services.jobs.jobs.claim(most_long=10):
        found.append(claim)
    return found


def test_there_are_waiting_jobs_of_every_kind_and_each_is_stored_as_it_was(services):
    services.jobs.reap()
    found = claims(services)
    assert {claim.job_id for claim in found} == set(MANIFEST["queued"].values())
    assert {claim.record["kind"] for claim in found} == set(_KINDS)
    assert {claim.reply.dialect for claim in found} == set(services.jobs.dialects)
    assert {claim.form for claim in found} == {0}
    # The last release reads what this one writes.
    for claim in found:
        assert to_record(from_record(claim.record)) == claim.record


def test_an_old_request_that_is_repeated_gives_its_old_job(services):
    client = create_app(services).test_client()
    headers = {"Authorization": f"Bearer {MANIFEST['key']}", "Idempotency-Key": "golden"}
    answer = client.post("/v1/voiceprint", json={"url": "media://ann1.opus"}, headers=headers)
    assert (answer.status_code, answer.json["jobId"]) == (200, MANIFEST["jobs"]["voiceprint"])


def test_an_old_webhook_that_is_due_is_taken_with_its_body_and_the_next_try(services):
    envelope = Envelope(MANIFEST["secret"].encode())
    (delivery,) = RedisDeliveries(services.redis, envelope, clock=lambda: round(time.time() * 1000) + HOUR_MS).take(10)
    assert delivery.job_id == MANIFEST["jobs"]["pending"]
    assert delivery.attempt == 3
    assert delivery.job_id.encode() in delivery.body


def test_an_old_deletion_that_broke_off_is_finished(services):
    client_id = services.clients.authenticate(MANIFEST["key"]).id
    assert services.jobs.delete(client_id, MANIFEST["withdrawn"], keep_media=True).output_sha256 is None


def fields(redis, pattern, status=None):
    """Return the fields of the records in Redis that fit, in a status if one is given."""
    records = [redis.hgetall(key) for key in redis.scan_iter(pattern) if redis.type(key) == "hash"]
    return [set(one) - {"step", "progress", "worker"} for one in records if status in (None, one.get("status"))]


@pytest.mark.parametrize("status", [Status.CREATED, Status.RUNNING, Status.SUCCEEDED])
def test_a_record_of_this_release_has_every_field_that_the_last_release_wrote(status, redis, jobs):
    load_redis(redis)
    old = {
        "job": set.union(*fields(redis, "timbre:job:*", status)),
        "delivery": set.intersection(*fields(redis, "timbre:delivery:*")),
        "idempotency": set.union(*fields(redis, "timbre:idempotency:*")),
    }
    assert len(old["job"]) > 10
    assert len(old["delivery"]) > 5
    redis.flushall()
    key = IdempotencyKey("key", "fingerprint")
    made = jobs.create("job", "client", submission("media://a", "https://receiver.example", idempotency_key=key))
    claim = jobs.claim() if status is not Status.CREATED else None
    if status is Status.SUCCEEDED:
        finish(jobs, claim, Status.SUCCEEDED, {})
        assert old["delivery"] - TRIES <= fields(redis, f"timbre:delivery:{made.id}")[0]
    assert old["job"] <= fields(redis, f"timbre:job:{made.id}", status)[0]
    assert old["idempotency"] <= fields(redis, "timbre:idempotency:*")[0]


def test_an_old_voiceprint_string_is_read_and_written_the_same():
    assert Voiceprint.decode(MANIFEST["voiceprint"]).encode() == MANIFEST["voiceprint"]


def test_a_field_that_a_newer_release_adds_to_what_was_heard_is_skipped():
    raw = heard_to_bytes(heard())
    values = json.loads(raw)
    values["quality"]["new"] = values["new"] = 1
    assert heard_to_bytes(heard_from_bytes(json.dumps(values).encode())) == raw

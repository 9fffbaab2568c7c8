"""Browser tokens on the application itself, with real SQL and Redis: what they open, and above all what they do not."""

import base64
import re
import time
from dataclasses import replace
from datetime import datetime

import pytest

from api.app import create_app
from api.auth import authenticate
from api.browser_tokens import OPEN, TokenKind
from api.services import Services
from shared.adapters.sql.administration import Administration
from shared.domain.commands import Lane, from_record
from shared.settings import Settings
from tests.support.callers import Caller
from tests.support.described import Description
from tests.support.people import People, voice
from tests.support.routes import rules

ID = "8b0e0c4e-54b4-4f5b-9d5f-0123456789ab"
ALL_KINDS = [*TokenKind]
WRONG_KEY = "sk_wrong"


@pytest.fixture
def services(redis, redis_server, tmp_path):
    many = {"reads_per_minute": 10**6, "posts_per_minute": 10**6}
    settings = Settings(redis_url=redis_server.url, data_dir=tmp_path, s3_source_buckets="calls", **many)
    found = Services.from_settings(settings)
    yield found
    found.engine.dispose()


@pytest.fixture
def app(services):
    return create_app(services)


@pytest.fixture
def server(app, services):
    return Caller(app, services.clients.create_key("acme"))


@pytest.fixture
def page_of(app):
    """A function that gives a page of a server its token; returns the page, and the names it may use."""

    def make(server, **wanted):
        status, made = server.post("/v1/tokens", **wanted)
        assert status == 201, made
        return Caller(app, made["token"]), made["mediaPrefix"]

    return make


@pytest.fixture
def page(page_of, server):
    found, _ = page_of(server, kinds=ALL_KINDS)
    return found


def code(answer):
    status, body = answer
    return status, body["code"]


REFUSED = (403, "token_not_allowed")


def filled(rule):
    """Return a path of a rule; its ids are of nothing."""
    return re.sub(r"<.+?>", ID, rule.rule)


def methods(rule):
    return sorted(rule.methods - {"OPTIONS"})


def test_a_token_says_how_long_and_what_for_it_is_good(server):
    before = int(time.time())
    answer = server.send("POST", "/v1/tokens", json={})
    made = answer.json
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    assert list(made) == ["token", "expiresAt", "kinds", "mediaPrefix"]
    assert re.fullmatch(r"bt_[\w.-]+", made["token"])
    assert before + 900 <= datetime.fromisoformat(made["expiresAt"]).timestamp() <= time.time() + 900
    assert made["kinds"] == ["voiceprint", "diarize", "identify", "verify"]
    assert re.fullmatch(r"media://tokens/[0-9a-f]{32}/", made["mediaPrefix"])
    _, another = server.post("/v1/tokens", ttlSeconds=1, kinds=["search", "search"])
    assert another["kinds"] == ["search"]
    assert another["mediaPrefix"] != made["mediaPrefix"]


@pytest.mark.parametrize(
    "wanted",
    [
        {"ttlSeconds": 0},
        {"ttlSeconds": 3601},
        {"ttlSeconds": 1.5},
        {"ttlSeconds": True},
        {"ttlSeconds": None},
        {"ttlSeconds": 10**30},
        {"kinds": []},
        {"kinds": ["voiceprint"] * 7},
        {"kinds": ["delete"]},
        {"kinds": [None]},
        {"kinds": "voiceprint"},
        {"kind": ["voiceprint"]},
        {"ttl": 1},
    ],
    ids=str,
)
def test_a_token_of_another_lifetime_or_kind_is_refused(wanted, server):
    status, body = server.post("/v1/tokens", **wanted)
    assert (status, body["code"]) == (400, "invalid_request")
    assert body["errors"][0]["field"].startswith(*wanted)


def test_every_route_is_closed_to_a_token_but_those_that_were_opened(app, page):
    closed = set()
    opened = set()
    for rule in rules(app, of_dialects=False):
        guarded = authenticate in app.before_request_funcs.get(rule.endpoint.rpartition(".")[0], ())
        for method in methods(rule) if guarded else ():
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            answer = page.send(method, filled(rule), json={} if method in ("POST", "PATCH", "PUT") else None)
            operation = ("GET" if method == "HEAD" else method, path)
            if operation in OPEN:
                assert answer.status_code not in (401, 403), (method, path)
                opened.add(operation)
            else:
                assert answer.status_code == 403, (method, path)
                closed.add((method, path))
    assert {
        ("GET", "/v2/jobs"), ("GET", "/v1/media"), ("DELETE", "/v1/jobs/{job_id}"), ("DELETE", "/v1/media/{key}"),
        ("POST", "/v1/tokens"), ("GET", "/v1/usage"), ("GET", "/v1/audit"), ("POST", "/v1/webhook-secret"),
        ("POST", "/v1/jobs/{job_id}/redeliver"), ("GET", "/v1/jobs/{job_id}/deliveries"),
        ("POST", "/v1/identities/{identity}/verify"), ("GET", "/v1/space"),
    } < closed  # fmt: skip
    assert opened == set(OPEN)


def test_a_closed_route_says_what_to_do_and_costs_the_client_no_request(page, server):
    refused = page.send("GET", "/v2/jobs")
    assert refused.json["message"].endswith("send the request from your server, with an API key.")
    assert "X-RateLimit-Remaining" not in refused.headers
    left = int(server.send("GET", "/v2/jobs").headers["X-RateLimit-Remaining"])
    assert left == 10**6 - 1


def test_an_open_route_counts_for_the_client(page, server):
    path = f"/v1/jobs/{ID}"
    page.send("GET", path)
    assert int(server.send("GET", path).headers["X-RateLimit-Remaining"]) == 10**6 - 2


def test_a_token_is_a_wrong_key_to_every_other_vendors_api(app, page, server, services):
    group = Caller(app, services.clients.create_group_key("acme", "team"))
    wrong = Caller(app, WRONG_KEY)
    known = set()
    for rule in rules(app, of_dialects=True):
        for method in methods(rule):
            by_token, by_wrong, *by_right = (
                _vendors_answer(one, method, filled(rule)) for one in (page, wrong, server, group)
            )
            assert by_token == by_wrong, (method, rule)
            known |= {rule.endpoint.partition(".")[0]} if {*by_right} != {by_wrong} else set()
    # Where the right keys were shown, they would have been known.
    assert {"spaces", "spaces-entrance", "enroll", "voisentry"} <= known


def _vendors_answer(caller, method, path):
    """Return status and body of a request that shows its key in every place where vendors look for one."""
    basic = base64.b64encode(f"acme:{caller.key}".encode()).decode()
    answers = [
        caller.send(method, path, data={"api_key": caller.key}),
        caller.send(method, path, {"Authorization": f"Basic {basic}"}, data={"api_key": caller.key}),
        caller.send(method, path, json={"handle": "acme", "password": caller.key, "api_key": caller.key}),
    ]
    texts = [answer.text.replace(answer.headers.get("X-Request-Id", "-"), "ID") for answer in answers]
    return answers[0].status_code, *[re.sub(r"\d{4}-\d\d-\d\d[T_ ][\d:.]+", "NOW", text) for text in texts]


def test_a_token_is_void_with_its_time_its_key_and_its_client(app, server, services, tmp_path, page_of):
    administration = Administration(services.engine, services.settings.secret_bytes())
    other_key = Caller(app, services.clients.create_key("acme"))
    first, _ = page_of(server)
    second, _ = page_of(other_key)
    assert (models(first), models(second)) == (503, 503)
    administration.revoke_key(administration.key_id(server.key))
    assert (models(first), models(second)) == (401, 503)
    administration.revoke_client("acme")
    assert models(second) == 401
    # What was revoked stays so, though the client is back.
    services.clients.create_key("acme")
    assert (models(first), models(second)) == (401, 401)


def models(page):
    """Return the status of a read that needs nothing but a token: 503, for no worker runs."""
    return page.send("GET", "/v1/models").status_code


def test_a_token_that_is_over_or_was_tampered_with_is_no_token(app, page, services):
    token = services.browser_tokens.read(page.key)
    over = services.browser_tokens.sign(replace(token, expires_s=int(time.time())))
    longer = Services.from_settings(replace(services.settings, data_dir=services.settings.data_dir / "other"))
    forged = longer.browser_tokens.sign(token)
    longer.engine.dispose()
    for text in (over, forged, page.key[:-1], page.key[3:], "bt_", "bt_.", "bt_\xff\x00", page.key + "x"):
        answer = Caller(app, text).send("GET", "/v1/models")
        assert (answer.status_code, answer.json["code"]) == (401, "unauthorized"), text
    assert Caller(app, over).send("GET", "/v1/models").json["message"].endswith("ask your server for a new one.")


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told | {"onlyFrom": "https://example.org"},
        lambda told: {name: value for name, value in told.items() if name != "kinds"},
        lambda told: told | {"kinds": None},
        lambda told: told | {"kinds": "voiceprint"},
        lambda told: told | {"kinds": [1]},
        lambda told: told | {"expires_s": str(told["expires_s"])},
        lambda told: told | {"client_id": None},
        lambda told: [told],
        lambda told: None,
    ],
)
def test_a_token_of_a_form_that_this_release_does_not_sign_is_no_token(change, app, page, services):
    signer = services.browser_tokens._signer
    told = signer.loads(page.key[3:])
    assert Caller(app, "bt_" + signer.dumps(told)).send("GET", "/v1/models").status_code == 503
    answer = Caller(app, "bt_" + signer.dumps(change(told))).send("GET", "/v1/models")
    assert (answer.status_code, answer.json["code"]) == (401, "unauthorized")


def test_signatures_for_other_purposes_are_no_tokens_and_tokens_are_none_of_them(app, page, server):
    address = server.post("/v1/media/input", url="media://a")[1]["url"]
    assert Caller(app, "bt_" + address.rpartition("/")[2]).send("GET", "/v1/models").status_code == 401
    for purpose in ("upload", "download"):
        method = "PUT" if purpose == "upload" else "GET"
        assert page.send(method, f"/v1/media/{purpose}/{page.key[3:]}").status_code == 404


@pytest.mark.parametrize("kind", TokenKind)
def test_a_token_starts_jobs_of_its_kinds_alone(kind, page_of, server):
    page, prefix = page_of(server, kinds=[kind])
    for other in TokenKind:
        status, body = page.post(f"/v1/{other}", url=f"{prefix}a", identity="ann", identities=["ann"])
        if other is kind:
            assert status != 403, body
        else:
            assert code((status, body)) == REFUSED
            assert f"with {other} in `kinds`" in body["message"]


def test_a_whole_space_is_named_by_those_alone_who_may_search(page_of, server, people, app):
    ann = people.identity("ann")
    people.enrolment(ann)
    page, prefix = page_of(server)
    here = {"url": f"{prefix}a"}
    assert page.post("/v1/identify", **here, identities=["ann"])[0] == 200
    assert page.post("/v1/verify", **here, identity="ann")[0] == 200
    for space in ("default", "unknown"):
        assert code(page.post("/v1/identify", **here, space=space)) == REFUSED
        # One known voice beside them makes no difference.
        known = [{"label": "Ann", "voiceprint": voice().encode()}]
        assert code(page.post("/v1/identify", **here, space=space, voiceprints=known)) == REFUSED
    searcher, prefix = page_of(server, kinds=["identify", "search"])
    assert searcher.post("/v1/identify", url=f"{prefix}a", space="default")[0] == 200


@pytest.mark.parametrize("kinds", [["verify"], ["verify", "enrol"], None])
def test_an_enrolment_learns_from_those_alone_who_may_enrol(kinds, page_of, server, people, services):
    people.enrolment(people.identity("ann"))
    caller, prefix = page_of(server, kinds=kinds) if kinds else (server, "media://")
    assert caller.post("/v1/verify", url=f"{prefix}a", identity="ann")[0] == 200
    claim = services.jobs.jobs.claim([Lane.SHORT], "worker", 1)
    assert from_record(claim.record).keep_enrolment == (kinds == ["verify"])


@pytest.fixture
def people(server, tmp_path):
    return People(tmp_path, server.key)


def test_a_token_names_its_own_uploads_alone(page_of, server):
    page, prefix = page_of(server)
    _, others = page_of(server)
    foreign = [
        "media://voice.wav",
        f"{others}a",
        f"media://{prefix.removeprefix('media://')[:-1]}a",
        f"media:///{prefix.removeprefix('media://')}a",
        "media://tokens/",
        "s3://calls/a.wav",
        "https://example.org/a.wav",
        "http://127.0.0.1/a.wav",
    ]
    for url in foreign:
        assert code(page.post("/v1/voiceprint", url=url)) == REFUSED, url
        if url.startswith("media://"):
            for purpose in ("input", "output"):
                status, body = page.post(f"/v1/media/{purpose}", url=url)
                assert code((status, body)) == REFUSED
                assert body["message"].endswith(f"upload the recording to a name below {prefix}.")
    for climbing in (f"{prefix}../../voice.wav", f"{prefix}./a"):
        assert code(page.post("/v1/media/output", url=climbing)) == (400, "invalid_request")


def test_a_page_uploads_a_recording_and_follows_and_cancels_its_job(page_of, server):
    page, prefix = page_of(server)
    source = {"url": f"{prefix}voice.webm"}
    status, address = page.post("/v1/media/input", **source)
    assert status == 201
    path = address["url"].partition("localhost")[2]
    assert page.send("PUT", path, data=b"a voice").status_code == 200
    _, address = page.post("/v1/media/output", **source)
    with page.send("GET", address["url"].partition("localhost")[2]) as download:
        assert download.data == b"a voice"
    status, job = page.post("/v1/voiceprint", **source)
    assert status == 200
    assert page.send("GET", f"/v1/jobs/{job['jobId']}").json["status"] == "created"
    assert page.post(f"/v1/jobs/{job['jobId']}/cancel")[1]["status"] == "canceled"
    # The server sees what its page has done, and may go on with the upload.
    assert server.send("GET", f"/v1/jobs/{job['jobId']}").json["status"] == "canceled"
    assert [one["url"] for one in server.send("GET", "/v1/media").json["items"]] == [source["url"]]


def test_a_page_reads_no_job_of_another_client(page, app, services):
    stranger = Caller(app, services.clients.create_key("stranger"))
    _, job = stranger.post("/v1/voiceprint", url="media://a")
    assert page.send("GET", f"/v1/jobs/{job['jobId']}").status_code == 404
    assert code(page.post(f"/v1/jobs/{job['jobId']}/cancel")) == (404, "not_found")


def test_a_page_names_no_webhook_not_even_by_repeating_a_request(page_of, server):
    page, prefix = page_of(server)
    body = {"url": f"{prefix}a", "webhook": "https://example.org/hook"}
    once = {"Idempotency-Key": "once"}
    assert server.post("/v1/voiceprint", once, **body)[0] == 200
    status, refused = page.post("/v1/voiceprint", once, **body)
    assert code((status, refused)) == REFUSED
    assert "wait for the job" in refused["message"]


def test_idempotency_keys_of_a_page_are_its_own(page_of, server):
    (page, prefix), (other, others) = page_of(server), page_of(server)
    once = {"Idempotency-Key": "once"}
    same = {"url": f"{prefix}a"}
    _, first = server.post("/v1/voiceprint", once, **same)
    _, second = page.post("/v1/voiceprint", once, **same)
    assert second["jobId"] != first["jobId"]
    assert page.post("/v1/voiceprint", once, **same)[1]["jobId"] == second["jobId"]
    assert code(page.post("/v1/voiceprint", once, url=f"{prefix}b")) == (422, "idempotency_mismatch")
    # No visitor takes a key away from another.
    assert other.post("/v1/voiceprint", once, url=f"{others}a")[0] == 200


def test_what_a_page_does_is_told_of_the_key_that_made_its_token(page_of, server, services, people):
    people.identity("ann")
    page, prefix = page_of(server, kinds=["enrol"])
    assert page.post("/v1/enrol", url=f"{prefix}a", identity="ann")[0] == 200
    administration = Administration(services.engine, services.settings.secret_bytes())
    told = server.send("GET", "/v1/audit?kind=sample").json["items"]
    assert [one["keyId"] for one in told] == [administration.key_id(server.key)]


@pytest.mark.parametrize(
    "change",
    [
        {"expiresAt": "2100-01-01T00:00:00Z"},
        {"name": "Ann"},
        {"consent": {"givenAt": "2026-05-04T09:30:00Z", "reference": "contract 17"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_page_neither_makes_nor_changes_an_identity(change, page_of, server, people):
    people.identity("ann")
    page, prefix = page_of(server, kinds=["enrol"])
    before = server.send("GET", "/v1/identities/ann").json
    here = {"url": f"{prefix}a"}
    assert code(page.post("/v1/enrol", **here, identity="ann", **change)) == REFUSED
    assert server.send("GET", "/v1/identities/ann").json == before
    for new in ({"identity": "bob"}, {"identity": "ann", "space": "new"}):
        assert code(page.post("/v1/enrol", **here, **new)) == (404, "not_found")
    assert server.send("GET", "/v1/space?space=new").status_code == 404


def test_the_description_names_what_is_open_to_tokens_and_what_is_not(app):
    description = Description(app.test_client().get("/openapi.json").json)
    for operation in description.operations():
        is_open = (operation.method, operation.path) in OPEN
        guarded = operation.body.get("security") != []
        assert (operation.body.get("security") == [{"key": []}, {"token": []}]) == is_open
        refuses = "403" in description.answers(operation)
        assert refuses >= (guarded and not is_open), operation.path
        assert refuses <= guarded

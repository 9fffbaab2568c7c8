"""Web pages of the allowed origins, and of no others, may call the API."""

import pytest

from api.app import create_app
from api.services import Services
from shared.settings import Settings

ALLOWED = "https://app.example.org"
STRANGER = "https://elsewhere.example"
READABLE = (
    "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, "
    "Accept-Ranges, Content-Range, Content-Disposition"
)


@pytest.fixture
def browser(redis, redis_server, tmp_path):
    """A function that makes a browser: a test client of an API with these origins, and an API key."""
    engines = []

    def make(origins):
        settings = Settings(redis_url=redis_server.url, data_dir=tmp_path, cors_origins=origins)
        services = Services.from_settings(settings)
        engines.append(services.engine)
        return create_app(services).test_client(), {"Authorization": f"Bearer {services.clients.create_key('page')}"}

    yield make
    for engine in engines:
        engine.dispose()


def preflight(client, path, method, origin=ALLOWED):
    headers = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "x"}
    return client.options(path, headers=headers)


def cors_headers(answer):
    return {name: value for name, value in answer.headers.items() if name.startswith("Access-Control-")}


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/voiceprint", {"POST", "OPTIONS"}),
        ("/v1/jobs/0e2c1a4e-7a4f-4a67-9f43-0123456789ab", {"GET", "HEAD", "DELETE", "OPTIONS"}),
        # An upload called upload/token can be deleted.
        ("/v1/media/upload/token", {"PUT", "DELETE", "OPTIONS"}),
        ("/v1/media/download/token", {"GET", "HEAD", "DELETE", "OPTIONS"}),
        ("/healthz", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_preflight_needs_no_key_and_names_the_methods_of_its_address(browser, path, methods):
    client, _ = browser(f"http://localhost:3000,{ALLOWED}")
    answer = preflight(client, path, "PUT")
    assert (answer.status_code, answer.data) == (204, b"")
    assert set(answer.headers.pop("Access-Control-Allow-Methods").split(", ")) == methods
    assert cors_headers(answer) == {
        "Access-Control-Allow-Origin": ALLOWED,
        "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Prefer, Range, Traceparent",
        "Access-Control-Max-Age": "600",
        "Access-Control-Expose-Headers": READABLE,
    }
    assert answer.headers["Vary"] == "Origin"


def test_preflights_are_not_counted_as_requests(browser):
    client, key = browser(ALLOWED)
    for _ in range(5):
        preflight(client, "/v1/test", "GET")
    assert client.get("/v1/test", headers=key).headers["X-RateLimit-Remaining"] == "299"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/test", 200),
        ("POST", "/v1/voiceprint", 400),
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/test", 405),
        ("PUT", "/v1/media/upload/token", 404),
    ],
)
def test_answers_and_errors_can_be_read_by_pages_of_an_allowed_origin_alone(browser, method, path, status):
    client, key = browser(ALLOWED)
    allowed = client.open(path, method=method, headers=key | {"Origin": ALLOWED})
    assert allowed.status_code == status
    assert cors_headers(allowed) == {
        "Access-Control-Allow-Origin": ALLOWED,
        "Access-Control-Expose-Headers": READABLE,
    }
    for origin in ({"Origin": STRANGER}, {"Origin": "null"}, {"Origin": f"{ALLOWED}.evil.example"}, {}):
        answer = client.open(path, method=method, headers=key | origin)
        assert answer.status_code == status
        assert cors_headers(answer) == {}
        assert answer.headers["Vary"] == "Origin"


def test_a_missing_key_is_told_to_the_page_too(browser):
    client, _ = browser(ALLOWED)
    answer = client.get("/v1/test", headers={"Origin": ALLOWED})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == ALLOWED


def test_with_a_star_every_origin_is_allowed_and_none_with_the_browsers_credentials(browser):
    client, key = browser("*")
    for answer in (
        preflight(client, "/v1/test", "GET", STRANGER),
        client.get("/v1/test", headers=key | {"Origin": STRANGER}),
    ):
        assert answer.status_code in (200, 204)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Vary" not in answer.headers


@pytest.mark.parametrize("origins", [None, ALLOWED])
def test_to_other_origins_options_is_what_it_was(browser, origins):
    client, key = browser(origins)
    assert preflight(client, "/v1/test", "GET", STRANGER).status_code == 401
    plain = client.options("/v1/test", headers=key)
    assert (plain.status_code, cors_headers(plain)) == (200, {})
    assert preflight(client, "/v1/nothing", "GET", ALLOWED).status_code == 404


def test_without_the_setting_nothing_is_said_of_origins(browser):
    client, key = browser(None)
    answer = client.get("/v1/test", headers=key | {"Origin": ALLOWED})
    assert (answer.status_code, cors_headers(answer)) == (200, {})
    assert "Vary" not in answer.headers

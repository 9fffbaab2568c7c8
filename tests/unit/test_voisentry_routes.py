"""Routes of voice biometrics users: the tables of them, the envelope of their errors, and who may call."""

import re

import pytest

from api.app import create_app
from api.services import Services
from shared.settings import Settings
from tests.support.readme import chapter
from tests.support.routes import routes

#: A row may name several methods.
_ROW = re.compile(r"^\| `([A-Z]+(?:, [A-Z]+)*) (/\S+)` \|", re.MULTILINE)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    services = Services.from_settings(Settings(data_dir=tmp_path_factory.mktemp("data")))
    yield create_app(services)
    services.engine.dispose()


def test_every_route_is_in_the_tables(app):
    rows = _ROW.findall(chapter("Voice biometrics users"))
    told = {(method, path) for methods, path in rows for method in methods.split(", ")}
    assert routes(app, dialect="voisentry") == told


def test_every_route_needs_a_key_and_answers_in_its_form(app):
    client = app.test_client()
    for method, path in sorted(routes(app, dialect="voisentry")):
        answer = client.open(path, method=method)
        assert answer.status_code == 401, path
        of_node = path.startswith("/voisentry/")
        assert set(answer.json) == ({"status", "result"} if of_node else {"error", "request"})


@pytest.mark.parametrize("path", ["/voice_biometrics", "/voice_biometrics/v1/user/x", "/voisentry", "/voisentry/x"])
def test_addresses_of_nothing_answer_in_the_form_of_their_path(app, path):
    answer = app.test_client().get(path)
    assert answer.status_code == 404
    assert set(answer.json) == ({"status", "result"} if path.startswith("/voisentry") else {"error", "request"})


def test_other_paths_keep_their_form(app):
    assert set(app.test_client().get("/voisentry-x").json) == {"requestId", "code", "message"}

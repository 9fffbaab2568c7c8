"""The page's files: on only where asked for, by their types, never stale, under a strict policy."""

import re
from graphlib import TopologicalSorter

import pytest

from api.app import create_app
from api.page import FOLDER
from api.services import Services
from shared.settings import Settings

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:{uploads}; connect-src 'self'{uploads}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Folders of the page's scripts -> those that they may import from, besides their own; "" is that of main.js.
MAY_IMPORT = {
    "": {"common", "compare", "history", "listen", "session"},
    "common": set(),
    "compare": {"common"},
    "history": {"common"},
    "listen": {"common", "result"},
    "result": {"common"},
    "session": {"common"},
}
#: An import at the beginning of a line; those of example programs stand further in.
IMPORT = re.compile(r"""^(?:import\b|export\b[^=({]*\bfrom\b|} from\b)[^"'\n]*["'](.+?)["'];?$""", re.MULTILINE)
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    yield from client_of(Settings(data_dir=tmp_path_factory.mktemp("data"), page=True))


def client_of(settings):
    services = Services.from_settings(settings)
    yield create_app(services).test_client()
    services.engine.dispose()


def test_it_is_off_unless_asked_for(tmp_path):
    for client in client_of(Settings.from_env({"TIMBRE_DATA_DIR": str(tmp_path)})):
        assert client.get("/").headers["Location"] == "/docs"
        assert client.get("/static/main.js").status_code == 404


@pytest.mark.parametrize("path", ["/", *(f"/static/{name}" for name in FILES)])
def test_every_file_is_served_under_the_strict_policy_and_asked_for_again(path, client):
    answer = client.get(path)
    assert answer.data == (FOLDER / (path.removeprefix("/static/").strip("/") or "index.html")).read_bytes()
    assert answer.headers["Content-Security-Policy"] == POLICY.format(uploads="")
    assert answer.headers["Permissions-Policy"] == "microphone=(self)"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-cache"
    known = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (known.status_code, known.data) == (304, b"")
    assert known.headers["Content-Security-Policy"] == answer.headers["Content-Security-Policy"]
    assert client.get(path, headers={"If-None-Match": '"another"'}).status_code == 200


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/static/main.js", "text/javascript; charset=utf-8"),
        ("/static/theme.css", "text/css; charset=utf-8"),
    ],
)
def test_files_have_their_types(path, kind, client):
    assert client.get(path).headers["Content-Type"] == kind


@pytest.mark.parametrize(
    "path",
    [
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "/etc/passwd",
        ".",
        "",
        "x\0.js",
        "main.js/",
        "/main.js",
        "templates",
    ],
)
def test_nothing_else_is_served(path, client):
    answer = client.get(f"/static/{path}")
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_it_is_not_a_part_of_the_api(client):
    assert not [path for path in client.get("/openapi.json").json["paths"] if path == "/" or "static" in path]


@pytest.mark.parametrize(
    ("settings", "origin"),
    [
        ({}, "https://calls.s3.amazonaws.com"),
        ({"s3_bucket": "my.calls", "s3_region": "eu-central-1"}, "https://s3.eu-central-1.amazonaws.com"),
        ({"s3_endpoint_url": "http://127.0.0.1:9000/store"}, "http://127.0.0.1:9000"),
        (
            {"s3_endpoint_url": "http://store:8333", "s3_public_url": "https://media.example.org"},
            "https://media.example.org",
        ),
    ],
)
def test_where_uploads_lie_in_s3_the_page_may_send_and_play_them_there(settings, origin, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    for client in client_of(Settings(data_dir=tmp_path, page=True, **{"s3_bucket": "calls"} | settings)):
        policy = client.get("/").headers["Content-Security-Policy"]
        assert policy == POLICY.format(uploads=f" {origin}")
        with client.application.app_context():
            addresses = client.application.extensions["timbre"].addresses
            assert addresses.get_address("client", "key").startswith(f"{origin}/")


def test_scripts_import_what_is_there_and_their_layer_may_without_cycles():
    imports = {path: imported(path) for path in FOLDER.rglob("*.js")}
    missing = {there for found in imports.values() for there in found} - imports.keys()
    assert not missing
    forbidden = {(path, there) for path, found in imports.items() for there in found if not may_import(path, there)}
    assert not forbidden
    # Raises CycleError for what imports itself by others.
    assert len(list(TopologicalSorter(imports).static_order())) == len(imports) > 40


def imported(path):
    return {(path.parent / name).resolve() for name in IMPORT.findall(path.read_text())}


def may_import(path, there):
    folder, other = folder_of(path), folder_of(there)
    return other == folder or other in MAY_IMPORT[folder]


def folder_of(path):
    return path.relative_to(FOLDER).parent.as_posix().removeprefix(".")

"""Code samples of the docs page, run against a server that notes each request."""

import html
import json
import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from api.app import create_app
from api.services import Services
from shared.settings import Settings
from tests.support.described import Description

KEY = "sk_test"
FILE = b"RIFF"


class Notes(ThreadingHTTPServer):
    """An HTTP server that answers `{}` and keeps every request: method, path, Authorization, body."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, self.headers.get("Authorization"), body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with Notes() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def app(server, tmp_path_factory):
    services = Services.from_settings(Settings(data_dir=tmp_path_factory.mktemp("data"), public_url=server.url))
    yield create_app(services)
    services.engine.dispose()


def curl(code, folder):
    command(["sh", "-c", code + " -sSf"], folder)


def python(code, folder):
    exec(compile(code, "sample", "exec"), {})


def javascript(code, folder):
    (folder / "sample.mjs").write_text(code)
    command(["node", "sample.mjs"], folder)


def command(words, folder):
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=os.environ | {"SERVICE_KEY": KEY})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("language", "run"),
    [
        ("curl", curl),
        ("Python", python),
        pytest.param(
            "JavaScript", javascript, marks=pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not here")
        ),
    ],
)
def test_every_sample_sends_its_operations_example(language, run, app, server, tmp_path, monkeypatch):
    monkeypatch.setenv("SERVICE_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recording.wav").write_bytes(FILE)
    client = app.test_client()
    description, page = Description(client.get("/openapi.json").json), client.get("/docs").text
    for operation in description.operations():
        article = re.search(f'<article id="{operation.body["operationId"]}">(.*?)</article>', page, re.DOTALL)[1]
        code = html.unescape(re.search(f'aria-label="{language}">(.*?)</pre>', article, re.DOTALL)[1])
        run(code, tmp_path)
        method, path, key, body = server.requests.pop()
        assert method == operation.method
        assert re.fullmatch(re.sub(r"{\w+}", r"[\\w.-]+", operation.path), path)
        assert key == (None if operation.body.get("security") == [] else f"Bearer {KEY}")
        assert_body(body, operation)


def assert_body(body, operation):
    content = operation.body.get("requestBody", {}).get("content", {})
    if operation.reads_json:
        assert json.loads(body) == content["application/json"]["examples"]["example"]["value"]
    else:
        assert body == (FILE if content else b"")

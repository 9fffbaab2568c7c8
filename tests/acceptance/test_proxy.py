"""The proxy of production: Caddy with its Caddyfile in front of API, stream and an S3 server, by TLS."""

import io
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from select import select

import pytest
import requests
from moto.server import ThreadedMotoServer
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from shared.adapters.media import open_media
from shared.local.stack import Stack, free_port
from shared.settings import Settings
from tests.support.caddy import Caddy, caddy
from tests.support.client import Client
from tests.support.groups import make_group_key
from tests.support.servers import NAME, AudioHost, audio_host
from tests.support.sounds import DATA
from tests.support.stacks import LOOPBACK, bugs, first_client, running

MIB = 1024 * 1024
#: Largest upload.
MOST = 70 * MIB
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
#: Memory of a Caddy that passes bodies on in pieces: less than one body. It took 36 MiB.
CADDY_MIB = 64


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {name: free_port() for name in ("API", "STREAM", "STORE", "TLS")}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Stack]:
    settings = {
        "bind": f"127.0.0.1:{ports['API']}",
        "stream_bind": f"127.0.0.1:{ports['STREAM']}",
        "public_url": f"https://localhost:{ports['TLS']}",
        "worker_processes": 1,
        "max_diarize_bytes": MOST,
        "max_file_bytes": MOST,
    }
    with running(tmp_path_factory.mktemp("proxied"), **LOOPBACK, **settings) as stack:
        yield stack
        assert bugs(stack) == []


@pytest.fixture(scope="module")
def proxy(stack: Stack, tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Caddy]:
    upstreams = {name: port for name, port in ports.items() if name != "TLS"}
    with caddy(tmp_path_factory.mktemp("proxy") / "caddy", ports["TLS"], "72MiB", **upstreams) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def client(stack: Stack) -> Client:
    return first_client(stack)


@pytest.fixture(scope="module")
def host() -> Iterator[AudioHost]:
    with audio_host() as host:
        yield host


@pytest.fixture(scope="module")
def store(ports: dict[str, int], proxy: Caddy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """An S3 server behind the proxy, with the bucket that a start of compose makes."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=ports["STORE"], verbose=False)
    server.start()
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("s3"),
        s3_bucket="proxied",
        s3_endpoint_url=f"http://127.0.0.1:{ports['STORE']}",
        s3_public_url=proxy.media_url,
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        assert made(settings) == ["bucket proxied: made", "bucket proxied: is there"]
        yield settings
    server.stop()


def made(settings: Settings) -> list[str]:
    """Return what two runs of the command that makes the bucket print."""
    environment = os.environ | settings.environment()
    command = [sys.executable, "-m", "shared.adapters.s3_bucket"]
    return [subprocess.check_output(command, env=environment, text=True).strip() for _ in range(2)]


def zeros(size: int) -> io.BytesIO:
    return io.BytesIO(bytes(size))


def peak_mib(proxy: Caddy) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{proxy.pid}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def bearer(client: Client) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.key}"}


def address(proxy: Caddy, client: Client, name: str) -> str:
    answer = proxy.send("POST", f"{proxy.url}/v1/media/input", json={"url": name}, headers=bearer(client))
    url = str(answer.json()["url"])
    assert url.startswith(f"{proxy.url}/"), url
    return url


def test_an_upload_of_70_mib_passes_in_pieces(proxy: Caddy, client: Client) -> None:
    assert proxy.send("PUT", address(proxy, client, "media://long.wav"), data=zeros(MOST)).status_code == 200
    listed = proxy.send("GET", f"{proxy.url}/v1/media", headers=bearer(client)).json()
    assert [(item["url"], item["bytes"]) for item in listed["items"]] == [("media://long.wav", MOST)]
    if sys.platform == "linux":
        assert peak_mib(proxy) < CADDY_MIB


def test_the_api_says_itself_that_an_upload_is_too_large_before_all_is_sent(proxy: Caddy, client: Client) -> None:
    context = ssl.create_default_context(cafile=proxy.authority)
    # A later TLS sends tickets that nobody asked for, which look like an answer.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    connection = HTTPSConnection("localhost", proxy.port, context=context, timeout=30)
    connection.putrequest("PUT", address(proxy, client, "media://larger.wav").removeprefix(proxy.url))
    connection.putheader("Content-Length", str(MOST + 1))
    connection.endheaders()
    # A client that looks for an answer while it sends.
    while not select([connection.sock], [], [], 0.05)[0]:
        connection.send(bytes(1024))
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (413, "request_too_large")
    connection.close()


def test_a_request_waits_for_its_job_through_the_proxy(proxy: Caddy, client: Client, host: AudioHost) -> None:
    host.serve(NAME, (DATA / NAME).read_bytes())
    job_id = client.submit(host.url(f"late/{NAME}"))
    answer = proxy.send("GET", f"{proxy.url}/v1/jobs/{job_id}", params={"wait": "60"}, headers=bearer(client))
    assert answer.json()["status"] == "succeeded"


def test_sockets_lead_to_the_stream(proxy: Caddy, stack: Stack) -> None:
    key = make_group_key(stack.settings, "Group", "group")
    query = {"user_id": "Ada"}
    path = "/voice_biometrics/v1/user/register"
    answer = proxy.send("GET", f"{proxy.url}{path}", params=query, auth=("1-2-0/bob@example.com", key))
    url = answer.json()["url"]
    assert url.startswith(f"wss://localhost:{proxy.port}/wss/register?auth_token=")
    with connect(url, ssl=ssl.create_default_context(cafile=proxy.authority)) as websocket:
        websocket.send(json.dumps({"event": "audio_sent"}))
        assert json.loads(websocket.recv(60))["event"] == "reject"


@pytest.mark.parametrize("prefix", ["", "/v1", "/audiointel/eu/v1"])
@pytest.mark.parametrize("kind", ["identity", "authenticity"])
def test_sockets_of_spaces_lead_to_the_stream(proxy: Caddy, prefix: str, kind: str) -> None:
    url = f"wss://localhost:{proxy.port}{prefix}/spaces/acme/calls/verify/{kind}"
    with pytest.raises(InvalidStatus) as refused:
        connect(url, ssl=ssl.create_default_context(cafile=proxy.authority))
    assert refused.value.response.status_code == 401


def test_presigned_addresses_work_through_the_proxy(proxy: Caddy, store: Settings) -> None:
    media = open_media(store)
    put, get = media.put_address("client", "call.wav"), media.get_address("client", "call.wav")
    assert put.startswith(f"{proxy.media_url}/proxied/")
    assert proxy.send("PUT", put, data=zeros(2 * MIB)).status_code == 200
    assert proxy.send("GET", get).content == bytes(2 * MIB)


def test_the_store_takes_presigned_requests_alone(proxy: Caddy, store: Settings) -> None:
    media = open_media(store)
    for url in (proxy.media_url, f"{proxy.media_url}/proxied?list-type=2"):
        assert proxy.send("GET", url).status_code == 404
    assert proxy.send("DELETE", media.put_address("client", "call.wav")).status_code == 404


def test_http_leads_to_https_and_browsers_are_told_to_stay(proxy: Caddy) -> None:
    moved = requests.get(f"http://localhost:{proxy.http_port}/v1/jobs", allow_redirects=False, timeout=5)
    assert (moved.status_code, moved.headers["Location"]) == (308, "https://localhost/v1/jobs")
    health = proxy.send("GET", f"{proxy.url}/healthz")
    assert health.status_code == 200
    assert health.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "Caddy" not in str(health.headers)


def test_what_is_wrong_inside_is_not_for_the_public(proxy: Caddy) -> None:
    assert proxy.send("GET", f"{proxy.url}/readyz").status_code == 404
    assert proxy.send("GET", f"{proxy.url}/metrics").status_code == 404
    # Of a proxy on its own machine gunicorn would take what stands before the path.
    assert proxy.send("GET", f"{proxy.url}/a/readyz", headers={"SCRIPT_NAME": "/a"}).status_code == 404


def test_no_log_holds_an_address(proxy: Caddy, tmp_path: Path) -> None:
    dead = {name: free_port() for name in ("API", "STREAM", "STORE")}
    with caddy(tmp_path / "caddy", free_port(), **dead) as lonely:
        assert lonely.send("GET", f"{lonely.url}/upload/canary?token=canary").status_code == 502
        log = lonely.log.read_text()
    assert "connection refused" in log
    assert "canary" not in log

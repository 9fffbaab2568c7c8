"""Clients that send or read slowly, 64 at a time: nobody else waits for them, and each is cut off in its time."""

import json
import socket
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from select import select
from threading import Event, Thread

import pytest
import requests

from tests.support.apis import api_process
from tests.support.client import eventually

SOCKETS = 64
FILE = b"\0" * 8_000_000
#: Between two bytes of a client that sends slowly.
DRIP_S = 0.2
#: A client that cannot be served while the slow ones are there would wait for much longer.
PATIENCE_S = 10
CUT_WITHIN_S = 60


@pytest.fixture(scope="module")
def service(tmp_path_factory, redis_server):
    folder = tmp_path_factory.mktemp("slow")
    with api_process(folder, redis_server.url, reads_per_minute=10**6, posts_per_minute=10**6) as (client, process):
        client.upload("large", FILE)
        yield client, process


@pytest.fixture
def client(service):
    return service[0]


@pytest.fixture
def sockets(service):
    """Return a function that counts the sockets of the API's only process."""
    (worker,) = Path(f"/proc/{service[1].pid}/task/{service[1].pid}/children").read_text().split()

    def count():
        descriptors = list(Path(f"/proc/{worker}/fd").iterdir())
        return sum(_is_socket(descriptor) for descriptor in descriptors)

    return count


def _is_socket(descriptor):
    with suppress(OSError):
        return str(descriptor.readlink()).startswith("socket:")
    return False


def path_of(client, address):
    return address.removeprefix(client.url).encode()


def half_a_line(client):
    return b"GET /v1/te"


def half_the_headers(client):
    return b"GET /v1/test HTTP/1.1\r\nHost: x\r\nX-Half: "


def dripping_json(client):
    head = f"POST /v1/voiceprint HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.key}\r\n"
    return head.encode() + b'Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"url":"'


def expected_json(client):
    return dripping_json(client).replace(b"Host", b"Expect: 100-continue\r\nHost").partition(b'{"url')[0]


def dripping_upload(client):
    path = path_of(client, client.address("media://slow"))
    return b"PUT %b HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nRIFF" % path


def dripping_chunks(client):
    path = path_of(client, client.address("media://slow"))
    return b"PUT %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\nRIFF" % path


def dripping_small_upload(client):
    path = path_of(client, client.address("media://slow"))
    return b"PUT %b HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nRIFF" % path


def refused_upload(client):
    return b"PUT /v1/media/upload/forged HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nRIFF"


def keep_alive(client):
    return b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def ended(client):
    return b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def download(client):
    address = client.post("/v1/media/output", url="media://large").json()["url"]
    return b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path_of(client, address)


def part_of_a_download(client):
    return download(client).replace(b"Host", b"Range: bytes=1000000-7900000\r\nHost")


def unread_pages(client):
    return b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n" * 50


#: What each sort of client sends at first, and whether it goes on byte by byte.
SORTS = {
    half_a_line: True,
    half_the_headers: True,
    dripping_json: True,
    expected_json: True,
    dripping_upload: True,
    dripping_chunks: True,
    dripping_small_upload: True,
    refused_upload: True,
    keep_alive: False,
    ended: False,
    download: False,
    part_of_a_download: False,
    unread_pages: False,
}
#: Those that can still be told what was wrong.
TOLD = (
    half_a_line,
    half_the_headers,
    dripping_json,
    expected_json,
    dripping_upload,
    dripping_chunks,
    dripping_small_upload,
)


def connect(client):
    host, _, port = client.url.removeprefix("http://").partition(":")
    connection = socket.socket()
    # A client that does not read has little room for what it is sent.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE_S)
    connection.connect((host, int(port)))
    return connection


@contextmanager
def slow_clients(client, sort, number=SOCKETS):
    """Open connections of one sort until the end of the block."""
    beginning, over = sort(client), Event()
    with ExitStack() as opened:
        connections = [opened.enter_context(connect(client)) for _ in range(number)]
        for connection in connections:
            connection.sendall(beginning)
        drip = Thread(target=_drip, args=(connections if SORTS[sort] else [], over))
        drip.start()
        try:
            yield connections
        finally:
            over.set()
            drip.join()


def _drip(connections, over):
    alive = list(connections)
    while not over.wait(DRIP_S):
        # Who has an answer sends no more: a reset could destroy it.
        answered, _, _ = select(alive, [], [], 0)
        alive = [connection for connection in alive if connection not in answered]
        for connection in list(alive):
            try:
                connection.send(b"a")
            except OSError:
                alive.remove(connection)


@pytest.mark.parametrize("sort", SORTS, ids=lambda sort: sort.__name__)
def test_slow_clients_keep_nobody_waiting(sort, client):
    with slow_clients(client, sort):
        for _ in range(20):
            headers = {"Authorization": f"Bearer {client.key}"}
            answer = requests.get(f"{client.url}/v1/test", headers=headers, timeout=PATIENCE_S)
            assert answer.status_code == 200
            assert requests.get(f"{client.url}/healthz", timeout=PATIENCE_S).status_code == 200
            assert requests.get(f"{client.url}/docs", timeout=PATIENCE_S).status_code == 200


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts the sockets of a process as Linux shows them")
def test_each_slow_client_is_cut_off_in_its_time(client, sockets):
    few = sockets()
    with ExitStack() as opened:
        connections = {sort: opened.enter_context(slow_clients(client, sort, 8)) for sort in SORTS}
        assert sockets() > few + 4
        # Connections to Redis come and go.
        eventually(lambda: sockets() <= few + 4, CUT_WITHIN_S)
        for sort in TOLD:
            assert {_last_answer(connection) for connection in connections[sort]} == {(408, "request_timeout")}
        for connection in connections[download]:
            assert len(_rest(connection)) < len(FILE)


def _last_answer(connection):
    """Return status and code of the last answer on a connection."""
    head, body = _rest(connection).split(b"\r\n\r\n")[-2:]
    return int(head.split()[1]), json.loads(body)["code"]


def _rest(connection):
    """Return what comes until the connection ends."""
    received = b""
    with suppress(ConnectionError):
        while data := connection.recv(65536):
            received += data
    return received

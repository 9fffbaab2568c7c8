"""Voice biometrics users over WebSocket: whole calls by wss through a reverse proxy, and ends in the middle of one."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from pydub import AudioSegment
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from shared.domain.keys import ID_LENGTH, key_hash
from shared.local.stack import Process, Stack, free_port
from tests.support.client import eventually
from tests.support.groups import make_group_key
from tests.support.nginx import Proxy, proxying
from tests.support.readme import block
from tests.support.sounds import DATA, encode, join, lasting, read
from tests.support.stacks import bugs, logs, make_client, running

ADA = [encode(read(path), "wav") for path in sorted(DATA.glob("1688-*.flac"))]
STRANGER = encode(join([read(path) for path in sorted(DATA.glob("2609-*.flac"))]), "wav")
SILENCE = encode(AudioSegment.silent(6000, frame_rate=16_000), "wav")


def stereo(sound: AudioSegment) -> bytes:
    file = io.BytesIO()
    sound.set_channels(2).export(file, format="wav")
    return file.getvalue()


STEREO = stereo(read(DATA / "1688-142285-0005.flac"))
SENT = json.dumps({"event": "audio_sent"})
TRANSACTION = re.compile(r"[0-9a-f]{32}")
FOREVER_S = 120


class Group:
    """Client of a user group."""

    def __init__(self, stack: Stack, name: str, proxy: Proxy) -> None:
        self.owner = make_client(stack, name)
        self.key = make_group_key(stack.settings, name, name.lower())
        self._proxy = proxy

    def call(self, operation: str, user_id: str, method: str = "GET", **options: Any) -> requests.Response:
        return requests.request(
            method,
            f"{self.owner.url}/voice_biometrics/v1/user/{operation}",
            params={"user_id": user_id} | options.pop("params", {}),
            auth=("1-2-0/bob@example.com", self.key),
            timeout=FOREVER_S,
            **options,
        )

    def url(self, operation: str, user_id: str, **parameters: Any) -> str:
        answer = self.call(operation, user_id, params=parameters)
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"application_instance_id", "url"}
        url: str = answer.json()["url"]
        assert url.startswith(f"wss://localhost:{self._proxy.port}/wss/{operation}?auth_token=")
        return url

    def open(self, url: str) -> ClientConnection:
        return connect(url, ssl=self._proxy.context)

    def tell(self, operation: str, user_id: str, sound: bytes, cut: int = 8000, **parameters: Any) -> dict[str, Any]:
        """Have a call over a socket; returns the event."""
        with self.open(self.url(operation, user_id, **parameters)) as socket:
            for start in range(0, len(sound), cut):
                socket.send(sound[start : start + cut])
            socket.send(SENT)
            return event_of(socket)


def event_of(socket: ClientConnection, code: int = 1000) -> dict[str, Any]:
    """Return the one event, behind which the server closes."""
    event: dict[str, Any] = json.loads(socket.recv(FOREVER_S))
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(FOREVER_S)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == code
    if event["event"] == "reject":
        assert set(event) == {"event", "reason", "message", "code"}
    return event


@pytest.fixture(scope="module")
def ports() -> tuple[int, int, int]:
    return free_port(), free_port(), free_port()


def documented(api: int, stream: int) -> str:
    """Return the documented lines for nginx, with these ports."""
    return block("api/dialects/README.md", "proxy").replace(":8000", f":{api}").replace(":8001", f":{stream}")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, ports: tuple[int, int, int]) -> Iterator[Stack]:
    api, stream, proxy = ports
    folder = tmp_path_factory.mktemp("voisentry-sockets")
    settings = {
        "bind": f"127.0.0.1:{api}",
        "stream_bind": f"127.0.0.1:{stream}",
        "public_url": f"https://localhost:{proxy}",
        "lease_s": 2.0,
    }
    with running(folder, worker_processes=1, **settings) as stack:
        yield stack
        assert bugs(stack) == []
        assert "auth_token" not in logs(stack)


@pytest.fixture(scope="module")
def proxy(stack: Stack, tmp_path_factory: pytest.TempPathFactory, ports: tuple[int, int, int]) -> Iterator[Proxy]:
    api, stream, port = ports
    with proxying(tmp_path_factory.mktemp("proxy") / "nginx", documented(api, stream), port) as proxy:
        yield proxy
        assert "auth_token" not in proxy.logs()


@pytest.fixture(scope="module")
def group(stack: Stack, proxy: Proxy) -> Group:
    return Group(stack, "Sockets", proxy)


@pytest.fixture(scope="module")
def ada(group: Group) -> str:
    """A registered user."""
    assert group.tell("register", "Ada", ADA[0])["event"] == "register"
    return "Ada"


@pytest.fixture(scope="module")
def stream(stack: Stack) -> Process:
    return next(process for process in stack.processes if process.name == "stream")


@pytest.fixture(scope="module")
def worker(stack: Stack) -> Process:
    return next(process for process in stack.processes if process.name == "worker")


def answers(stack: Stack) -> bool:
    try:
        return requests.get(f"http://{stack.settings.stream_bind}/healthz", timeout=5).ok
    except requests.ConnectionError:
        return False


def uploads(group: Group) -> list[Any]:
    return list(group.owner.send("GET", "/v1/media").json()["items"])


def test_a_user_is_registered_updated_and_verified_over_sockets(
    group: Group, proxy: Proxy, ports: tuple[int, int, int]
) -> None:
    assert documented(*ports[:2]) in (proxy.folder / "nginx.conf").read_text()
    registered = group.tell("register", "Bob.1-x", ADA[0], stream_type="file", format="alaw", sample_rate=8000)
    assert TRANSACTION.fullmatch(registered.pop("transaction_id"))
    assert registered == {"event": "register", "user_id": "Bob.1-x"}
    updated = group.tell("update", "Bob.1-x", ADA[1], cut=100_000)
    assert TRANSACTION.fullmatch(updated.pop("transaction_id"))
    assert updated == {"event": "update", "user_id": "Bob.1-x"}
    same = group.tell("verify", "Bob.1-x", ADA[1], cut=1237)
    assert set(same) == {"event", "transaction_id", "user_id", "verified", "confidence"}
    assert (same["event"], same["user_id"], same["verified"]) == ("verify", "Bob.1-x", True)
    assert same["confidence"] >= 1.0
    other = group.tell("verify", "Bob.1-x", STRANGER)
    assert other["verified"] is False and other["confidence"] < 1.0
    stats = group.call("stats", "Bob.1-x").json()
    counts = ("verification_attempts", "verifications_passed", "verifications_failed")
    assert [stats[name] for name in counts] == [2, 1, 1]
    assert uploads(group) == []


def test_a_copy_is_told_of_where_that_is_asked_for(group: Group, ada: str) -> None:
    assert group.tell("verify", ada, ADA[0], enable_pad="true")["pad_detected"] == {"type": "TypeA"}
    assert "pad_detected" not in group.tell("verify", ada, ADA[0])


def test_the_sensitivity_reaches_the_socket(group: Group, ada: str) -> None:
    found = [group.tell("verify", ada, ADA[1], sensitivity=step)["confidence"] for step in (10, 0, -10)]
    assert found == sorted(found) and found[0] < found[2]


def test_a_message_may_come_in_fragments(group: Group, ada: str) -> None:
    with group.open(group.url("verify", ada)) as socket:
        socket.send(ADA[1][start : start + 30_000] for start in range(0, min(len(ADA[1]), 240_000), 30_000))
        socket.send(ADA[1][240_000:])
        socket.send(SENT)
        assert event_of(socket)["verified"] is True


def test_a_recording_may_come_as_one_message(group: Group, ada: str) -> None:
    whole = encode(lasting(read(DATA / "1688-142285-0005.flac"), 50), "wav")
    assert len(whole) > 1 << 20
    for message in (whole, iter([whole[:-10], whole[-10:]])):
        with group.open(group.url("verify", ada)) as socket:
            socket.send(message)
            socket.send(SENT)
            assert event_of(socket)["event"] == "verify"


def test_an_address_opens_one_socket(group: Group, ada: str) -> None:
    url = group.url("verify", ada)
    with group.open(url) as socket:
        socket.send(ADA[1])
        socket.send(SENT)
        assert event_of(socket)["event"] == "verify"
    with group.open(url) as socket:
        assert event_of(socket)["code"] == 50
    with group.open(url[:-1]) as socket:
        assert event_of(socket)["code"] == 50


def test_users_that_are_there_or_are_not_are_told_of_before_anything_is_sent(group: Group, ada: str) -> None:
    expected = {
        ("register", ada): "Bad API request, register: user_id Ada is already present.",
        ("update", "Eve"): "Bad API request, update: user_id Eve not found.",
        ("verify", "Eve"): "Bad API request, verify: user_id Eve not found.",
    }
    for (operation, user_id), message in expected.items():
        with group.open(group.url(operation, user_id)) as socket:
            event = event_of(socket)
        assert event == {"event": "reject", "reason": "Bad Request", "message": message, "code": 50}


def test_the_answer_is_heard_by_a_client_that_sends_everything_first(group: Group, ada: str) -> None:
    assert group.tell("register", ada, ADA[0])["code"] == 50


@pytest.mark.parametrize(
    ("sound", "code"),
    [
        (STEREO, 51),
        (b"", 51),
        (b"<html>no audio</html>", 51),
        (encode(read(DATA / "1688-142285-0005.flac"), "flac"), 51),
        (encode(lasting(read(DATA / "1688-142285-0005.flac"), 61), "wav"), 51),
        (SILENCE, 52),
    ],
    ids=["stereo", "nothing", "page", "flac", "61 s", "silence"],
)
def test_audio_that_does_not_fit_is_rejected_and_nothing_is_kept(group: Group, sound: bytes, code: int) -> None:
    event = group.tell("register", "Unfit", sound, cut=200_000)
    assert event["code"] == code, event
    assert group.call("exists", "Unfit").json()["exists"] is False
    assert uploads(group) == []


@pytest.mark.parametrize("message", ["", "audio_sent", "[]", '{"event": "close"}', "[" * 100_000], ids=range(5))
def test_another_text_is_a_bad_request(group: Group, message: str) -> None:
    with group.open(group.url("register", "Other")) as socket:
        socket.send(ADA[0])
        socket.send(message)
        assert event_of(socket)["code"] == 50


def test_a_key_that_was_revoked_opens_no_socket(stack: Stack, proxy: Proxy) -> None:
    group = Group(stack, "Revoked", proxy)
    url = group.url("register", "Bob")
    key_id = key_hash(group.key, stack.settings.secret_bytes())[:ID_LENGTH]
    environment = os.environ | stack.settings.environment()
    subprocess.run([sys.executable, "-m", "api.keys", "revoke", key_id], env=environment, check=True)
    with group.open(url) as socket:
        assert event_of(socket)["code"] == 61


def test_a_stream_that_is_stopped_rejects_its_calls_and_keeps_nothing_of_them(
    group: Group, stack: Stack, stream: Process, worker: Process
) -> None:
    os.killpg(worker.pid, signal.SIGSTOP)
    try:
        with (
            group.open(group.url("register", "Sending")) as sending,
            group.open(group.url("register", "Waiting")) as waiting,
        ):
            sending.send(ADA[0][:1000])
            waiting.send(ADA[0])
            waiting.send(SENT)
            eventually(lambda: unfinished(group), FOREVER_S)
            stream.terminate()
            for socket in (sending, waiting):
                assert event_of(socket, 1001)["code"] == 60
        stream.stop()
    finally:
        os.killpg(worker.pid, signal.SIGCONT)
    stream.start()
    eventually(lambda: answers(stack))
    eventually(lambda: not unfinished(group), FOREVER_S)
    for user_id in ("Sending", "Waiting"):
        assert group.call("exists", user_id).json()["exists"] is False
    assert uploads(group) == []
    assert group.tell("register", "Waiting", ADA[0])["event"] == "register"


def unfinished(group: Group) -> list[Any]:
    return list(group.owner.send("GET", "/v1/jobs?status=pending").json()["items"])


@pytest.mark.parametrize("submitted", [False, True], ids=["sending", "waiting"])
def test_a_stream_that_is_killed_registers_wholly_or_not_at_all(
    group: Group, stack: Stack, stream: Process, worker: Process, submitted: bool
) -> None:
    user_id = f"Killed-{submitted}"
    os.killpg(worker.pid, signal.SIGSTOP)
    try:
        with group.open(group.url("register", user_id)) as socket:
            socket.send(ADA[0])
            if submitted:
                socket.send(SENT)
                eventually(lambda: unfinished(group), FOREVER_S)
            stream.kill()
            with pytest.raises(ConnectionClosed):
                socket.recv(FOREVER_S)
    finally:
        os.killpg(worker.pid, signal.SIGCONT)
    stream.start()
    eventually(lambda: answers(stack))
    eventually(lambda: not unfinished(group), FOREVER_S)
    # A job that was made is done; what was still being sent is forgotten.
    assert group.call("exists", user_id).json()["exists"] is submitted
    if submitted:
        assert group.tell("verify", user_id, ADA[1])["verified"] is True
    else:
        assert group.tell("register", user_id, ADA[0])["event"] == "register"
    assert uploads(group) == []


def test_a_worker_that_is_killed_costs_a_call_nothing(group: Group, worker: Process) -> None:
    os.killpg(worker.pid, signal.SIGSTOP)
    with group.open(group.url("register", "Worker")) as socket:
        socket.send(ADA[0])
        socket.send(SENT)
        eventually(lambda: unfinished(group), FOREVER_S)
        worker.kill()
        worker.start()
        assert event_of(socket)["event"] in ("register", "reject")
    assert group.call("stats", "Worker").status_code in (200, 404)

"""The stream's caps, its threads, its end, and what it says when a dependency is away."""

import asyncio
import json
import socket
import threading
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
import requests
from websockets.asyncio.client import connect as connect_async
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from api.dialects.spaces.socket import SpacesDoor
from api.dialects.voisentry.socket import VoisentryDoor
from api.sockets import Caps, Socket, Threads
from shared.dialects.voisentry import Operation
from shared.local.stack import RedisServer
from shared.settings import Settings
from tests.support.client import eventually
from tests.support.streams import frame, opened_raw, received, streaming, text_of

#: Longer than any end takes.
FOREVER_S = 60
#: More than a server takes ahead of its use.
MANY = 20
OPENING = "{}"
CLOSE = '{"type": "close"}'


@pytest.fixture
def settings(tmp_path, redis_server):
    return Settings(data_dir=tmp_path, redis_url=redis_server.url, posts_per_minute=10**6, stream_bind="127.0.0.1:1")


def opened(stream, caller, **options):
    return connect(stream.url + caller.authenticity, additional_headers=caller.headers, **options)


def told(socket):
    """Return the last message, and the code of the close."""
    message = json.loads(socket.recv(FOREVER_S))
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(FOREVER_S)
    assert closed.value.rcvd is not None
    return message, closed.value.rcvd.code


def verify_nothing(stream, caller):
    """Have a whole conversation."""
    with opened(stream, caller) as socket:
        socket.send(OPENING)
        socket.send(b"sound")
        socket.send(CLOSE)
        message, code = told(socket)
    assert (message["type"], code) == ("verification", 1000), message


def test_a_socket_closes_though_its_client_still_sends():
    async def end(connection):
        caps = Caps()
        await Socket(connection, caps, Threads(caps), lambda _: None).end({"type": "error"})

    async def talk():
        # All this time a server waits for the client's close, which is behind what was sent.
        async with serve(end, "127.0.0.1", 0, max_queue=4, close_timeout=2 * FOREVER_S) as server:
            address = "ws://127.0.0.1:{1}".format(*server.sockets[0].getsockname())
            async with connect_async(address) as socket:
                for _ in range(MANY):
                    await socket.send(b"sound" * 1000)
                assert await socket.recv() == '{"type": "error"}'
                await socket.wait_closed()
                return socket.close_code

    assert asyncio.run(asyncio.wait_for(talk(), FOREVER_S)) == 1000


def test_idle_sockets_hold_no_thread_and_others_are_served(settings):
    caps = Caps(threads=4)
    with streaming(settings, caps) as stream:
        caller = stream.caller("acme")
        before = threading.active_count()

        async def hold() -> None:
            options: dict[str, Any] = {"additional_headers": caller.headers}
            async with AsyncExitStack() as held:
                for _ in range(200):
                    await held.enter_async_context(connect_async(stream.url + caller.authenticity, **options))
                assert threading.active_count() <= before + caps.threads + 1
                await asyncio.to_thread(verify_nothing, stream, caller)
                health = await asyncio.to_thread(requests.get, f"http://127.0.0.1:{stream.port}/healthz", timeout=60)
                assert health.json() == {"status": "ok", "sockets": 200}

        asyncio.run(hold())
        stream.until_idle()


def test_a_client_has_so_many_sockets_and_the_process_has_so_many(settings):
    with streaming(settings, Caps(sockets=3, of_a_client=2)) as stream, ExitStack() as held:
        acme, rival = stream.caller("acme"), stream.caller("rival")
        for _ in range(2):
            held.enter_context(opened(stream, acme))
        with pytest.raises(InvalidStatus) as refused, opened(stream, acme):
            pass
        assert refused.value.response.status_code == 429
        with connect(stream.url + stream.ticket(acme)) as socket:
            assert told(socket)[0]["code"] == 60
        eventually(lambda: len(stream.stream._sockets) == 2, FOREVER_S)
        verify_nothing(stream, rival)
        eventually(lambda: len(stream.stream._sockets) == 2, FOREVER_S)
        held.enter_context(opened(stream, rival))
        for path in (rival.authenticity, stream.ticket(rival)):
            with (
                pytest.raises(InvalidStatus) as refused,
                connect(stream.url + path, additional_headers=rival.headers),
            ):
                pass
            assert refused.value.response.status_code == 503
            assert "Retry-After" in refused.value.response.headers
    assert stream.errors() == []


@pytest.mark.parametrize("dialect", ["spaces", "voisentry"])
@pytest.mark.parametrize("sends", [False, True], ids=["idle", "slow"])
def test_a_socket_ends_when_nothing_comes_and_when_it_takes_too_long(settings, dialect, sends):
    caps = Caps(idle_s=60.0 if sends else 0.5)
    total_s = 0.5 if sends else 60.0
    doors = lambda services: [VoisentryDoor(services, total_s), SpacesDoor(services, total_s)]  # noqa: E731
    with streaming(settings, caps, doors) as stream:
        caller = stream.caller("acme")
        path = caller.authenticity if dialect == "spaces" else stream.ticket(caller)
        with connect(stream.url + path, additional_headers=caller.headers) as socket:
            socket.send(OPENING if dialect == "spaces" else b"RIFF")
            message, code = told(socket)
        assert message["code"] == ("request_timeout" if dialect == "spaces" else 60)
        assert code == 1000
        stream.until_idle()
        assert stream.errors() == []


def test_a_recording_of_a_call_has_a_limit(settings):
    with streaming(settings) as stream:
        with connect(stream.url + stream.ticket(stream.caller("acme"))) as socket:
            for _ in range(48):
                socket.send(bytes(256 * 1024))
            socket.send(b"more")
            assert told(socket)[0]["code"] == 51
        stream.until_idle()


def test_a_recording_in_one_frame_may_be_slow_and_answer_no_ping_meanwhile(settings):
    whole = frame(2, bytes(500_000))
    with streaming(settings, Caps(ping_s=0.1)) as stream:
        with opened_raw(stream.port, stream.ticket(stream.caller("acme"))) as raw:
            for at in range(0, len(whole), 50_000):
                raw.sendall(whole[at : at + 50_000])
                time.sleep(0.1)
            raw.sendall(frame(1, b'{"event": "nothing"}'))
            assert b'"code": 50}' in received(raw)
        stream.until_idle()


@dataclass
class Waiting:
    """Door whose clients wait for a result until they may go."""

    threads: Any
    go: threading.Event
    begun: list[str]

    def leads(self, path):
        return path.startswith("/wait/")

    def rule(self, path):
        return None

    def admit(self, target, _authorization):
        return Waiter(target.rpartition("/")[2], self)


@dataclass
class Waiter:
    client_id: str
    door: Waiting

    async def converse(self, socket):
        socket.claim(self.client_id)
        await socket.receive()
        return await socket.threads.wait(self.client_id, self._wait)

    def _wait(self):
        self.door.begun.append(self.client_id)
        assert self.door.go.wait(FOREVER_S)
        return {"done": self.client_id}

    def told(self, error):
        return {"error": str(error)}


def test_who_waits_for_a_result_keeps_nobody_out_and_no_client_takes_all_places(settings):
    door = Waiting(None, threading.Event(), [])
    caps = Caps(threads=2, waits=4, waits_of_a_client=3)
    with (
        streaming(settings, caps, lambda services: [door, SpacesDoor(services)]) as stream,
        ExitStack() as held,
    ):
        sockets = []
        for name in (*["acme"] * 6, "rival"):
            sockets.append(held.enter_context(connect(f"{stream.url}/wait/{name}")))
            sockets[-1].send("go")
            if name == "acme":
                eventually(lambda: len(door.begun) == min(len(sockets), 3), FOREVER_S)
        eventually(lambda: sorted(door.begun) == ["acme"] * 3 + ["rival"], FOREVER_S)
        verify_nothing(stream, stream.caller("acme"))
        door.go.set()
        assert [told(socket)[0] for socket in sockets] == [{"done": "acme"}] * 6 + [{"done": "rival"}]


def test_work_that_gets_no_thread_in_time_is_refused(settings):
    door = Waiting(None, threading.Event(), [])
    caps = Caps(waits=1, queue_s=0.5)
    with streaming(settings, caps, lambda _: [door]) as stream, connect(f"{stream.url}/wait/a") as first:
        first.send("go")
        eventually(lambda: door.begun == ["a"], FOREVER_S)
        with connect(f"{stream.url}/wait/b") as second:
            second.send("go")
            assert "try again" in told(second)[0]["error"]
        door.go.set()
        assert told(first)[0] == {"done": "a"}
    assert stream.errors() == []


def test_a_stream_that_stops_tells_so_ends_what_is_done_and_cuts_off_who_does_not_answer(settings):
    door = Waiting(None, threading.Event(), [])
    doors = lambda services: [door, VoisentryDoor(services), SpacesDoor(services)]  # noqa: E731
    with streaming(settings, Caps(close_s=1.0), doors) as stream, ExitStack() as held:
        caller = stream.caller("acme")
        call = held.enter_context(connect(stream.url + stream.ticket(caller)))
        call.send(b"RIFF")
        audio = held.enter_context(opened(stream, caller))
        audio.send(OPENING)
        waiter = held.enter_context(connect(f"{stream.url}/wait/a"))
        waiter.send("go")
        stubborn = opened_raw(stream.port, stream.ticket(caller))
        eventually(lambda: door.begun == ["a"], FOREVER_S)
        stream.stop()
        message, code = told(call)
        assert (message["event"], message["code"], code) == ("reject", 60, 1001)
        with pytest.raises(ConnectionClosed) as closed:
            audio.recv(FOREVER_S)
        assert closed.value.rcvd.code == 1001
        door.go.set()
        assert told(waiter) == ({"done": "a"}, 1001)
        assert text_of(received(stubborn))["code"] == 60
        stubborn.close()
        assert stream.ended(FOREVER_S)
        with pytest.raises(OSError):
            connect(f"{stream.url}/healthz")
    assert stream.errors() == []


def test_the_end_does_not_wait_for_work_that_hangs(settings):
    door = Waiting(None, threading.Event(), [])
    with (
        streaming(settings, Caps(grace_s=0.5), lambda _: [door]) as stream,
        connect(f"{stream.url}/wait/a") as waiter,
    ):
        waiter.send("go")
        eventually(lambda: door.begun == ["a"], FOREVER_S)
        stream.stop()
        assert stream.ended(FOREVER_S)
        door.go.set()


def test_a_client_that_does_not_read_what_it_asks_for_is_cut_off(settings):
    with streaming(settings) as stream:
        caller = stream.caller("acme")
        raw = opened_raw(stream.port, caller.authenticity, caller.raw_headers, read_bytes=4096)
        ping = frame(9, bytes(125)) * 100
        with pytest.raises(OSError):
            for _ in range(10_000):
                raw.sendall(ping)
        raw.close()
        stream.until_idle()


def test_connections_beyond_all_caps_are_closed_at_once(settings, monkeypatch):
    monkeypatch.setattr("api.stream._AT_THE_DOOR", 1)
    with streaming(settings, Caps(sockets=1, handshake_s=FOREVER_S)) as stream, ExitStack() as held:
        raws = [held.enter_context(socket.create_connection(("127.0.0.1", stream.port), FOREVER_S)) for _ in range(3)]
        assert received(raws[2]) == b""


def test_a_redis_that_is_away_is_told_of(settings, tmp_path):
    server = RedisServer(tmp_path / "redis", tmp_path / "redis.log")
    server.wait()
    with streaming(replace(settings, redis_url=server.url)) as stream:
        caller = stream.caller("acme")
        paths = [stream.ticket(caller, operation) for operation in Operation]
        server.stop()
        for path in paths:
            with connect(stream.url + path) as socket:
                message, code = told(socket)
                assert (message["event"], message["code"], code) == ("reject", 60, 1000)
        stream.until_idle()
        assert {event["event"] for event in stream.errors()} == {"a dependency is away"}


def test_a_database_that_is_away_is_told_of(settings, tmp_path):
    with streaming(settings) as stream:
        caller = stream.caller("acme")
        stream.services.engine.dispose()
        for file in tmp_path.glob("timbre.db*"):
            file.unlink()
        (tmp_path / "timbre.db").mkdir()
        with connect(stream.url + stream.ticket(caller)) as socket:
            assert told(socket)[0]["code"] == 60
        # Its key is remembered for a while, and a space is not.
        with pytest.raises(InvalidStatus) as refused, opened(stream, caller):
            pass
        assert refused.value.response.status_code == 503
        assert {event["event"] for event in stream.errors()} == {"a dependency is away"}

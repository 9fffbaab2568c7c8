"""Slow, huge, silent and broken clients of the stream: each ends in time, and nothing of it is left."""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from api.dialects.spaces.socket import SpacesDoor
from api.dialects.voisentry.socket import VoisentryDoor
from api.services import Services
from api.sockets import Caps, Door
from shared.local.stack import RedisServer
from shared.settings import Settings
from tests.hostile.fuzz_sockets import fuzz
from tests.support.streams import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    Streaming,
    frame,
    opened_raw,
    received,
    streaming,
)

#: Ends soon, so that a test need not wait.
SOON = Caps(
    sockets=300, of_a_client=250, handshake_s=2.0, idle_s=2.0, close_s=1.0, ping_s=5.0, pong_s=5.0, threads=4, waits=4
)  # fmt: skip
#: Connections of each sort at once.
EACH = 5
FOREVER_S = 60.0
#: Bit of a frame that says it is compressed (RFC 7692).
COMPRESSED = 0x40

Sort = Callable[[socket.socket], None]


def short_doors(services: Services) -> list[Door]:
    return [VoisentryDoor(services, sending_s=4.0), SpacesDoor(services, recording_s=4.0)]


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Streaming]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("sockets"),
        redis_url=redis_server.url,
        posts_per_minute=10**6,
        stream_bind="127.0.0.1:1",
    )
    with streaming(settings, SOON, short_doors) as stream:
        yield stream


def until_refused(raw: socket.socket, *pieces: bytes, pause_s: float = 0.0) -> None:
    """Send pieces again and again until the server has ended the connection."""
    with contextlib.suppress(OSError):
        while True:
            for piece in pieces:
                raw.sendall(piece)
                time.sleep(pause_s)


def silent(raw: socket.socket) -> None:
    """Send nothing, and do not answer the server's close either."""


def half_closed(raw: socket.socket) -> None:
    raw.shutdown(socket.SHUT_WR)


def reset(raw: socket.socket) -> None:
    raw.sendall(frame(BINARY, b"RIFF"))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


def gone_without_a_close_frame(raw: socket.socket) -> None:
    raw.sendall(frame(BINARY, b"RIFF", fin=False))
    raw.close()


def half_a_frame(raw: socket.socket) -> None:
    raw.sendall(frame(BINARY, bytes(1000))[:500])


def garbage(raw: socket.socket) -> None:
    with contextlib.suppress(OSError):
        raw.sendall(random.Random(7).randbytes(100_000))


def unmasked(raw: socket.socket) -> None:
    raw.sendall(frame(BINARY, b"RIFF", masked=False))


def compressed(raw: socket.socket) -> None:
    raw.sendall(frame(BINARY, b"\x4a\x4c\x04\x00", bits=COMPRESSED))


def huge_frame(raw: socket.socket) -> None:
    raw.sendall(bytes([0x82, 0xFF]) + (1 << 62).to_bytes(8, "big") + bytes(4))


def huge_message(raw: socket.socket) -> None:
    until_refused(raw, frame(BINARY, bytes(100_000), fin=False), *[frame(CONTINUATION, bytes(100_000), fin=False)] * 50)


def huge_recording(raw: socket.socket) -> None:
    until_refused(raw, frame(BINARY, bytes(200_000)))


def huge_recording_in_one_frame(raw: socket.socket) -> None:
    raw.sendall(bytes([0x82, 0xFF]) + (1 << 40).to_bytes(8, "big") + bytes(4))
    until_refused(raw, bytes(200_000))


def fragments_without_end(raw: socket.socket) -> None:
    raw.sendall(frame(BINARY, fin=False))
    until_refused(raw, frame(CONTINUATION, fin=False) * 1000)


def text_flood(raw: socket.socket) -> None:
    until_refused(raw, frame(TEXT, b"{}") * 1000)


def bad_utf8(raw: socket.socket) -> None:
    raw.sendall(frame(TEXT, b"\xff\xfe"))


def ping_flood(raw: socket.socket) -> None:
    until_refused(raw, frame(PING, bytes(125)) * 1000)


def dripping(raw: socket.socket) -> None:
    until_refused(raw, *[bytes([byte]) for byte in frame(BINARY, bytes(120))], pause_s=0.3)


def empty_messages(raw: socket.socket) -> None:
    until_refused(raw, frame(BINARY) * 1000)


def close_with_a_bad_code(raw: socket.socket) -> None:
    raw.sendall(frame(CLOSE, b"\x00\x01"))


SORTS: list[Sort] = [
    silent, half_closed, reset, gone_without_a_close_frame, half_a_frame, garbage, unmasked, compressed, huge_frame,
    huge_message, huge_recording, huge_recording_in_one_frame, fragments_without_end, text_flood, bad_utf8, ping_flood,
    dripping, empty_messages, close_with_a_bad_code,
]  # fmt: skip


@pytest.fixture(params=["spaces", "voisentry"])
def opened(request: pytest.FixtureRequest, stream: Streaming) -> Callable[[], socket.socket]:
    """Open a raw connection of a dialect, whose client reads little."""
    caller = stream.caller("hostile")

    def open_one() -> socket.socket:
        if request.param == "voisentry":
            return opened_raw(stream.port, stream.ticket(caller), read_bytes=4096)
        raw = opened_raw(stream.port, caller.authenticity, caller.raw_headers, read_bytes=4096)
        raw.sendall(frame(TEXT, b"{}"))
        return raw

    return open_one


@pytest.fixture(autouse=True)
def quiet(stream: Streaming, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a client does is no bug of the server, and leaves nothing behind."""
    yield
    stream.until_idle(FOREVER_S)
    assert stream.errors() == []
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    assert len([thread for thread in threading.enumerate() if thread.name.startswith("short")]) <= SOON.threads


@pytest.mark.parametrize("sort", SORTS, ids=lambda sort: sort.__name__)
def test_a_hostile_client_ends_in_time_and_is_forgotten(sort: Sort, opened: Callable[[], socket.socket]) -> None:
    threads = []
    raws = [opened() for _ in range(EACH)]
    for raw in raws:
        threads.append(threading.Thread(target=sort, args=[raw], daemon=True))
        threads[-1].start()
    for raw, thread in zip(raws, threads, strict=True):
        thread.join(FOREVER_S)
        assert not thread.is_alive()
        if raw.fileno() >= 0:
            received(raw)
            raw.close()


def test_nonsense_over_sockets_is_no_bug_of_the_server(stream: Streaming) -> None:
    ends = fuzz(stream, 300)
    assert ends["101, reject 50"] and ends["101, error invalid_request"], ends

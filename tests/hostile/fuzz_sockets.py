"""`python -m tests.hostile.fuzz_sockets N [SEED]`: N conversations of nonsense over real sockets, and what came of it.

Every conversation is made from its number, so that a bad one can be made again: `... fuzz_sockets 1 NUMBER`.
"""

import contextlib
import json
import random
import socket
import struct
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from api.sockets import Caps
from shared.dialects.voisentry import Operation
from shared.local.stack import RedisServer
from shared.settings import Settings
from tests.support.streams import BINARY, CLOSE, CONTINUATION, PING, TEXT, Caller, Streaming, frame, streaming

#: Conversations at once.
_AT_ONCE = 16
_CAPS = Caps(handshake_s=2.0, idle_s=1.0, close_s=1.0)
_TEXTS = [
    b'{"event": "audio_sent"}', b'{"type": "close"}', b"{}", b"[]", b"null", b'"', b"[" * 5000, b"\xff", b"", b"NaN",
    b'{"event": ["audio_sent"]}', b'{"type": {"a": 1}}', b'{"identity": "a", "voiceprint": "b"}', b"1" * 5000,
    b'{"identity": 1, "voiceprint": null}', b'{"model": {"handle": []}}', b'{"event": "\\ud800"}',
]  # fmt: skip
_TARGETS = ["/wss/register", "/wss/verify?auth_token=%00", "/wss/update?auth_token=a.b.c", "/wss/", "/wss/register?%ff"]
_CODES = [0, 999, 1000, 1001, 1005, 1006, 1011, 3000, 4999, 65535]


def conversation(stream: Streaming, caller: Caller, number: int) -> str:
    """Have the conversation of a number; returns the sort of its end."""
    rng = random.Random(number)
    raw = socket.create_connection(("127.0.0.1", stream.port), timeout=60)
    with raw, contextlib.suppress(OSError):
        raw.sendall(_opening(stream, caller, rng))
        # Some do not wait for the handshake.
        found = _until(raw, b"\r\n\r\n") if rng.random() < 0.9 else b""
        for _ in range(rng.randrange(12)):
            raw.sendall(_mutated(_frame(rng), rng))
        if rng.random() < 0.3:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return "left"
        if rng.random() < 0.3:
            raw.shutdown(socket.SHUT_WR)
        return _end(found, raw)
    return "broken off"


def _opening(stream: Streaming, caller: Caller, rng: random.Random) -> bytes:
    target, more = rng.choice([
        (caller.authenticity, caller.raw_headers),
        (caller.authenticity.replace("authenticity", "identity"), caller.raw_headers),
        (stream.ticket(caller, rng.choice(list(Operation)), f"user{rng.randrange(5)}"), ""),
        (rng.choice(_TARGETS), ""),
    ])  # fmt: skip
    lines = [
        f"GET {target} HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Extensions: permessage-deflate",
    ]  # fmt: skip
    whole = ("\r\n".join(lines) + "\r\n" + more + "\r\n").encode()
    return _mutated(whole, rng) if rng.random() < 0.1 else whole


def _frame(rng: random.Random) -> bytes:
    kind = rng.choice([BINARY, BINARY, BINARY, TEXT, TEXT, CONTINUATION, PING, CLOSE, rng.randrange(16)])
    if kind == TEXT:
        payload = rng.choice(_TEXTS)
    elif kind == CLOSE:
        payload = rng.choice([b"", b"\x03", struct.pack(">H", rng.choice(_CODES)) + rng.choice([b"", b"\xff", b"bye"])])
    else:
        payload = rng.randbytes(rng.choice([0, 1, 44, 125, 126, 4000, 70_000]))
    usual = rng.random() < 0.9
    return frame(kind, payload, fin=usual, masked=rng.random() < 0.97, bits=0 if usual else rng.choice([0x10, 0x40]))


def _mutated(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.9:
        return data
    place = rng.randrange(len(data) + 1)
    return rng.choice([data[:place], data[place:], data[:place] + rng.randbytes(3) + data[place:], data + data[:place]])


def _until(raw: socket.socket, mark: bytes) -> bytes:
    """Return what the server sends, up to a mark or to its end."""
    found = b""
    while mark not in found and (piece := raw.recv(1 << 16)):
        found += piece
    return found


def _end(found: bytes, raw: socket.socket) -> str:
    """Read until the server ends the connection; returns how it did."""
    head, _, rest = (found + _until(raw, b"no such thing")).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101"):
        return head[:12].decode() if head.startswith(b"HTTP") else "no handshake"
    start = max(rest.find(b'{"event"'), rest.find(b'{"type"'))
    if start < 0:
        return "101, closed"
    told, _ = json.JSONDecoder().raw_decode(rest[start:].decode(errors="replace"))
    return f"101, {told.get('event', told.get('type'))} {told.get('code', '')}"


def fuzz(stream: Streaming, count: int, seed: int = 0) -> Counter[str]:
    """Have so many conversations; returns how many ended in which way."""
    caller = stream.caller("fuzzer")
    with ThreadPoolExecutor(_AT_ONCE) as clients:
        return Counter(clients.map(lambda number: conversation(stream, caller, number), range(seed, seed + count)))


def main(count: int, seed: int) -> None:
    """Print the ends, and what is left and was logged as an error."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder) / "redis", Path(folder) / "redis.log")
        server.wait()
        settings = Settings(
            data_dir=Path(folder), redis_url=server.url, posts_per_minute=10**9, stream_bind="127.0.0.1:1"
        )
        with streaming(settings, _CAPS) as stream:
            ends = fuzz(stream, count, seed)
            stream.until_idle()
            errors = stream.errors()
        server.stop()
    for end, times in ends.most_common():
        print(f"{times:8} {end}")
    print(f"{len(errors)} errors of the server, 0 sockets left, {threading.active_count()} threads")
    print(*errors[:5], sep="\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)

"""Frames that are cut arrive as the same bytes, whatever the client's cuts, and faults stay faults."""

import random
from itertools import groupby

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from api.frames import PIECE_BYTES, Cutter

BINARY, TEXT, CONTINUATION, PING = Opcode.BINARY, Opcode.TEXT, Opcode.CONT, Opcode.PING
SIZES = (0, 1, 125, 126, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, (1 << 16) - 1, 1 << 16, 3 * PIECE_BYTES + 7)


def taken(sent: bytes, cuts: random.Random, most: int = 100_000) -> tuple[list[Frame], int | None]:
    """Return the frames that a server takes of what a client sent in pieces, and the code of its refusal."""
    server, cutter, frames = Protocol(Side.SERVER, max_size=256 * 1024), Cutter(), []
    rest = memoryview(sent)
    while rest:
        size = cuts.randint(1, most)
        server.receive_data(cutter.cut(bytes(rest[:size])))
        frames += server.events_received()
        rest = rest[size:]
    return frames, server.close_sent.code if server.close_sent else None


def sent(*frames: Frame) -> bytes:
    return b"".join(frame.serialize(mask=True) for frame in frames)


@pytest.mark.parametrize("seed", range(5))
def test_binary_messages_of_any_size_arrive_in_pieces(seed):
    cuts = random.Random(seed)
    payloads = [cuts.randbytes(size) for size in SIZES]
    binary = [Frame(BINARY, payload) for payload in payloads]
    fragments = [Frame(CONTINUATION if at else BINARY, one, fin=False) for at, one in enumerate(payloads)]
    whole = [*binary, *fragments[:5], Frame(PING, b"ping"), *fragments[5:], Frame(CONTINUATION, b"end")]
    frames, refused = taken(
        sent(*whole, Frame(TEXT, b"{}"), Frame(TEXT, b"{", fin=False), Frame(CONTINUATION, b"}")), cuts
    )
    assert refused is None
    found = b"".join(bytes(frame.data) for frame in frames if frame.opcode is BINARY)
    assert found == b"".join([*payloads, *payloads, b"end"])
    assert max(len(frame.data) for frame in frames) <= PIECE_BYTES
    others = [(frame.opcode, bytes(frame.data), frame.fin) for frame in frames if frame.opcode is not BINARY]
    assert others == [(PING, b"ping", True), (TEXT, b"{}", True), (TEXT, b"{", False), (CONTINUATION, b"}", True)]
    kinds = [kind for kind, _ in groupby(frame.opcode for frame in frames)]
    assert kinds == [BINARY, PING, BINARY, TEXT, CONTINUATION]


def test_a_piece_is_given_on_before_the_rest_has_come():
    cutter = Cutter()
    whole = sent(Frame(BINARY, bytes(10 * PIECE_BYTES)))
    assert len(cutter.cut(whole[: PIECE_BYTES + 100])) > PIECE_BYTES


@pytest.mark.parametrize("most", [1, 100_000])
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([Frame(CONTINUATION, b"nothing")], 1002),
        ([Frame(BINARY, b"a", fin=False), Frame(BINARY, b"b")], 1002),
        ([Frame(BINARY, b"a", fin=False), Frame(TEXT, b"b")], 1002),
        ([Frame(TEXT, b"a", fin=False), Frame(BINARY, b"b")], 1002),
        ([Frame(TEXT, bytes(256 * 1024 + 1))], 1009),
    ],
    ids=["no beginning", "binary in binary", "text in binary", "binary in text", "long text"],
)
def test_faults_stay_faults(frames, code, most):
    assert taken(sent(*frames), random.Random(7), most)[1] == code


def test_a_frame_without_a_mask_stays_a_fault():
    assert taken(Frame(BINARY, b"sound").serialize(mask=False), random.Random(7))[1] == 1002

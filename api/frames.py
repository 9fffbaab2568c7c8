"""Frames of WebSocket clients: binary messages of any size become many small ones, as their bytes arrive.

A recording may come in any cut, also as one message or one frame of megabytes, of which nobody wants to hold the whole.
Other frames (RFC 6455, section 5.2) stay as they are, faults of theirs too.
"""

#: Most bytes of a message that is made; a multiple of four, so that each takes the frame's mask from its beginning.
PIECE_BYTES = 1 << 16
#: Bits of the first byte, and of the second.
_FIN = 0x80
_OPCODE = 0x0F
_MASKED = 0x80
_LENGTH = 0x7F
#: Opcodes; those from the last one on are of control frames.
_CONTINUATION = 0
_BINARY = 2
_FIRST_CONTROL = 8
#: Sizes of a length, by the seven bits that announce one.
_LENGTH_BYTES = {126: 2, 127: 8}
_MASK_BYTES = 4


class Cutter:
    """Cutter of the bytes that one client sends once its handshake is done."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._mask = b""
        self._bits = 0
        #: Bytes still to come of the frame's payload, and of the piece that was begun of it.
        self._payload = 0
        self._piece = 0
        #: Opcode of a message of which further frames come.
        self._open: int | None = None

    def cut(self, data: bytes) -> bytes:
        """Return what the client sent, cut."""
        made = bytearray()
        rest = memoryview(data)
        while rest:
            rest = self._pass_on(rest, made) if self._payload else self._begin(rest, made)
        return bytes(made)

    def _pass_on(self, data: memoryview, made: bytearray) -> memoryview:
        """Pass on bytes of a payload."""
        if not self._piece:
            self._piece = min(self._payload, PIECE_BYTES)
            made += _head(self._bits, self._piece, self._mask)
        passed = data[: self._piece]
        made += passed
        self._piece -= len(passed)
        self._payload -= len(passed)
        return data[len(passed) :]

    def _begin(self, data: memoryview, made: bytearray) -> memoryview:
        """Take bytes of a frame's head, and begin with its payload where that is whole."""
        taken = data[: self._missing()]
        self._head += taken
        if not self._missing():
            self._start(made)
            self._head.clear()
        return data[len(taken) :]

    def _missing(self) -> int:
        """Return how many bytes of the head are known to be missing."""
        size = 2
        if len(self._head) >= size:
            size += _LENGTH_BYTES.get(self._head[1] & _LENGTH, 0)
            size += _MASK_BYTES if self._head[1] & _MASKED else 0
        return size - len(self._head)

    def _start(self, made: bytearray) -> None:
        """Start a frame whose head is known."""
        first, second = self._head[:2]
        at = 2 + _LENGTH_BYTES.get(second & _LENGTH, 0)
        self._payload = int.from_bytes(self._head[2:at], "big") if at > 2 else second & _LENGTH
        self._piece = self._payload
        self._mask = bytes(self._head[at:])
        self._bits = self._given_on(first)
        is_cut = self._payload and self._bits & _OPCODE == _BINARY
        self._piece = 0 if is_cut else self._payload
        if not is_cut:
            made += bytes([self._bits]) + self._head[1:]

    def _given_on(self, first: int) -> int:
        """Return the first byte with which a frame is given on; notes what may follow it."""
        opcode = first & _OPCODE
        before = self._open
        if opcode >= _FIRST_CONTROL:
            return first
        kind = before if opcode == _CONTINUATION else opcode
        self._open = None if first & _FIN else kind
        if before == _BINARY and opcode != _CONTINUATION:
            # A fault, which is found as a frame that continues nothing.
            return first & ~_OPCODE
        return first & ~_OPCODE | _FIN | _BINARY if kind == _BINARY else first


def _head(bits: int, size: int, mask: bytes) -> bytes:
    masked = _MASKED if mask else 0
    if size < 126:
        return bytes([bits, masked | size]) + mask
    announced = 126 if size < 1 << 16 else 127
    return bytes([bits, masked | announced]) + size.to_bytes(_LENGTH_BYTES[announced], "big") + mask

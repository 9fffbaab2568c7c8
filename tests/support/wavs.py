"""WAV files built chunk by chunk, of a real recording."""

import struct

import numpy as np

from tests.support import sounds

RATE = 16_000
SPEECH = np.array(
    sounds.lasting(sounds.read(sounds.DATA / "3080-5032-0003.flac"), 4.0).get_array_of_samples(), np.int16
)
EXPECTED = SPEECH.astype(np.float32) / 32_768
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
#: Rest of the identifier of a sample format, behind its first two bytes (Microsoft, KSDATAFORMAT_SUBTYPE_PCM).
GUID = bytes.fromhex("000000001000800000aa00389b71")


def packed(width, order="little"):
    """Return the speech as integers of `width` bytes, its 16 bits on top."""
    wide = SPEECH.astype(np.int64) << (8 * width - 16) if width > 1 else (SPEECH.astype(np.int64) >> 8) + 128
    raw = wide.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width]
    return (raw if order == "little" else raw[:, ::-1]).tobytes()


def fmt(tag=PCM, bits=16, channels=1, rate=RATE, container=None, valid=None, order="<"):
    block = (container or bits // 8) * channels
    body = struct.pack(f"{order}HHIIHH", tag, channels, rate, rate * block, block, bits)
    if tag == EXTENSIBLE:
        body += struct.pack(f"{order}HHIH", 22, valid, 0, PCM) + GUID
    return body


def chunk(name, body, size=None, order="<"):
    length = struct.pack(f"{order}I", len(body) if size is None else size)
    return name + length + body + bytes(len(body) % 2 if size is None else 0)


def wav(*chunks, riff=b"RIFF", order="<", size=None):
    body = b"WAVE" + b"".join(chunks)
    return riff + struct.pack(f"{order}I", len(body) if size is None else size) + body


S16 = packed(2)
FMT = chunk(b"fmt ", fmt())
LIST = b"LIST" + struct.pack("<I", 11) + b"INFOabc\0odd"


def large(size, riff):
    sizes = struct.pack("<QQQI", len(S16) + 72, size, len(SPEECH), 0)
    return wav(chunk(b"ds64", sizes), FMT, chunk(b"data", S16, 0xFFFFFFFF), riff=riff, size=0xFFFFFFFF)

"""Voiceprints and their string form: base64 of a small, versioned binary, which fits into any database.

All numbers are little-endian::

    4 bytes   magic "TMBR"
    1 byte    format version, 1
    1 byte    length of the model id, then the id in ASCII: "ge2e@1" (handle @ revision)
    2 bytes   dimension
    4 x dim   the vector, IEEE 754 float32, L2 norm 1
    4 bytes   seconds of speech it was made from, float32
    4 bytes   signal-to-noise ratio of that speech in dB, float32
    1 byte    1 if there was no sound above 4 kHz, as on a telephone, else 0
    4 bytes   CRC-32 (ISO 3309, as zlib computes it) of everything before it
"""

import base64
import binascii
import math
import struct
import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.domain.errors import InvalidVoiceprint
from shared.domain.quality import SNR_RANGE_DB, Capture

MAGIC = b"TMBR"
VERSION = 1
_HEAD = struct.Struct("<4sBB")
_DIMENSION = struct.Struct("<H")
_CAPTURE = struct.Struct("<ff?")
_CHECKSUM = struct.Struct("<I")
#: Largest difference of a vector's norm from 1 that rounding may cause.
_NORM_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Voiceprint:
    """A voice as a unit vector, float32 (dimension,), with its model, `handle@revision`, and its capture."""

    model_id: str
    vector: NDArray[np.float32] = field(repr=False)
    capture: Capture

    @property
    def dimension(self) -> int:
        """Length of the vector."""
        return len(self.vector)

    def encode(self) -> str:
        """Return the voiceprint string."""
        model_id = self.model_id.encode("ascii")
        head = _HEAD.pack(MAGIC, VERSION, len(model_id)) + model_id + _DIMENSION.pack(len(self.vector))
        capture = _CAPTURE.pack(self.capture.net_speech_s, self.capture.snr_db, self.capture.narrowband)
        body = head + self.vector.astype("<f4").tobytes() + capture
        return base64.b64encode(body + _CHECKSUM.pack(zlib.crc32(body))).decode()

    @classmethod
    def decode(cls, text: str) -> "Voiceprint":
        """Read a voiceprint string.

        Raises
        ------
        InvalidVoiceprint
            `text` is truncated, damaged, foreign, or of a newer format; the message says which.
        """
        raw = _from_base64(text)
        if raw[: len(MAGIC)] != MAGIC:
            raise InvalidVoiceprint("This is not a Timbre voiceprint; send the string that a voiceprint job returned.")
        if raw[len(MAGIC) : len(MAGIC) + 1] > bytes([VERSION]):
            raise InvalidVoiceprint("This voiceprint was made by a newer release of Timbre; upgrade the server.")
        try:
            return cls._from_body(_checked(raw))
        except (ValueError, struct.error):
            raise InvalidVoiceprint("The voiceprint is truncated or damaged; ask for a new one.") from None

    @classmethod
    def _from_body(cls, body: bytes) -> "Voiceprint":
        at = _HEAD.size + body[_HEAD.size - 1]
        (dimension,) = _DIMENSION.unpack_from(body, at)
        vector = np.frombuffer(body[: -_CAPTURE.size], "<f4", offset=at + _DIMENSION.size).astype(np.float32)
        net_speech_s, snr_db, narrowband = _CAPTURE.unpack(body[-_CAPTURE.size :])
        if len(vector) != dimension or not abs(np.linalg.norm(vector) - 1) < _NORM_TOLERANCE:
            raise ValueError("the vector is not what its head says")
        model_id = body[_HEAD.size : at].decode("ascii")
        # Messages repeat it.
        if not model_id.isprintable():
            raise ValueError("no model is called that")
        if not (0 < net_speech_s < math.inf and SNR_RANGE_DB[0] <= snr_db <= SNR_RANGE_DB[1]):
            raise ValueError("no speech sounds like that")
        capture = Capture(net_speech_s=net_speech_s, snr_db=snr_db, narrowband=narrowband)
        return cls(model_id, vector, capture)

    def require_same_model(self, other: "Voiceprint") -> None:
        """Refuse a voiceprint of another model: its vectors are not comparable.

        Raises
        ------
        InvalidVoiceprint
            They were made by different models, or by different revisions of one.
        """
        self.require_model(other.model_id, len(other.vector))

    def require_model(self, model_id: str, dimension: int) -> None:
        """Refuse a voiceprint that was not made by `model_id`, or does not have its dimension.

        Raises
        ------
        InvalidVoiceprint
        """
        if self.model_id != model_id:
            raise InvalidVoiceprint(
                f"A voiceprint of {self.model_id} cannot be compared with one of {model_id}; "
                "make both with the same model."
            )
        if len(self.vector) != dimension:
            raise InvalidVoiceprint(
                f"This is no voiceprint of {model_id}: it has {len(self.vector)} numbers in place of {dimension}; "
                "ask for a new one."
            )

    def score(self, other: "Voiceprint") -> float:
        """Return the cosine of two voiceprints of one model, in [-1, 1]; higher is closer.

        Raises
        ------
        InvalidVoiceprint
            They were made by different models.
        """
        self.require_same_model(other)
        return float(np.clip(self.vector @ other.vector, -1.0, 1.0))


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidVoiceprint("The voiceprint is not valid base64; it may have been cut off or altered.") from None


def _checked(raw: bytes) -> bytes:
    body = raw[: -_CHECKSUM.size]
    checksum = raw[-_CHECKSUM.size :]
    if len(body) < _HEAD.size or checksum != _CHECKSUM.pack(zlib.crc32(body)):
        raise ValueError("the checksum does not match")
    return body

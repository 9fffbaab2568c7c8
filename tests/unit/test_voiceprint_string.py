import base64
import struct
import zlib

import numpy as np
import pytest

from shared.domain.errors import InvalidVoiceprint
from shared.domain.quality import Capture
from shared.domain.voiceprints import Voiceprint

#: Version 1 of the format, byte for byte: strings that users have stored must be readable for ever.
GOLDEN = "VE1CUgEGZ2UyZUAxBAAAAAA/AAAAvwAAAD8AAAA/AABIQQAAoEEBKForsw=="


CAPTURE = Capture(net_speech_s=12.5, snr_db=20.0, narrowband=True)
#: A unit vector of one dimension and a capture, as they stand in the string.
ONE = b"\x01\x00\x00\x00\x80\x3f"
HEARD = struct.pack("<ff?", 12.5, 20.0, True)


def make(model_id="ge2e@1", vector=(0.5, -0.5, 0.5, 0.5)):
    return Voiceprint(model_id, np.array(vector, np.float32), CAPTURE)


def forged(raw: bytes) -> str:
    return base64.b64encode(raw + struct.pack("<I", zlib.crc32(raw))).decode()


def test_the_string_of_a_known_voiceprint_never_changes():
    assert make().encode() == GOLDEN


def test_a_golden_string_is_still_read():
    read = Voiceprint.decode(GOLDEN)
    assert read.model_id == "ge2e@1"
    assert read.vector.tolist() == [0.5, -0.5, 0.5, 0.5]
    assert read.vector.dtype == np.float32
    assert read.capture == CAPTURE


def test_encoding_and_decoding_are_inverse_to_the_last_bit():
    vector = np.random.default_rng(0).standard_normal(192).astype(np.float32)
    vector /= np.linalg.norm(vector)
    assert (Voiceprint.decode(make(vector=vector).encode()).vector == vector).all()


@pytest.mark.parametrize("length", range(0, len(GOLDEN), 4))
def test_a_truncated_string_is_refused(length):
    with pytest.raises(InvalidVoiceprint):
        Voiceprint.decode(GOLDEN[:length])


@pytest.mark.parametrize("position", range(len(GOLDEN)))
def test_a_string_with_one_altered_character_is_refused(position):
    if GOLDEN[position] == "=":
        return
    altered = GOLDEN[:position] + ("A" if GOLDEN[position] != "A" else "B") + GOLDEN[position + 1 :]
    if base64.b64decode(altered) == base64.b64decode(GOLDEN):
        return  # the unused low bits before the padding carry nothing
    with pytest.raises(InvalidVoiceprint):
        Voiceprint.decode(altered)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a Timbre voiceprint"),
        ("hello world", "not valid base64"),
        ("träller", "not valid base64"),
        (base64.b64encode(b"\x00" * 1024).decode(), "not a Timbre voiceprint"),
        (forged(b"TMBR\x02\x06ge2e@1\x04\x00" + b"\x00" * 16), "newer release"),
        (GOLDEN[:24], "truncated or damaged"),
        (forged(b"TMBR\x01\x06ge2e@1\x02\x00" + ONE[2:] + HEARD), "truncated or damaged"),
        (forged(b"TMBR\x01\x06ge2e@1\x00\x00" + ONE[2:] + HEARD), "truncated or damaged"),
        (forged(b"TMBR\x01\x06g\n2e@1" + ONE + HEARD), "truncated or damaged"),
        (forged(b"TMBR\x01\x06g\x1b2e@1" + ONE + HEARD), "truncated or damaged"),
        (forged(b"TMBR\x01\xffge2e"), "truncated or damaged"),
        (forged(b"TMBR\x01\x02\xff\xff" + ONE + HEARD), "truncated or damaged"),
        (forged(b"TMBR\x01\x06ge2e@1\x01\x00\x00\x00\xc0\x7f" + HEARD), "truncated or damaged"),
        (forged(b"TMBR\x01\x06ge2e@1\x01\x00\x00\x00\x00\x40" + HEARD), "truncated or damaged"),
        (forged(b"TMBR\x01\x06ge2e@1" + ONE + struct.pack("<ff?", -1.0, 20.0, True)), "truncated or damaged"),
        (forged(b"TMBR\x01\x06ge2e@1" + ONE + struct.pack("<ff?", 1.0, np.nan, True)), "truncated or damaged"),
        (forged(b"TMBR\x01\x06ge2e@1" + ONE + struct.pack("<ff?", 1.0, -1e38, True)), "truncated or damaged"),
    ],
)
def test_what_is_wrong_with_a_string_is_said(text, says):
    with pytest.raises(InvalidVoiceprint, match=says):
        Voiceprint.decode(text)


def test_the_score_is_the_cosine():
    assert make().score(make()) == pytest.approx(1.0)
    assert make().score(make(vector=(0.5, 0.5, 0.5, -0.5))) == pytest.approx(-0.0)


def test_voiceprints_of_two_models_are_not_compared():
    with pytest.raises(InvalidVoiceprint, match=r"ge2e@1 cannot be compared with one of titanet_large@1"):
        make().score(make(model_id="titanet_large@1"))


def test_vectors_of_another_length_are_not_compared_whatever_model_they_name():
    with pytest.raises(InvalidVoiceprint, match=r"no voiceprint of ge2e@1: it has 1 numbers in place of 4"):
        make(vector=(1.0,)).score(make())

"""Plain WAV files: what is accepted is decoded, and all else is refused by its header."""

import gzip
import io
import struct
import tempfile
from contextlib import suppress

import numpy as np
import pytest

from shared.domain.errors import AudioTooLong, NotAudio
from tests.support.sounds import DATA
from tests.support.wavs import (
    EXTENSIBLE,
    FLOAT,
    FMT,
    GUID,
    LIST,
    PCM,
    RATE,
    S16,
    SPEECH,
    chunk,
    fmt,
    large,
    packed,
    wav,
)
from worker.recordings.decoder import ProcessDecoder
from worker.recordings.plain_wav import require_plain_wav

ALAW, MULAW = 6, 7
SECONDS = len(SPEECH) / RATE
STREAMED = 0xFFFFFFFF


def coded(tag, rate=8000, seconds=2, **changes):
    """Return a WAV file of G.711, one byte a sample."""
    return wav(
        chunk(b"fmt ", fmt(tag, 8, rate=rate, **changes)), chunk(b"data", bytes([0x55, 0xD5] * (rate * seconds // 2)))
    )


def extensible(sub, bits=16, **changes):
    """Return the chunk of an extensible format."""
    body = fmt(EXTENSIBLE, bits, valid=bits, **changes)
    return chunk(b"fmt ", body[:-16] + struct.pack("<H", sub) + GUID)


ACCEPTED = {
    "16 bits": wav(FMT, chunk(b"data", S16)),
    "16 bits, extensible": wav(extensible(PCM), chunk(b"data", S16)),
    "mu-law, extensible": wav(extensible(MULAW, 8, rate=8000), chunk(b"data", bytes(16_000))),
    "A-law, extensible": wav(extensible(ALAW, 8, rate=8000), chunk(b"data", bytes(16_000))),
    "mu-law": coded(MULAW),
    "A-law": coded(ALAW),
    "mu-law at 48 kHz": coded(MULAW, 48_000),
    "8 kHz": wav(chunk(b"fmt ", fmt(rate=8000)), chunk(b"data", S16)),
    "size 0": wav(FMT, chunk(b"data", S16, 0), size=0),
    "size -1": wav(FMT, chunk(b"data", S16, STREAMED), size=STREAMED),
    "other chunks before, one without its pad byte": wav(chunk(b"bext", bytes(602)), FMT, LIST, chunk(b"data", S16)),
    "a size beyond the end": wav(FMT, chunk(b"data", S16, 10 * len(S16))),
    "a size that is too small": wav(FMT, chunk(b"data", S16, len(S16) // 2)),
    "an odd size": wav(FMT, chunk(b"data", S16 + b"x")),
    "RF64": large(len(S16), b"RF64"),
}


@pytest.fixture(scope="module")
def decoder():
    decoder = ProcessDecoder()
    yield decoder
    decoder.stop()


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_recorders_write_of_this_format_is_accepted_and_decoded(name, decoder):
    with tempfile.TemporaryFile() as file:
        file.write(ACCEPTED[name])
        file.flush()
        require_plain_wav(file, 60.0)
        assert decoder.decode(file, 60.0).duration_s > 1.0


def many_chunks():
    return wav(*[chunk(b"JUNK", b"") for _ in range(5000)], FMT, chunk(b"data", S16))


REFUSED = {
    "stereo": (wav(chunk(b"fmt ", fmt(channels=2)), chunk(b"data", S16)), "has 2 channels"),
    "stereo, extensible": (wav(extensible(PCM, channels=2), chunk(b"data", S16)), "has 2 channels"),
    "no channel": (wav(chunk(b"fmt ", fmt(channels=0)), chunk(b"data", S16)), "has 0 channels"),
    "8 bits": (wav(chunk(b"fmt ", fmt(bits=8)), chunk(b"data", packed(1))), "samples of 8 bits"),
    "12 bits": (wav(chunk(b"fmt ", fmt(bits=12, container=2)), chunk(b"data", S16)), "samples of 12 bits"),
    "24 bits": (wav(chunk(b"fmt ", fmt(bits=24)), chunk(b"data", packed(3))), "samples of 24 bits"),
    "16 bits in 32": (wav(chunk(b"fmt ", fmt(container=4)), chunk(b"data", packed(4))), "samples of 32 bits"),
    "32 bits": (wav(chunk(b"fmt ", fmt(bits=32)), chunk(b"data", packed(4))), "samples of 32 bits"),
    "float": (wav(chunk(b"fmt ", fmt(FLOAT, 32)), chunk(b"data", bytes(64_000))), "another format (0x0003)"),
    "float, extensible": (wav(extensible(FLOAT, 32), chunk(b"data", bytes(64_000))), "another format (0x0003)"),
    "ADPCM": (wav(chunk(b"fmt ", fmt(0x11, 4, container=256)), chunk(b"data", bytes(9000))), "another format (0x0011)"),
    "4 kHz": (wav(chunk(b"fmt ", fmt(rate=4000)), chunk(b"data", S16)), "sample rate is 4000 Hz"),
    "7999 Hz": (wav(chunk(b"fmt ", fmt(rate=7999)), chunk(b"data", S16)), "sample rate is 7999 Hz"),
    "no rate": (wav(chunk(b"fmt ", fmt(rate=0)), chunk(b"data", S16)), "sample rate is 0 Hz"),
    "RIFX": (wav(FMT, chunk(b"data", S16), riff=b"RIFX"), "not a WAV file"),
    "AVI": (b"RIFF" + bytes(4) + b"AVI " + bytes(100), "not a WAV file"),
    "flac": ((DATA / "3080-5032-0003.flac").read_bytes(), "not a WAV file"),
    "gzip": (gzip.compress(wav(FMT, chunk(b"data", S16))), "not a WAV file"),
    "a form": (b"--x\r\ncontent-type: audio/wav\r\n\r\n" + wav(FMT, chunk(b"data", S16)), "not a WAV file"),
    "a tag before": (b"ID3\4\0\0\0\0\0\0" + wav(FMT, chunk(b"data", S16)), "not a WAV file"),
    "empty": (b"", "not a WAV file"),
    "headerless": (S16, "not a WAV file"),
    "twelve bytes": (wav()[:12], "damaged or cut off"),
    "no format": (wav(chunk(b"data", S16)), "damaged or cut off"),
    "no samples": (wav(FMT), "damaged or cut off"),
    "half a format": (wav(FMT)[:26], "damaged or cut off"),
    "too many chunks": (many_chunks(), "damaged or cut off"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused_and_says_which_rule_is_broken(name):
    content, words = REFUSED[name]
    with pytest.raises(NotAudio) as refusal:
        require_plain_wav(io.BytesIO(content), 60.0)
    assert words in str(refusal.value)
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize(
    "content",
    [
        wav(FMT, chunk(b"data", S16)),
        wav(FMT, chunk(b"data", S16, 0), size=0),
        wav(FMT, chunk(b"data", S16, STREAMED), size=STREAMED),
        wav(FMT, chunk(b"data", S16, 0x7FFFFF00)),
        coded(MULAW, seconds=5),
    ],
    ids=["honest", "size 0", "size -1", "beyond the end", "mu-law"],
)
def test_a_recording_that_is_too_long_is_refused_before_it_is_decoded(content):
    with pytest.raises(AudioTooLong, match=r"longer than 3\.9 seconds"):
        require_plain_wav(io.BytesIO(content), 3.9)


def test_exactly_the_limit_is_accepted():
    require_plain_wav(io.BytesIO(wav(FMT, chunk(b"data", bytes(2 * 60 * RATE)))), 60.0)


def test_a_size_that_lies_is_left_to_the_limit_of_the_decoder(decoder):
    with tempfile.TemporaryFile() as file:
        file.write(wav(FMT, chunk(b"data", S16, RATE)))
        file.flush()
        require_plain_wav(file, 3.0)
        with pytest.raises(AudioTooLong):
            decoder.decode(file, 3.0)


def test_damaged_headers_end_as_nothing_but_refusals():
    random = np.random.default_rng(1)
    whole = bytearray(wav(extensible(PCM), LIST, chunk(b"data", S16[:4000])))
    for _ in range(2000):
        damaged = bytearray(whole[: random.integers(0, len(whole))] if random.random() < 0.2 else whole)
        for at in random.integers(0, 120, 3):
            if at < len(damaged):
                damaged[at] = random.integers(0, 256)
        with suppress(NotAudio, AudioTooLong):
            require_plain_wav(io.BytesIO(bytes(damaged)), 60.0)

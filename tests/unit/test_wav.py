"""WAV headers as recorders and their libraries really write them."""

import struct

import numpy as np
import pytest

from tests.support import sounds
from tests.support.wavs import (
    EXPECTED,
    EXTENSIBLE,
    FLOAT,
    FMT,
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
from worker.recordings.decoder_protocol import Refusal, Refused

WHOLE = {
    "24 in 32, extensible": wav(chunk(b"fmt ", fmt(EXTENSIBLE, 32, valid=24)), chunk(b"data", packed(4))),
    "24 in 32, by its block": wav(chunk(b"fmt ", fmt(PCM, 24, container=4)), chunk(b"data", packed(4))),
    "20 in 24": wav(chunk(b"fmt ", fmt(EXTENSIBLE, 24, valid=20)), chunk(b"data", packed(3))),
    "12 in 16": wav(chunk(b"fmt ", fmt(EXTENSIBLE, 16, valid=12)), chunk(b"data", S16)),
    "24": wav(chunk(b"fmt ", fmt(PCM, 24)), chunk(b"data", packed(3))),
    "32": wav(chunk(b"fmt ", fmt(PCM, 32)), chunk(b"data", packed(4))),
    "64": wav(chunk(b"fmt ", fmt(PCM, 64)), chunk(b"data", packed(8))),
    "32 float": wav(chunk(b"fmt ", fmt(FLOAT, 32)), chunk(b"data", EXPECTED.astype("<f4").tobytes())),
    "64 float": wav(chunk(b"fmt ", fmt(FLOAT, 64)), chunk(b"data", EXPECTED.astype("<f8").tobytes())),
    "RIFX": wav(
        chunk(b"fmt ", fmt(order=">"), order=">"), chunk(b"data", packed(2, "big"), order=">"), riff=b"RIFX", order=">"
    ),
    "RIFX 24": wav(
        chunk(b"fmt ", fmt(bits=24, order=">"), order=">"),
        chunk(b"data", packed(3, "big"), order=">"),
        riff=b"RIFX",
        order=">",
    ),
    "RF64": large(len(S16), b"RF64"),
    "BW64": large(len(S16), b"BW64"),
    "RF64 of unknown size": large(0, b"RF64"),
    "RF64 of absurd size": large(2**64 - 1, b"RF64"),
    "size 0": wav(FMT, chunk(b"data", S16, 0), size=0),
    "size -1": wav(FMT, chunk(b"data", S16, 0xFFFFFFFF), size=0xFFFFFFFF),
    "size of a stream, sox": wav(FMT, chunk(b"data", S16, 0x7FFFFFFF - 36), size=0x7FFFFFFF),
    "size of a stream": wav(FMT, chunk(b"data", S16, 0x80000000), size=0x80000000),
    "odd chunk, padded": wav(FMT, LIST + b"\0", chunk(b"data", S16)),
    "odd chunk, not padded": wav(FMT, LIST, chunk(b"data", S16)),
    "odd chunk before the format": wav(LIST, FMT, chunk(b"data", S16)),
    "stray bytes between chunks": wav(FMT, b"\1\2\3\4\5\6\7", chunk(b"data", S16)),
    "stray byte behind the samples": wav(FMT, chunk(b"data", S16 + b"\7")),
    "odd size": wav(FMT, chunk(b"data", S16 + b"\7", len(S16) + 1)),
    "tags behind": wav(FMT, chunk(b"data", S16), LIST + b"\0", chunk(b"id3 ", bytes(9_000))),
    "zeros behind": wav(FMT, chunk(b"data", S16)) + bytes(100_000),
    "no block": wav(chunk(b"fmt ", fmt()[:12] + b"\0\0" + fmt()[14:]), chunk(b"data", S16)),
    "format of 14 bytes too many": wav(chunk(b"fmt ", fmt() + bytes(14)), chunk(b"data", S16)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_an_odd_header_gives_every_sample_and_no_note(name):
    samples, notes = sounds.heard(WHOLE[name])
    assert np.abs(samples[: len(EXPECTED)] - EXPECTED).max() < 1e-4
    assert len(samples) - len(EXPECTED) in (0, 1)
    assert (notes.lost_s, notes.unread_bytes, notes.named_less) == (0, 0, False)


def test_eight_bits_are_unsigned():
    samples, _ = sounds.heard(wav(chunk(b"fmt ", fmt(bits=8)), chunk(b"data", packed(1))))
    assert np.abs(samples - EXPECTED).max() < 0.01


@pytest.mark.parametrize("channels", [2, 3, 8])
def test_channels_stay_apart(channels):
    raw = np.stack([SPEECH // (c + 1) for c in range(channels)], axis=1).astype("<i2").tobytes()
    samples, _ = sounds.heard(wav(chunk(b"fmt ", fmt(channels=channels)), chunk(b"data", raw)))
    assert np.corrcoef(samples, EXPECTED)[0, 1] > 0.99
    assert len(samples) == len(EXPECTED)


def test_float_samples_on_the_scale_of_integers_keep_their_size():
    samples, _ = sounds.heard(wav(chunk(b"fmt ", fmt(FLOAT, 32)), chunk(b"data", SPEECH.astype("<f4").tobytes())))
    assert np.array_equal(samples, SPEECH)


@pytest.mark.parametrize(("bits", "tag"), [(16, PCM), (24, PCM), (32, FLOAT), (8, PCM), (8, 6), (8, 7)])
def test_a_header_that_names_less_than_there_is_hides_nothing(bits, tag):
    codecs = {6: "wav-alaw", 7: "wav-mulaw"}
    if tag in codecs:
        content = bytearray(
            sounds.encode(sounds.lasting(sounds.read(sounds.DATA / "3080-5032-0003.flac"), 4.0), codecs[tag])
        )
        at = content.index(b"data") + 4
        content[at : at + 4] = struct.pack("<I", 8_000)
        content = bytes(content)
    else:
        raw = EXPECTED.astype("<f4").tobytes() if tag == FLOAT else packed(bits // 8)
        content = wav(chunk(b"fmt ", fmt(tag, bits)), chunk(b"data", raw, bits // 8 * RATE))
    samples, notes = sounds.heard(content)
    assert len(samples) == pytest.approx(4 * RATE, abs=2)
    assert np.corrcoef(samples[: 4 * RATE - 2], EXPECTED[: 4 * RATE - 2])[0, 1] > 0.98
    assert notes.named_less
    assert notes.lost_s == notes.unread_bytes == 0


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("size", [1, 85_333])
def test_a_named_end_within_a_sample_hides_nothing(size, bits):
    samples, notes = sounds.heard(wav(chunk(b"fmt ", fmt(bits=bits)), chunk(b"data", packed(bits // 8), size)))
    assert np.array_equal(samples, EXPECTED)
    assert notes.named_less


@pytest.mark.parametrize(
    "rest",
    [b"an error of a server, in words\n" * 2000, np.random.default_rng(1).bytes(60_000)],
    ids=["text", "packed data"],
)
def test_what_is_no_sound_behind_the_samples_is_noted_and_not_heard(rest):
    samples, notes = sounds.heard(wav(FMT, chunk(b"data", S16)) + rest)
    assert np.array_equal(samples, EXPECTED)
    assert notes.unread_bytes == len(rest)
    assert not notes.named_less


@pytest.mark.parametrize("other", ["wav", "wav-8k", "wav-float", "wav-mulaw"])
@pytest.mark.parametrize("size", [None, 0, 0xFFFFFFFF])
def test_recordings_joined_end_to_end_are_all_heard(other, size):
    clip = sounds.lasting(sounds.read(sounds.DATA / "3080-5032-0003.flac"), 4.0)
    samples, notes = sounds.heard(wav(FMT, chunk(b"data", S16, size)) + sounds.encode(clip, other))
    assert len(samples) == pytest.approx(8 * RATE, abs=2)
    assert np.corrcoef(samples[4 * RATE : 8 * RATE - 2], EXPECTED[: 4 * RATE - 2])[0, 1] > 0.98
    assert notes.lost_s == notes.unread_bytes == 0


def test_a_cut_file_says_how_much_is_missing():
    samples, notes = sounds.heard(wav(FMT, chunk(b"data", S16))[: 44 + 2 * RATE])
    assert len(samples) == RATE
    assert notes.lost_s == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (wav(FMT)[:30], Refusal.DAMAGED),
        (wav(FMT), Refusal.DAMAGED),
        (wav(FMT, chunk(b"data", b"")), Refusal.DAMAGED),
        (wav(chunk(b"fmt ", fmt(0x31)), b"\1\2\3\4\5", b"data"), Refusal.DAMAGED),
        (wav(chunk(b"fmt ", fmt(channels=0)), chunk(b"data", S16)), Refusal.DAMAGED),
        (wav(chunk(b"fmt ", fmt(channels=9)), chunk(b"data", S16)), Refusal.OUT_OF_RANGE),
        (wav(chunk(b"fmt ", fmt(rate=2_000)), chunk(b"data", S16)), Refusal.OUT_OF_RANGE),
        (wav(chunk(b"fmt ", fmt(rate=400_000)), chunk(b"data", S16)), Refusal.OUT_OF_RANGE),
        (wav(chunk(b"fmt ", fmt(0x1234, 4, container=1)), chunk(b"data", S16)), Refusal.WAV_CODING),
        (wav(chunk(b"fmt ", fmt(FLOAT, 16)), chunk(b"data", S16)), Refusal.WAV_CODING),
    ],
    ids=[
        "cut header",
        "no samples",
        "empty",
        "no size",
        "no channel",
        "9 channels",
        "2 kHz",
        "400 kHz",
        "unknown",
        "float 16",
    ],
)
def test_each_cause_has_its_refusal(content, refusal):
    with pytest.raises(Refused) as refused:
        sounds.heard(content)
    assert refused.value.refusal is refusal


def test_many_chunks_are_given_up():
    with pytest.raises(Refused):
        sounds.heard(wav(FMT, *[chunk(b"JUNK", b"")] * 50_000, chunk(b"data", S16)))

"""`python -m tests.hostile.fuzz_decode N [SEED]`: N damaged and hostile files through the decoder, and what came of it.

Every file is made from its number, so that a bad one can be made again: `python -m tests.hostile.fuzz_decode 1 NUMBER`.
"""

import json
import random
import struct
import sys
import tempfile
import time
import wave
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydub import AudioSegment

from tests.support import sounds
from tests.support.origins import ok, origin, says
from worker.recordings.decoder import WALL_S, DecodeHelper, End, Overrun
from worker.recordings.decoder_protocol import Refusal

MAX_S = 30.0
_EXTREMES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


@dataclass
class Figures:
    """What came of a run."""

    files: int = 0
    decoded: int = 0
    refused: int = 0
    #: Children that a file ended; the worker does not notice but for the log.
    children_ended: Counter = field(default_factory=Counter)
    #: Ends of the process that the worker talks to.
    worker_deaths: int = 0
    over_wall: int = 0
    foreign: int = 0
    canary_hits: int = 0
    slowest_s: float = 0.0
    max_rss_mib: float = 0.0


def corpus() -> list[bytes]:
    """Return good files, one of each codec, and some as the field has them."""
    clip = sounds.read(sounds.DATA / "3080-5032-0003.flac")[:1500]
    return [*(sounds.encode(clip, codec) for codec in sounds.CODECS), *odd(clip)]


def odd(clip: AudioSegment) -> list[bytes]:
    """Return joined files, files behind tags, and files with odd WAV headers."""
    codecs = ("wav", "flac", "mp3", "m4a", "ogg-opus", "webm", "amr")
    one = {codec: sounds.encode(clip, codec) for codec in codecs}
    samples = one["wav"][44:]
    extensible = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 16_000, 64_000, 4, 32, 22, 24, 0)
    extensible += bytes.fromhex("0100000000001000800000aa00389b71")
    sizes = struct.pack("<QQQI", len(samples) + 80, len(samples), len(samples) // 2, 0)
    return [
        *(content * 2 for content in one.values()),
        *(b"ID3\4\0\x10\0\0\x20\0" + bytes(4106) + content for content in one.values()),
        one["ogg-opus"] + sounds.encode(clip, "ogg-vorbis"),
        one["wav"] + sounds.encode(clip, "wav-mulaw"),
        wav(b"RIFF", "<", extensible, samples),
        wav(b"RIFX", ">", struct.pack(">HHIIHH", 1, 1, 16_000, 32_000, 2, 16), samples),
        wav(b"RF64", "<", struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16), samples, b"ds64\x1c\0\0\0" + sizes),
        sounds.two_tracks(clip),
    ]


def wav(riff: bytes, order: str, form: bytes, samples: bytes, before: bytes = b"") -> bytes:
    """Return a WAV file with this format chunk, and these chunks before it."""
    size = struct.Struct(f"{order}I").pack
    chunks = before + b"fmt " + size(len(form)) + form + b"data" + size(len(samples)) + samples
    return riff + size(len(chunks) + 4) + b"WAVE" + chunks


def scripts(canary: Path, url: str) -> list[bytes]:
    """Return files that ask their reader to open others."""
    local = f"file://{canary}"
    texts = [
        *(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{x}\n#EXT-X-ENDLIST\n" for x in (local, canary, url)),
        *(f"ffconcat version 1.0\nfile '{x}'\n" for x in (local, canary, url)),
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
        f'mimeType="audio/mp4"><Representation id="1" bandwidth="1"><BaseURL>{url}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>",
        f"[playlist]\nFile1={url}\nNumberOfEntries=1\n", f"{url}\n", f"<smil><body><audio src='{url}'/></body></smil>",
    ]  # fmt: skip
    return [text.encode() for text in texts]


def tone(path: Path) -> Path:
    """Write the canary: a file that no hostile one may make us read."""
    samples = (np.sin(np.arange(32_000) * 0.4) * 20_000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


def mutated(good: list[bytes], number: int) -> bytes:
    """Return the damaged file of that number."""
    rng = random.Random(number)
    data = bytearray(rng.choice(good))
    for _ in range(rng.choice([1, 1, 2, 4])):
        rng.choice(_MUTATIONS)(rng, data, good)
    return bytes(data)


def _flip(rng, data, _good):
    for _ in range(rng.choice([1, 5, 50, 500])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite_head(rng, data, _good):
    position = rng.randrange(min(len(data), 400))
    width = rng.choice([1, 2, 4, 8])
    value = rng.choice(_EXTREMES) & (256**width - 1)
    data[position : position + width] = value.to_bytes(width, rng.choice(["little", "big"]))


def _cut(rng, data, _good):
    del data[rng.randrange(1, len(data) + 1) :]


def _remove(rng, data, _good):
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, 2000)]
    data += b"\0"


def _repeat(rng, data, _good):
    start = rng.randrange(len(data))
    block = data[start : start + rng.randrange(1, 4000)]
    data[start:start] = block * rng.choice([1, 10, 200])


def _splice(rng, data, good):
    other = rng.choice(good)
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :] or b"\0"


def _noise(rng, data, _good):
    start = rng.randrange(len(data))
    data[start : start + 500] = rng.randbytes(500)


_MUTATIONS = [_flip, _overwrite_head, _overwrite_head, _cut, _remove, _repeat, _splice, _noise]


class Fuzz:
    """One run."""

    def __init__(self) -> None:
        self.figures = Figures()
        self._helper = DecodeHelper()

    def decode(self, content: bytes) -> int | None:
        """Decode a file and count; returns its exit status."""
        figures, started = self.figures, time.perf_counter()
        figures.files += 1
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.flush()
            try:
                end = self._end(file)
            except Overrun:
                figures.over_wall += 1
                return self._restart()
            except ConnectionError:
                figures.worker_deaths += 1
                return self._restart()
        figures.slowest_s = max(figures.slowest_s, round(time.perf_counter() - started, 3))
        figures.max_rss_mib = max(figures.max_rss_mib, round(end.max_rss_bytes / 2**20, 1))
        figures.decoded += end.status == 0
        figures.refused += end.status in set(Refusal)
        if end.status != 0 and end.status not in set(Refusal):
            figures.children_ended[end.status] += 1
        return end.status

    def _end(self, file: BinaryIO) -> End:
        with self._helper.decoding(file, MAX_S, WALL_S) as decoding:
            while decoding.read(1 << 20):
                pass
            return decoding.end()

    def _restart(self) -> None:
        self._helper.kill()
        self._helper = DecodeHelper()

    def close(self) -> None:
        """End the decoder."""
        self._helper.kill()


def run(count: int, seed: int) -> Figures:
    """Decode `count` mutated files and every script; return what came of it."""
    fuzz, good = Fuzz(), corpus()
    with tempfile.TemporaryDirectory() as folder, origin(says(ok(b"foreign"))) as canary:
        content = tone(Path(folder) / "canary.wav")
        for script in scripts(content, f"http://127.0.0.1:{canary.port}/canary.wav"):
            fuzz.figures.foreign += fuzz.decode(script) == 0
        for number in range(seed, seed + count):
            if (status := fuzz.decode(mutated(good, number))) not in (0, *Refusal):
                print(f"number {number}: ended with {status}", file=sys.stderr)
        fuzz.figures.canary_hits = canary.hits
    fuzz.close()
    return fuzz.figures


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    print(json.dumps(vars(run(given[0], given[1] if len(given) > 1 else 0))))

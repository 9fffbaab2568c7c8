"""`OPENBLAS_NUM_THREADS=1 python -m tests.bench.reading [REPEATS]`: time the reading and conditioning of 30 s of sound.

Each row compares a bare reading of a file with what a job does: reading, survey and conditioning. All of it runs in
this process, with one thread as in the sandbox. The fastest of the repeats counts.
"""

import io
import sys
import time
from collections.abc import Callable

from shared.sound.conditioning import Conditioner, Survey
from tests.support import sounds
from worker.recordings.av_reader import open_sound
from worker.recordings.part import Notes
from worker.recordings.sound import write_sound

SECONDS = 30.0


def main(repeats: int) -> None:
    clip = sounds.lasting(sounds.read(sounds.DATA / "3080-5032-0003.flac"), SECONDS)
    print("codec          one reading ms   survey ms   conditioning ms   whole job ms   ratio")
    for codec in sounds.CODECS:
        content = sounds.encode(clip, codec)
        blocks = list(bare(content))
        survey = Survey()
        surveyed_ms = fastest(lambda survey=survey, blocks=blocks: [survey.add(block) for block in blocks], repeats)
        conditioner = Conditioner(survey.mixes())
        conditioned_ms = fastest(lambda conditioner=conditioner, blocks=blocks: [*map(conditioner, blocks)], repeats)
        bare_ms = fastest(lambda content=content: list(bare(content)), repeats)
        whole_ms = fastest(lambda content=content: write_sound(io.BytesIO(content), io.BytesIO(), 3600.0), repeats)
        figures = (
            f"{bare_ms:14.1f} {surveyed_ms:11.1f} {conditioned_ms:17.1f} {whole_ms:14.1f} {whole_ms / bare_ms:7.2f}"
        )
        print(f"{codec:14} {figures}", flush=True)


def bare(content: bytes):
    sound = open_sound(io.BytesIO(content), 3600.0)
    return sound.blocks(sound.tracks[0], Notes())


def fastest(work: Callable[[], object], repeats: int) -> float:
    times_s = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - begun)
    return 1000 * min(times_s)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

"""`python -m tests.bench.worker RECORDING JOBS`: start like a worker process, run jobs, print times and memory."""

import time

started = time.perf_counter()

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import worker.app  # noqa: E402, F401
from shared.settings import Settings  # noqa: E402
from tests.bench.memory import memory  # noqa: E402
from worker.bootstrap import make_nets  # noqa: E402
from worker.recordings.decoder import ProcessDecoder  # noqa: E402
from worker.voices.progress import Steps  # noqa: E402
from worker.voices.voiceprint import make_voiceprint  # noqa: E402


def main(recording: Path, jobs: int) -> None:
    settings = Settings.from_env()
    decoder = ProcessDecoder()
    decoder.start()
    nets = make_nets(settings)
    ready_s = time.perf_counter() - started

    def job() -> None:
        with recording.open("rb") as file:
            make_voiceprint(decoder.decode(file, 30.0), nets, Steps())

    job()
    begun = time.perf_counter()
    for _ in range(jobs):
        job()
    jobs_s = time.perf_counter() - begun
    decoder.stop()
    print(json.dumps({"ready_s": ready_s, "jobs_s": jobs_s, **memory()}))


main(Path(sys.argv[1]), int(sys.argv[2]))

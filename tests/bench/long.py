"""`python -m tests.bench.long [--words] MINUTES ...`: time the diarization of long recordings with bundled models.

With `--words` they are transcribed too.

The recordings are made of the clips of three speakers in tests/data. Their sentences repeat, so this measures time and
memory, but hardly quality. Each recording has a process of its own, whose peak memory is printed.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile

from models import registry
from models.recognisers import InstalledRecognisers
from models.vad import SileroVad
from shared.domain.audio import Segment
from shared.domain.diarization import Diarization, SpeakerHints, Turn
from tests.bench.memory import memory
from tests.support.conversations import RATE_HZ, conversation, errors
from tests.support.speech import read_clips
from worker.recordings.decoder import ProcessDecoder
from worker.voices.diarization import diarize_recording
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets

_ONE = "--one"
_WORDS = "--words"


def main(lengths: list[str], options: list[str]) -> None:
    print("minutes   wall s    CPU s   peak RSS MB   speakers   missed %   confused %")
    for minutes in lengths:
        with tempfile.TemporaryDirectory() as folder:
            samples, true = conversation(read_clips(), SileroVad(), 60 * float(minutes))
            path = Path(folder) / "recording.wav"
            soundfile.write(path, samples, RATE_HZ)
            command = [sys.executable, "-m", "tests.bench.long", _ONE, str(path), *options]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(said.splitlines()[-1])
        diarization = Diarization([Turn(Segment(start, end), speaker) for start, end, speaker in found["turns"]])
        missed, confused = errors(diarization, true)
        print(
            f"{minutes:>7} {found['wall_s']:8.1f} {found['cpu_s']:8.1f} {found['peak_rss_mb']:13} "
            f"{len(diarization.speakers):10} {100 * missed:10.1f} {100 * confused:12.1f}",
            flush=True,
        )


def diarize_one(path: Path, words: bool) -> None:
    nets = Nets(SileroVad(), registry.load(registry.entry("ge2e").card))
    recogniser = InstalledRecognisers().find(None) if words else None
    decoder = ProcessDecoder()
    began = time.perf_counter()
    with path.open("rb") as file, decoder.stream(file, 86_400.0) as stream:
        result = diarize_recording(stream, nets, Steps(), SpeakerHints(), voices=True, recogniser=recogniser)
    wall_s = time.perf_counter() - began
    decoder.stop()
    turns = [(turn.segment.start_s, turn.segment.end_s, turn.speaker) for turn in result.diarization.turns]
    found = {"wall_s": wall_s, "cpu_s": time.process_time(), "peak_rss_mb": memory()["peak_rss_mb"], "turns": turns}
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == _ONE:
        diarize_one(Path(sys.argv[2]), _WORDS in sys.argv)
    else:
        main([one for one in sys.argv[1:] if one != _WORDS], [_WORDS] if _WORDS in sys.argv else [])

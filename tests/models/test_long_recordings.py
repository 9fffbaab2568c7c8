"""Recordings of minutes, from their file to who speaks when, with the bundled networks."""

import subprocess
import sys
import tempfile
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile

from models.calibration.channels import telephone
from models.vad import SileroVad
from shared.domain.audio import Samples, Stream
from shared.domain.diarization import SpeakerHints, Turn
from shared.domain.results import RecordingDiarization
from shared.networks import Embedder
from shared.sound.conditioning import condition
from tests.support.conversations import RATE_HZ, at, conversation, errors
from tests.support.speech import Clip
from worker.recordings.decoder import ProcessDecoder
from worker.voices.diarization import diarize_recording
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets

ANY = SpeakerHints()


@pytest.fixture(scope="module")
def five_minutes(clips: list[Clip], vad: SileroVad) -> tuple[Samples, list[Turn]]:
    return conversation(clips, vad, 300.0)


@pytest.fixture(scope="module")
def progress() -> list[int]:
    return []


@pytest.fixture(scope="module")
def result(
    five_minutes: tuple[Samples, list[Turn]], vad: SileroVad, ge2e: Embedder, progress: list[int]
) -> RecordingDiarization:
    decoder = ProcessDecoder()
    steps = Steps(lambda step, percent: progress.extend([] if percent is None else [percent]))
    with tempfile.TemporaryFile() as file:
        soundfile.write(file, five_minutes[0], RATE_HZ, format="FLAC")
        file.flush()
        with decoder.stream(file, 7200.0) as stream:
            found = diarize_recording(stream, Nets(vad, ge2e), steps, ANY, voices=True)
    decoder.stop()
    return found


def test_speakers_keep_their_labels_over_five_minutes(
    five_minutes: tuple[Samples, list[Turn]], result: RecordingDiarization
) -> None:
    assert result.diarization.speakers == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_02"]
    missed, confused = errors(result.diarization, five_minutes[1])
    assert missed < 0.02
    assert confused < 0.02
    assert result.warning is None


def test_turns_follow_each_other_inside_the_recording(
    five_minutes: tuple[Samples, list[Turn]], result: RecordingDiarization
) -> None:
    edges = [edge for turn in result.diarization.turns for edge in (turn.segment.start_s, turn.segment.end_s)]
    assert edges == sorted(edges)
    assert result.audio_s == pytest.approx(len(five_minutes[0]) / RATE_HZ)
    assert edges[0] >= 0.0 and edges[-1] <= result.audio_s
    assert min(turn.segment.duration_s for turn in result.diarization.turns) > 0.0999
    assert result.speech_s == pytest.approx(sum(result.diarization.seconds().values()), abs=0.1)


def test_each_turn_and_each_20_ms_say_how_sure_they_are(result: RecordingDiarization) -> None:
    for sure in (turn.confidence for turn in result.diarization.turns):
        assert list(sure) == result.diarization.speakers
        assert 98 <= sum(sure.values()) <= 102
    turns = result.diarization.turns
    likeliest = [turn.confidence[turn.speaker] == max(turn.confidence.values()) for turn in turns]
    assert np.mean(likeliest) > 0.9
    percent = result.frame_confidence.percent
    assert percent.dtype == np.uint8
    assert len(percent) == pytest.approx(result.audio_s / 0.02, abs=1)
    assert percent.mean() > 80 and percent.max() <= 100


def test_each_speaker_has_a_voiceprint_of_their_own_voice(
    clips: list[Clip], ge2e: Embedder, five_minutes: tuple[Samples, list[Turn]], result: RecordingDiarization
) -> None:
    seconds = result.diarization.seconds()
    for speaker, voice in result.voices.items():
        middles_s = [(s.start_s + s.end_s) / 2 for s in result.diarization.segments(speaker)]
        (true, _), *_ = Counter(filter(None, at(five_minutes[1], middles_s))).most_common()
        assert max(clips, key=lambda clip: float(ge2e.embed(clip.samples) @ voice.vector)).speaker == true
        assert voice.capture.net_speech_s == pytest.approx(seconds[speaker], rel=0.1)
        assert np.linalg.norm(voice.vector) == pytest.approx(1.0, abs=1e-5)


def test_progress_rises_to_the_end(progress: list[int], result: RecordingDiarization) -> None:
    assert len(progress) >= 3
    assert progress == sorted(progress)
    assert progress[-1] == 100


@pytest.mark.parametrize("seconds", [0.01, 40.0, 130.0])
def test_a_recording_in_which_nobody_speaks_succeeds(seconds: float, vad: SileroVad, ge2e: Embedder) -> None:
    silence = Stream(iter([np.zeros(round(seconds * RATE_HZ), np.float32)]))
    found = diarize_recording(silence, Nets(vad, ge2e), Steps(), ANY, voices=True)
    assert found.diarization.turns == []
    assert found.voices == {}
    assert len(found.frame_confidence.percent) == pytest.approx(seconds / 0.02, abs=1)
    assert found.warning == "Nobody speaks in the recording."


@pytest.mark.parametrize(
    ("hints", "count", "warning"),
    [
        (SpeakerHints(1, 1), 1, None),
        (SpeakerHints(2, 2), 2, None),
        (SpeakerHints(4, 4), 4, None),
        (SpeakerHints(400, 400), None, "Of the 400 speakers asked for only"),
    ],
)
def test_a_short_recording_has_as_many_speakers_as_was_asked_for(
    hints: SpeakerHints, count: int | None, warning: str | None, clips: list[Clip], vad: SileroVad, ge2e: Embedder
) -> None:
    samples, _ = conversation(clips, vad, 20.0)
    found = diarize_recording(Stream(iter([samples])), Nets(vad, ge2e), Steps(), hints, voices=False)
    assert len(found.diarization.speakers) == count or count is None
    assert found.warning == warning or (warning and found.warning and found.warning.startswith(warning))


def test_one_who_calls_in_is_narrowband_and_the_other_in_the_room_is_not(
    clips: list[Clip], vad: SileroVad, ge2e: Embedder
) -> None:
    room, phone = ([clip.samples for clip in clips if clip.speaker == speaker] for speaker in ("1688", "3080"))
    turns = chain.from_iterable(zip(room, [telephone(samples) for samples in phone], strict=False))
    pause = np.zeros(RATE_HZ // 2, np.float32)
    # A level for both: the telephone's is its own.
    loud = [part / np.sqrt(np.mean(np.square(samples))) / 20 for samples in turns for part in (samples, pause)]
    samples = condition([np.concatenate(loud)[None]])
    found = diarize_recording(Stream(iter([samples])), Nets(vad, ge2e), Steps(), SpeakerHints(2, 2), voices=True)
    assert [voice.capture.narrowband for voice in found.voices.values()] == [False, True]


#: Diarizes FILE with the real decoder and voice activity detection, and prints its largest resident memory in bytes.
MEASURE = """
import sys
from pathlib import Path
import numpy as np
from models import registry
from models.vad import SileroVad
from shared.domain.diarization import SpeakerHints
from worker.recordings.decoder import ProcessDecoder
from worker.voices.diarization import diarize_recording
from worker.voices.voiceprint import Nets
from worker.voices.progress import Steps

class Chance:
    card = registry.entry("ge2e").card
    def encode(self, samples):
        return samples
    def pool(self, frames, spans):
        found = np.random.default_rng(0).standard_normal((len(spans), 256)).astype(np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)
    pool_windows = pool

decoder = ProcessDecoder()
with open(sys.argv[1], "rb") as file, decoder.stream(file, 86400.0) as stream:
    found = diarize_recording(stream, Nets(SileroVad(), Chance()), Steps(), SpeakerHints(), voices=False)
decoder.stop()
status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
print(found.audio_s, int(status["VmHWM"].split()[0]) * 1024)
"""


def test_memory_does_not_grow_with_the_recording(clips: list[Clip], vad: SileroVad, tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    peaks = {}
    for minutes in (5, 30):
        path = tmp_path / f"{minutes}.wav"
        samples, _ = conversation(clips, vad, 60.0)
        soundfile.write(path, np.resize(samples, minutes * 60 * RATE_HZ), RATE_HZ)
        done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
        audio_s, peaks[minutes] = (float(word) for word in done.stdout.splitlines()[-1].split())
        assert audio_s == pytest.approx(minutes * 60)
    # The further 25 minutes alone would be 96 MB of samples; a peak itself varies by some 20 MB from run to run.
    assert peaks[30] - peaks[5] < 48_000_000

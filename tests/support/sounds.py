"""Sound for tests: real clips put together by pydub, and written in any codec by PyAV.

`python -m tests.support.sounds FOLDER` remakes `tests/data/conversation.flac` from LibriSpeech's files in FOLDER.
"""

import io
import sys
from pathlib import Path

import av
import numpy as np
from pydub import AudioSegment

from shared.domain.audio import SAMPLE_RATE_HZ, Planar, Samples, Waveform
from worker.recordings.av_reader import open_sound
from worker.recordings.decoder_protocol import TRACK, unpack_track
from worker.recordings.part import Notes
from worker.recordings.sound import write_sound

DATA = Path(__file__).parents[1] / "data"
RATE = 16_000
#: A second without sound.
PAUSE = AudioSegment.silent(1000, frame_rate=RATE)

#: Who speaks in `conversation.flac`: 1688 for some 15 s, 3080 for some 10 s.
CONVERSATION = ("3080-5032-0004", "1688-142285-0006", "3080-5032-0000", "1688-142285-0007")
DOMINANT, OTHER = "1688", "3080"

#: What a codec is called by its users -> container, encoder, sample rate.
CODECS = {
    "wav": ("wav", "pcm_s16le", 16_000),
    "wav-8k": ("wav", "pcm_s16le", 8_000),
    "wav-float": ("wav", "pcm_f32le", 16_000),
    "wav-alaw": ("wav", "pcm_alaw", 8_000),
    "wav-mulaw": ("wav", "pcm_mulaw", 8_000),
    "flac": ("flac", "flac", 16_000),
    "mp3": ("mp3", "libmp3lame", 44_100),
    "m4a": ("mp4", "aac", 44_100),
    "aac": ("adts", "aac", 16_000),
    "ogg-opus": ("ogg", "libopus", 48_000),
    "ogg-vorbis": ("ogg", "vorbis", 44_100),
    "webm": ("webm", "libopus", 48_000),
    "webm-vorbis": ("webm", "vorbis", 44_100),
    "amr": ("amr", "libopencore_amrnb", 8_000),
    "3gp": ("3gp", "libopencore_amrnb", 8_000),
    "alac": ("mp4", "alac", 16_000),
    "aiff": ("aiff", "pcm_s16be", 16_000),
    "caf": ("caf", "pcm_s16le", 16_000),
    "au": ("au", "pcm_s16be", 16_000),
    "mov": ("mov", "pcm_s16le", 16_000),
    "mkv": ("matroska", "libopus", 48_000),
    "w64": ("w64", "pcm_s16le", 16_000),
    "mp2": ("mp2", "mp2", 44_100),
    "wma": ("asf", "wmav2", 44_100),
    "avi": ("avi", "libmp3lame", 44_100),
    "flv": ("flv", "libmp3lame", 44_100),
    "mpegts": ("mpegts", "aac", 48_000),
    "ac3": ("ac3", "ac3", 48_000),
    "eac3": ("eac3", "eac3", 48_000),
}
#: Encoders whose own choice is the least there is, or none: what telephones and recorders choose.
BIT_RATES = {"libopencore_amrnb": 12_200, "wmav2": 64_000}


def read(path: Path) -> AudioSegment:
    """Return a clip of the test data (mono, 16 kHz) for composing."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        frames = [*container.decode(audio=0), None]
        pcm = b"".join(out.to_ndarray().tobytes() for frame in frames for out in resampler.resample(frame))
    return AudioSegment(pcm, frame_rate=RATE, sample_width=2, channels=1)


def read_waveform(path: Path, max_s: float = 3600.0) -> Waveform:
    """Return a recording as the worker hears it."""
    sound = io.BytesIO()
    with path.open("rb") as file:
        write_sound(file, sound, max_s)
    track = unpack_track(sound.getvalue()[: TRACK.size])
    return Waveform(np.frombuffer(sound.getvalue(), np.float32, offset=TRACK.size), SAMPLE_RATE_HZ, track)


def read_unconditioned(path: Path) -> Samples:
    """Return the mean of a recording's channels at 16 kHz, as it stands in the file."""
    return heard(path.read_bytes())[0]


def heard(content: bytes, max_s: float = 3600.0, track: int = 0) -> tuple[Planar, Notes]:
    """Return a file's sound, the channels mixed, and the notes on it."""
    notes = Notes()
    sound = open_sound(io.BytesIO(content), max_s)
    mixed = [block.mean(axis=0) for block in sound.blocks(sound.tracks[track], notes)]
    return np.concatenate(mixed), notes


def join(clips: list[AudioSegment], gap_ms: int = 300) -> AudioSegment:
    """Put clips of equal loudness end to end with a pause between them."""
    silence = AudioSegment.silent(gap_ms, frame_rate=RATE)
    result = clips[0]
    for clip in clips[1:]:
        result += silence + clip.apply_gain(clips[0].dBFS - clip.dBFS)
    return result


def lasting(clip: AudioSegment, seconds: float) -> AudioSegment:
    """Repeat `clip` until it lasts exactly `seconds`."""
    return (clip * (int(seconds / clip.duration_seconds) + 1))[: round(seconds * 1000)]


def encode(sound: AudioSegment, codec: str) -> bytes:
    """Return `sound` as a file of one of `CODECS`."""
    container_format, encoder, rate = CODECS[codec]
    file = io.BytesIO()
    # Without the random numbers that some containers carry, so that the same sound gives the same file.
    with av.open(file, "w", format=container_format, options={"fflags": "+bitexact"}) as container:
        # libav's own Vorbis encoder knows stereo only, and calls itself experimental.
        layout = "stereo" if encoder == "vorbis" else "mono"
        stream = container.add_stream(encoder, rate=rate, layout=layout, options={"strict": "experimental"})
        if encoder in BIT_RATES:
            stream.bit_rate = BIT_RATES[encoder]
        packets = [packet for frame in (_frame(sound), None) for packet in stream.encode(frame)]
        if encoder == "vorbis":
            _count_out(packets)
        container.mux(packets)
    return file.getvalue()


def two_tracks(sound: AudioSegment) -> bytes:
    """Return a movie of two tracks, the first of them silent."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        streams = [container.add_stream("aac", rate=44_100, layout="mono") for _ in range(2)]
        for stream, track in zip(streams, (sound - 200, sound), strict=True):
            container.mux([*stream.encode(_frame(track)), *stream.encode(None)])
    return file.getvalue()


def _count_out(packets: list[av.Packet]) -> None:
    """Give packets the times that their lengths add up to; libav's Vorbis encoder gives none."""
    at = 0
    for packet in packets:
        packet.pts = packet.dts = at
        at += packet.duration


def _frame(sound: AudioSegment) -> av.AudioFrame:
    samples = np.array(sound.get_array_of_samples(), dtype=np.int16)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate = sound.frame_rate
    return frame


def main(folder: Path) -> None:
    clips = [read(next(folder.rglob(f"{name}.flac"))) for name in CONVERSATION]
    (DATA / "conversation.flac").write_bytes(encode(join(clips), "flac"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

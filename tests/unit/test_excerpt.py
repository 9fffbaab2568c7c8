"""Segments of a long recording: what is kept of it, on which clock, and what is refused."""

import io
import tempfile

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.audio import Segment, Stream, Track, total_s, united
from shared.domain.commands import CreateVoiceprint, Lane, from_record, to_record
from shared.domain.errors import AudioTooLong, ChannelNotFound, NotAudio, SegmentsOutside
from shared.domain.sources import parse_source
from worker.recordings.decoder import ProcessDecoder
from worker.voices.excerpt import MARGIN_S, read_excerpt
from worker.voices.progress import Steps

RATE_HZ = 16_000
#: Length of a recording whose samples are their own numbers, in units of 2 ** -24.
MOST_S = 20.0
MS = st.integers(0, round(1000 * MOST_S))
SEGMENTS = st.lists(st.tuples(MS, MS), min_size=1, max_size=8).map(
    lambda pairs: united(Segment(min(p) / 1000, max(p) / 1000) for p in pairs if p[0] != p[1])
)


def recording(seconds=MOST_S, block_s=3.0):
    """Return a stream of blocks, and a list of those that were taken."""
    samples = np.arange(round(seconds * RATE_HZ), dtype=np.float32)
    taken = []

    def blocks():
        for start in range(0, len(samples), round(block_s * RATE_HZ)):
            taken.append(start)
            yield samples[start : start + round(block_s * RATE_HZ)]

    return Stream(blocks(), Track(duration_s=seconds)), taken


@settings(max_examples=50, deadline=None)
@given(SEGMENTS, st.sampled_from([0.5, 3.0, 30.0]))
def test_every_sample_of_a_segment_is_kept_at_its_time_and_hardly_any_other(segments, block_s):
    if not segments:
        return
    excerpt = read_excerpt(recording(block_s=block_s)[0], segments, Steps())
    samples = excerpt.waveform.samples
    assert total_s(excerpt.pieces) == pytest.approx(len(samples) / RATE_HZ)
    assert len(samples) / RATE_HZ <= total_s(segments) + 2 * MARGIN_S * len(segments) + 0.001
    own = excerpt.taken_in(segments)
    assert total_s(own) == pytest.approx(total_s(segments), abs=0.001)
    back = excerpt.on_the_recordings_clock(own)
    assert [(s.start_s, s.end_s) for s in back] == [
        (pytest.approx(s.start_s, abs=0.001), pytest.approx(s.end_s, abs=0.001)) for s in segments
    ]
    for here, there in zip(own, back, strict=True):
        assert samples[round(here.start_s * RATE_HZ)] == pytest.approx(there.start_s * RATE_HZ, abs=1)


def test_nothing_is_read_behind_the_last_segment():
    stream, taken = recording(seconds=600.0)
    progress = []
    steps = Steps(lambda step, percent: progress.append(percent) if step is None else None)
    read_excerpt(stream, [Segment(1.0, 2.0), Segment(40.0, 41.0)], steps)
    assert max(taken) / RATE_HZ < 42.0
    assert (progress[0], progress[-1]) == (0, 100)


@pytest.mark.parametrize("segment", [Segment(19.0, 20.6), Segment(25.0, 26.0), Segment(0.0, 1e300)])
def test_a_segment_behind_the_end_is_refused_and_named(segment):
    stream, taken = recording()
    with pytest.raises(SegmentsOutside, match=r"lasts 20\.0 s"):
        read_excerpt(stream, [Segment(1.0, 2.0), segment], Steps())
    assert taken == [0]


@pytest.fixture(scope="module")
def decoder():
    found = ProcessDecoder()
    yield found
    found.stop()


def a_wav(seconds):
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.sin(np.arange(round(seconds * RATE_HZ))), RATE_HZ, format="WAV")
    return file.getvalue()


@pytest.mark.parametrize("wanted", [Segment(0.0, 0.4), Segment(0.0, 2.0), Segment(30.0, 40.0)])
@pytest.mark.parametrize(
    ("content", "channel", "failure"),
    [
        (b"Not a recording.\n" * 500, None, NotAudio),
        (b"<!doctype html><html><body>Log in.</body></html>", None, NotAudio),
        (a_wav(0.0), None, NotAudio),
        (a_wav(6.0), None, AudioTooLong),
        (a_wav(3.0), 3, ChannelNotFound),
    ],
)
def test_a_file_that_is_refused_is_refused_for_its_own_reason(wanted, content, channel, failure, decoder):
    with pytest.raises(failure):
        _excerpt_of(content, [wanted], decoder, channel)


@pytest.mark.parametrize("start_s", [3.0, 3.2])
def test_a_segment_that_begins_behind_the_end_is_refused(start_s, decoder):
    with pytest.raises(SegmentsOutside, match=r"lasts 3\.0 s"):
        _excerpt_of(a_wav(3.0), [Segment(start_s, start_s + 0.2)], decoder)


def _excerpt_of(content, segments, decoder, channel=None):
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        with decoder.stream(file, 5.0, channel) as stream:
            return read_excerpt(stream, segments, Steps())


def test_a_segment_may_end_with_the_padding_of_a_codec():
    excerpt = read_excerpt(recording()[0], [Segment(18.0, 20.4)], Steps())
    assert excerpt.on_the_recordings_clock(excerpt.taken_in([Segment(18.0, 20.4)])) == [Segment(18.0, 20.0)]


def test_a_command_with_segments_is_a_long_job_and_comes_back_from_its_record():
    source = parse_source("media://a.wav")
    command = CreateVoiceprint(source=source, segments=(Segment(0.5, 2.0), Segment(3.0, 4.25)))
    assert (command.lane, from_record(to_record(command))) == (Lane.LONG, command)
    other = CreateVoiceprint(source=source, speaker="SPEAKER_01")
    assert (other.lane, from_record(to_record(other))) == (Lane.SHORT, other)
    assert not {"speaker", "segments"} & to_record(CreateVoiceprint(source=source)).keys()

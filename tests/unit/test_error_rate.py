"""Diarization error rate: its three parts by hand, and the same rate as pyannote.metrics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.audio import Segment
from shared.domain.diarization import Turn
from tests.support.toys import turn
from worker.voices.error_rate import diarization_error


def test_a_perfect_diarization_has_no_error_whatever_the_speakers_are_called():
    true = [turn(0, 4, "ann"), turn(3, 6, "bob")]
    error = diarization_error(true, [turn(0, 4, "SPEAKER_01"), turn(3, 6, "SPEAKER_00")], 8.0, 0.0)
    assert error.speech_s == pytest.approx(7.0)
    assert error.wrong_s == pytest.approx(0.0)


def test_each_kind_of_error_is_counted():
    true = [turn(0, 4, "ann"), turn(3, 6, "bob")]
    error = diarization_error(true, [turn(0, 5, "A"), turn(5, 5.5, "B"), turn(7, 8, "A")], 8.0, 0.0)
    # From 3 to 4 s one of two is missed, and from 5.5 s on bob; from 4 to 5 s bob is taken for ann.
    assert error.missed_s == pytest.approx(1.5)
    assert error.confused_s == pytest.approx(1.0)
    assert error.false_alarm_s == pytest.approx(1.0)


def test_edges_of_the_reference_are_forgiven_inside_the_collar():
    error = diarization_error([turn(1, 4, "ann")], [turn(1.2, 4.2, "A")], 8.0)
    assert error.speech_s == pytest.approx(2.5)
    assert error.wrong_s == pytest.approx(0.0)


@pytest.mark.parametrize(("true", "found"), [([], []), ([], [turn(0, 1, "A")]), ([turn(0, 1, "ann")], [])])
def test_nobody_on_one_side_or_both_is_no_special_case(true, found):
    error = diarization_error(true, found, 2.0, 0.0)
    assert (error.missed_s, error.false_alarm_s) == pytest.approx((len(true), len(found)))
    assert error.confused_s == 0.0


def turns_of(names):
    """Turns on the grid of the measure. Those of one speaker are disjoint: pyannote would count them twice."""
    spans = st.lists(st.integers(0, 3000), min_size=2, max_size=10, unique=True).map(sorted)
    return st.fixed_dictionaries(dict.fromkeys(names, spans)).map(
        lambda by_name: [
            Turn(Segment(start / 100, end / 100), name)
            for name, edges in by_name.items()
            for start, end in zip(edges[::2], edges[1::2], strict=False)
        ]
    )


@pytest.mark.nemo
@pytest.mark.filterwarnings("ignore")
@settings(deadline=None)
@given(turns_of("abc"), turns_of("XYZU"), st.sampled_from([0.0, 0.25]))
def test_the_rate_is_that_of_pyannote(true, found, collar_s):
    from pyannote.core import Annotation, Timeline
    from pyannote.core import Segment as Span
    from pyannote.metrics.diarization import DiarizationErrorRate

    def annotation(turns):
        made = Annotation()
        for i, each in enumerate(turns):
            made[Span(each.segment.start_s, each.segment.end_s), i] = each.speaker
        return made

    # pyannote's collar is the whole width.
    metric = DiarizationErrorRate(collar=2 * collar_s)
    theirs = metric(annotation(true), annotation(found), uem=Timeline([Span(0, 30)]), detailed=True)
    ours = diarization_error(true, found, 30.0, collar_s)
    parts = [ours.speech_s, ours.missed_s, ours.false_alarm_s, ours.confused_s]
    names = ("total", "missed detection", "false alarm", "confusion")
    np.testing.assert_allclose(parts, [theirs[name] for name in names], atol=0.011)

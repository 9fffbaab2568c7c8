"""Stored forms of what is sealed in the database: those of release 0.1 are read too."""

import json

import pytest

from shared.adapters.sql.records import (
    trace_to_bytes,
    traces_from_bytes,
    traces_to_bytes,
    verified_from_bytes,
    verified_to_bytes,
)
from shared.domain.identities import Failure
from shared.domain.voiceprints import Voiceprint
from tests.support.lasting import trace, verified, voice

#: Result of a verification as release 0.1 stored it, but for the voiceprint.
OLD = """
{"score": 0.9, "llr": 3.0, "operating_point": "balanced", "heard": {"voiceprint": "%s", "quality": {"num_speakers": 1,
"share": 1.0, "lead": 1.0, "consistency": 0.9, "clipped": false}, "audio_s": 6.0, "speech_s": 5.0,
"sample_rate_hz": 16000, "dominant_speaker": null, "channels": null, "warning": null}, "replay": {"kind": "same",
"of": "sample", "id": "1", "heard_at": 1700000000000000}, "added_sample": "2"}
"""


def test_a_result_of_the_release_before_is_read_with_its_decision():
    found = verified_from_bytes((OLD % voice().encode()).encode())
    assert (found.least_llr, dict(found.unheard), found.decision) == (None, {}, "accept")
    assert (found.replay.id, found.added_sample, found.heard.quality.consistency) == ("1", "2", 0.9)


def test_the_release_before_reads_a_result_of_this_one():
    """It takes the values that it knows by their names."""
    stored = json.loads(verified_to_bytes(verified(unheard={1: Failure(code="no_speech", message="m")})))
    old = json.loads(OLD % voice().encode())
    assert old.keys() < stored.keys()
    assert old["heard"].keys() == stored["heard"].keys()
    assert Voiceprint.decode(stored["heard"]["voiceprint"]).model_id == voice().model_id


def test_a_result_is_read_as_it_was_stored():
    unheard = {0: Failure(code="not_audio", message="a"), 10: Failure(code="no_speech", message="b")}
    found = verified_from_bytes(verified_to_bytes(verified(least_llr=-1.5, unheard=unheard)))
    assert (found.least_llr, found.unheard, found.decision) == (-1.5, unheard, "accept")


def test_a_single_trace_is_stored_as_by_the_release_before():
    assert traces_to_bytes([trace(1)]) == trace_to_bytes(trace(1))


@pytest.mark.parametrize("number", [1, 2, 12])
def test_traces_are_read_as_they_were_stored(number):
    traces = [trace(seed) for seed in range(number)]
    found = traces_from_bytes(traces_to_bytes(traces))
    assert [trace_to_bytes(one) for one in found] == [trace_to_bytes(one) for one in traces]

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.registry import default_card
from shared.domain import search as module
from shared.domain.calibration import Calibration, confidence
from shared.domain.errors import InvalidVoiceprint
from shared.domain.quality import Capture
from shared.domain.search import Entry, Gallery, SearchResult, search
from shared.domain.verification import compare
from shared.domain.voiceprints import Voiceprint
from shared.settings import Settings
from tests.support.toys import CLEAN, ZERO, toy_calibration, voiceprint

CALIBRATION = default_card(Settings().weights_dir).calibration
TOY = toy_calibration({"clean": ZERO, "noisy": ZERO, "telephone": ZERO})


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_ROWS", 4)
    monkeypatch.setattr(module, "_BATCH", 3)


def people(num: int, seed: int = 0) -> list[Voiceprint]:
    """Return voices as different as those of the bundled model, in all three conditions."""
    rng = np.random.default_rng(seed)
    raw = CALIBRATION.means["clean"] + 0.05 * rng.standard_normal((num, 256)).astype(np.float32)
    captures = [Capture(net_speech_s=0.5 + i % 13, snr_db=float(i % 41), narrowband=i % 3 == 0) for i in range(num)]
    vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return [Voiceprint(CALIBRATION.model_id, *pair) for pair in zip(vectors, captures, strict=True)]


def entry(key: str, x: float, y: float, identity: str | None = None) -> Entry:
    return Entry(key=key, identity=identity or key, voiceprint=voiceprint(x, y))


def toy_gallery(*entries: Entry, calibration: Calibration | None = TOY) -> Gallery:
    return Gallery.build("toy@1", 2, entries, calibration)


def search_all(gallery: Gallery, probe: Voiceprint) -> SearchResult:
    return search(gallery, probe, limit=50, least_confidence=0)


def named(result: SearchResult) -> list[str]:
    return [candidate.identity for candidate in result.candidates]


def test_scores_and_ratios_are_those_of_each_pair_in_every_condition() -> None:
    *enrolled, probe = people(30)
    entries = [Entry(key=f"print {i}", identity=f"person {i}", voiceprint=v) for i, v in enumerate(enrolled)]
    found = search_all(Gallery.build(CALIBRATION.model_id, 256, entries, CALIBRATION), probe)
    pairs = {e.identity: compare(e.voiceprint, probe, CALIBRATION) for e in entries}
    assert found.searched == len(found.candidates) == 29
    assert {c.identity: c.llr for c in found.candidates} == pytest.approx(
        {i: p.llr for i, p in pairs.items()}, abs=1e-4
    )
    assert {c.identity: c.score for c in found.candidates} == pytest.approx({i: p.score for i, p in pairs.items()})
    assert [c.llr for c in found.candidates] == sorted((c.llr for c in found.candidates), reverse=True)


def test_the_confidences_and_nobody_share_the_certainty_by_bayes() -> None:
    gallery = toy_gallery(entry("ann", 0.8, 0.6), entry("bob", 0.6, 0.8), entry("eve", 0.0, 1.0))
    found = search_all(gallery, voiceprint(1, 0))
    ratios = {"ann": math.exp(6.0), "bob": math.exp(2.0), "eve": math.exp(-10.0)}
    total = 3 + sum(ratios.values())
    assert {c.identity: c.confidence for c in found.candidates} == {n: int(100 * r / total) for n, r in ratios.items()}
    assert found.nobody == pytest.approx(3 / total)


def test_among_more_people_the_same_voice_is_less_certain() -> None:
    strangers = [entry(f"stranger {i}", 0.0, 1.0) for i in range(99)]
    alone, among = (
        search_all(toy_gallery(entry("ann", 0.8, 0.6), *them), voiceprint(1, 0)) for them in ([], strangers)
    )
    assert alone.candidates[0].confidence == confidence(6.0) == 99
    assert among.candidates[0].confidence == int(100 * math.exp(6) / (100 + math.exp(6)))
    assert among.nobody > 0.19 > alone.nobody


def test_of_several_voiceprints_of_an_identity_the_best_counts_once() -> None:
    several = [entry("old", 0.0, 1.0, "ann"), entry("new", 0.8, 0.6, "ann"), entry("odd", -1.0, 0.0, "ann")]
    found = search_all(toy_gallery(*several, entry("bob", 0.6, 0.8)), voiceprint(1, 0))
    assert [(c.identity, c.key) for c in found.candidates] == [("ann", "new"), ("bob", "bob")]
    assert found.searched == 2
    assert found.nobody == pytest.approx(2 / (2 + math.exp(6) + math.exp(2)))


def test_no_more_than_the_limit_are_named_and_none_below_the_least_confidence() -> None:
    entries = [entry(f"{i:02}", math.cos(i / 20), math.sin(i / 20)) for i in range(30)]
    entries += [entry(f"{i:02} again", math.cos(i / 20), math.sin(i / 20), f"{i:02}") for i in range(30)]
    gallery = toy_gallery(*reversed(entries))
    assert named(search(gallery, voiceprint(1, 0), limit=3, least_confidence=0)) == ["00", "01", "02"]
    sure = search(gallery, voiceprint(1, 0), limit=30, least_confidence=12)
    assert [c.confidence for c in sure.candidates] == sorted((c.confidence for c in sure.candidates), reverse=True)
    assert sure.candidates and min(c.confidence for c in sure.candidates) >= 12
    assert len(search_all(gallery, voiceprint(1, 0)).candidates) == 30


@pytest.mark.parametrize("seed", range(5))
def test_equal_voices_rank_by_identity_in_whatever_order_they_came(seed: int) -> None:
    vector = people(1)[0]
    names = [f"{i:02}" for i in range(23)]
    shuffled = np.random.default_rng(seed).permutation(names)
    entries = [Entry(key=name, identity=name, voiceprint=vector) for name in shuffled]
    gallery = Gallery.build(CALIBRATION.model_id, 256, entries, CALIBRATION)
    probe = people(2)[1]
    assert named(search(gallery, probe, limit=7, least_confidence=0)) == names[:7]


def test_nobody_is_the_answer_where_nobody_is_enrolled() -> None:
    found = search_all(toy_gallery(), voiceprint(1, 0))
    assert (found.candidates, found.nobody, found.searched) == ([], 1.0, 0)


def test_without_calibration_the_cosine_ranks_and_there_is_no_confidence() -> None:
    gallery = toy_gallery(entry("bob", 0.6, 0.8), entry("ann", 0.8, 0.6), calibration=None)
    found = search(gallery, voiceprint(1, 0), limit=5, least_confidence=99)
    assert [(c.identity, c.confidence, c.llr) for c in found.candidates] == [("ann", None, None), ("bob", None, None)]
    assert [c.score for c in found.candidates] == pytest.approx([0.8, 0.6])
    assert (found.nobody, found.searched) == (None, 2)


@pytest.mark.parametrize("calibration", [TOY, None], ids=["calibrated", "not calibrated"])
def test_voiceprints_of_other_models_are_neither_kept_nor_searched_for(calibration: Calibration | None) -> None:
    gallery = toy_gallery(entry("ann", 1, 0), calibration=calibration)
    for other in (voiceprint(1, 0, model="toy@2"), Voiceprint("toy@1", np.ones(1, np.float32), CLEAN)):
        with pytest.raises(InvalidVoiceprint):
            gallery.put([entry("bob", 0, 1), Entry(key="other", identity="other", voiceprint=other)])
        with pytest.raises(InvalidVoiceprint):
            search_all(gallery, other)
    assert list(gallery.keys()) == named(search_all(gallery, voiceprint(0, 1))) == ["ann"]


def test_memory_is_that_of_the_rows_in_use() -> None:
    few = toy_gallery(*(entry(f"{i:03}", 1, 0) for i in range(5)))
    many = toy_gallery(*(entry(f"{i:03}", 1, 0) for i in range(500)))
    assert 500 * 33 < many.nbytes < 500 * 400
    assert few.nbytes < many.nbytes / 20


def test_a_batch_may_be_read_only_once() -> None:
    def once() -> Iterator[Entry]:
        for i in range(11):
            yield entry(str(i), math.cos(i), math.sin(i))

    assert Gallery.build("toy@1", 2, once(), TOY).num_identities == 11


ROWS = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["ann", "bob", "eve"]), st.integers(0, 30))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.lists(ROWS, min_size=1, max_size=9), st.sampled_from("abcdefgh")), max_size=12))
def test_after_any_changes_a_gallery_answers_as_one_that_is_built_anew(changes: list[object]) -> None:
    gallery = toy_gallery()
    expected: dict[str, Entry] = {}
    for change in changes:
        if isinstance(change, str):
            gallery.remove(change)
            expected.pop(change, None)
        else:
            entries = [entry(key, math.cos(a / 10), math.sin(a / 10), identity) for key, identity, a in change]
            gallery.put(entries)
            expected |= {e.key: e for e in entries}
    anew = toy_gallery(*expected.values())
    assert set(gallery.keys()) == set(expected)
    assert (len(gallery), gallery.num_identities) == (len(expected), len({e.identity for e in expected.values()}))
    for calibrated in (voiceprint(1, 0), voiceprint(-0.6, 0.8)):
        ours, theirs = search_all(gallery, calibrated), search_all(anew, calibrated)
        assert [(c.identity, c.key) for c in ours.candidates] == [(c.identity, c.key) for c in theirs.candidates]
        assert ours.nobody == pytest.approx(theirs.nobody)
        assert ours.searched == theirs.searched

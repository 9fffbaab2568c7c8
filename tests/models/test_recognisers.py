"""Speech recognisers: their files, the words they hear in real recordings, and the one of each language."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models import recognisers
from models.moonshine import read_tokens, stretches, without_loop
from models.recognisers import BUNDLED, InstalledRecognisers, installed, load, manifest
from models.registry import sha256_of
from shared.domain.audio import Segment
from shared.domain.errors import LanguageNotInstalled, ModelInstallError
from shared.networks import Recogniser
from shared.settings import Settings
from tests.support.speech import Clip
from worker.bootstrap import require_model

#: Name in the wheel -> name in `models/bundled`.
WHEEL_FILES = {
    "encoder_model.ort": "moonshine_tiny_en_encoder.ort",
    "decoder_model_merged.ort": "moonshine_tiny_en_decoder.ort",
    "tokenizer.bin": "moonshine_tiny_en_tokenizer.bin",
}
#: Words of recordings in tests/data, without what the recogniser hears otherwise.
SAID = {
    "1688-142285-0005": "You who were always accusing people of being shoppy at",
    "1688-142285-0008": "His father dying in miserable circumstances",
    "2609-156975-0000": "was afraid and said, Surely the thing is known",
    "3080-5032-0000": "But I am hugely pleased that you have seen my lady",
    "3080-5032-0003": "Why did you not send me that news",
}


def plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return InstalledRecognisers().find(None)


@pytest.mark.nemo
def test_the_bundled_files_are_those_of_the_wheel_byte_for_byte() -> None:
    spec = importlib.util.find_spec("moonshine_voice")
    if spec is None or spec.origin is None:
        pytest.skip("The wheel is installed on Linux only.")
    assets = Path(spec.origin).parent / "assets" / "tiny-en"
    for theirs, ours in WHEEL_FILES.items():
        assert (assets / theirs).read_bytes() == (BUNDLED / ours).read_bytes()


def test_the_manifest_pins_each_bundled_file_and_its_licence_lies_beside_them() -> None:
    pinned = manifest()["moonshine_tiny_en"].sha256
    assert set(pinned) == set(WHEEL_FILES.values())
    assert {name: sha256_of(BUNDLED / name) for name in pinned} == pinned
    assert "MIT License" in (BUNDLED / "moonshine.LICENSE").read_text()


def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognisers, "BUNDLED", tmp_path)
    for name in WHEEL_FILES.values():
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(ModelInstallError, match="damaged"):
        load(installed()[0])


@pytest.mark.parametrize("name", SAID)
def test_it_hears_what_was_said(recogniser: Recogniser, clips: list[Clip], name: str) -> None:
    clip = next(clip for clip in clips if clip.name == name)
    assert plain(SAID[name]) in plain(recogniser.transcribe(clip.samples))


def test_it_hears_the_same_each_time(recogniser: Recogniser, clips: list[Clip]) -> None:
    assert len({recogniser.transcribe(clips[0].samples) for _ in range(3)}) == 1


def test_a_long_recording_is_heard_in_stretches_from_start_to_end(recogniser: Recogniser, clips: list[Clip]) -> None:
    pause = np.zeros(24_000, np.float32)
    known = [clip for clip in clips if clip.name in SAID]
    text = recogniser.transcribe(np.concatenate([part for clip in known * 3 for part in (clip.samples, pause)]))
    telling = ["shoppy", "miserable", "surely", "hugely", "garland"]
    assert [word for word in plain(text).split() if word in telling] == telling * 3


def no_speech() -> Iterator[tuple[str, NDArray[np.float32]]]:
    seconds = np.arange(160_000) / 16_000
    yield "empty", np.zeros(0, np.float32)
    yield "a few samples", np.full(100, 0.1, np.float32)
    yield "silence", np.zeros(160_000, np.float32)
    yield "noise", np.random.default_rng(1).normal(0, 0.05, 320_000).astype(np.float32)
    yield "tone", (0.3 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32)


@pytest.mark.parametrize("samples", [pytest.param(samples, id=name) for name, samples in no_speech()])
def test_where_nobody_speaks_there_are_no_words(recogniser: Recogniser, samples: NDArray[np.float32]) -> None:
    assert recogniser.transcribe(samples) == ""


def test_tokens_are_read_with_their_bytes_and_control_tokens_are_empty() -> None:
    assert read_tokens(b"\x04</s>\x01\xff\x01<\x04\xe2\x96\x81a\x0a<<ST_767>>") == [
        b"",
        b"\xff",
        b"<",
        b"\xe2\x96\x81a",
        b"",
    ]
    assert len(read_tokens((BUNDLED / "moonshine_tiny_en_tokenizer.bin").read_bytes())) == 32_768


@pytest.mark.parametrize(
    ("tokens", "left"),
    [
        ([], []),
        ([1, 2, 3], [1, 2, 3]),
        ([9, 7, 7, 7, 7], [9, 7]),
        ([7] * 40, [7]),
        ([9, 7, 7, 7], [9, 7, 7, 7]),
        ([7, 7, 7, 7, 9], [7, 7, 7, 7, 9]),
        ([5, *[1, 2, 3] * 4], [5, 1, 2, 3]),
        ([5, *[1, 2, 3] * 9, 1, 2], [5, 1, 2, 3]),
        ([1, 2, 3] * 3, [1, 2, 3] * 3),
    ],
)
def test_a_loop_up_to_the_limit_is_one_of_its_groups(tokens: list[int], left: list[int]) -> None:
    assert without_loop(tokens) == left


def test_what_people_repeat_is_heard_as_often_and_what_they_say_then_is_heard_too(
    recogniser: Recogniser, clips: list[Clip]
) -> None:
    samples = {clip.name: clip.samples for clip in clips}
    pause = np.zeros(3200, np.float32)
    question = samples["3080-5032-0003"][: round(1.4 * 16_000)]
    said = plain(recogniser.transcribe(np.concatenate([*[question, pause] * 5, samples["1688-142285-0008"]])))
    assert len(re.findall(r"why did (?:you|he) not", said)) == 5
    assert "miserable circumstances" in said


def seconds_of(stretch: list[Segment]) -> float:
    return sum(piece.duration_s for piece in stretch)


def test_no_stretch_is_longer_than_15_s_and_none_of_the_speech_is_lost() -> None:
    speech = [Segment(1.0, 9.0), Segment(9.1, 14.0), Segment(15.0, 20.0), Segment(30.0, 71.0)]
    heard = stretches(speech, 72.0)
    assert all(seconds_of(stretch) <= 15.0 for stretch in heard)
    pieces = [piece for stretch in heard for piece in stretch]
    assert all(a.end_s <= b.start_s for a, b in pairwise(pieces))
    for segment in speech:
        inside_s = [min(p.end_s, segment.end_s) - max(p.start_s, segment.start_s) for p in pieces]
        assert sum(max(0.0, one_s) for one_s in inside_s) == pytest.approx(segment.duration_s)


def test_a_stretch_ends_at_the_longest_pause_and_long_pauses_are_shortened() -> None:
    speech = [Segment(0.5, 5.0), Segment(5.2, 9.0), Segment(11.0, 18.0)]
    assert stretches(speech, 18.5) == [[Segment(0.2, 5.1), Segment(5.1, 9.3)], [Segment(10.7, 18.3)]]
    assert stretches([], 10.0) == []


@pytest.mark.parametrize("language", [None, "en", "EN-US", "en_GB", " En "])
def test_a_language_is_found_by_its_primary_subtag(language: str | None) -> None:
    assert InstalledRecognisers().find(language).card.recogniser_id == "moonshine_tiny_en@1"


def test_an_error_names_the_recogniser_of_the_language_where_there_is_one() -> None:
    with pytest.raises(LanguageNotInstalled, match="installs one by `make models MODEL=stt_de_conformer_ctc_large`"):
        InstalledRecognisers().find("de-CH")
    with pytest.raises(LanguageNotInstalled, match="installs others by `make models`"):
        InstalledRecognisers().find("nl")


def test_a_worker_whose_language_is_not_installed_does_not_start(tmp_path: Path) -> None:
    require_model(Settings(data_dir=tmp_path, weights_dir=tmp_path, language="en-GB"))
    with pytest.raises(ModelInstallError, match=r"TIMBRE_LANGUAGE .* MODEL=stt_de_conformer_ctc_large"):
        require_model(Settings(data_dir=tmp_path, weights_dir=tmp_path, language="de"))


@pytest.mark.parametrize("language", ["de", "de-CH", "", "english"])
def test_another_language_is_an_error_that_says_what_is_installed(language: str) -> None:
    with pytest.raises(LanguageNotInstalled, match=r"installed; there are those of: en\..*make models"):
        InstalledRecognisers().find(language)


def test_a_recogniser_is_loaded_once_and_only_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr(recognisers, "load", lambda card, weights, threads: loaded.append(card) or object())
    them = InstalledRecognisers()
    assert loaded == []
    assert them.find("en") is them.find(None)
    assert len(loaded) == 1


def test_hearing_imports_neither_the_wheel_nor_torch() -> None:
    script = (
        "import sys; from models.recognisers import InstalledRecognisers; InstalledRecognisers().find('en');"
        "print([name for name in ('moonshine_voice', 'torch', 'nemo') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"

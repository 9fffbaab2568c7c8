"""Wire form of single-call enrolment: vectors there and back, answers to the letter, codes and routes as documented."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.app import create_app
from api.dialects.enroll.requests import read_call, read_key, read_ref
from api.errors import InvalidRequest, RateLimited, Unauthorized
from api.services import Services
from shared.dialects import enroll, speak
from shared.dialects.enroll import Code, Enroll, Method, Refusal, code_of, from_vector, percent, to_vector
from shared.domain.audio import Segment, Track
from shared.domain.diarization import Diarization, Turn
from shared.domain.errors import JobFailure, NotAudio, RequestError, WrongPhrase, concrete_errors
from shared.domain.models import ListedModel
from shared.domain.quality import Capture, Quality
from shared.domain.results import SearchResult, VerificationResult, VoiceprintResult
from shared.domain.speech import ContentRequest, PhraseRule, SpokenTurn, Transcript
from shared.domain.verification import Comparison, OperatingPoint
from shared.domain.voiceprints import Voiceprint
from shared.settings import Settings
from tests.support.readme import chapter
from tests.support.routes import routes

MODEL = ListedModel(
    handle="toy", version="1", dimension=192, sample_rate_hz=16_000, min_speech_s=2.0, licence="", installed=True,
    calibrated=True, default=True,
)  # fmt: skip
DOCUMENT = chapter("Single-call enrolment")
CAPTURES = st.builds(
    lambda speech_s, snr_db, narrowband: Capture(net_speech_s=speech_s, snr_db=snr_db, narrowband=narrowband),
    st.floats(0.1, 600), st.floats(0, 40), st.booleans(),
)  # fmt: skip


def voiceprint(seed, capture=None, model=MODEL):
    vector = np.random.default_rng(seed).normal(size=model.dimension)
    capture = capture or Capture(net_speech_s=6.5, snr_db=21.25, narrowband=False)
    return Voiceprint(model.model_id, (vector / np.linalg.norm(vector)).astype(np.float32), capture)


def near(found, meant, capture_error=1e-5):
    assert found.voiceprint.model_id == meant.model_id
    assert found.voiceprint.capture.net_speech_s == pytest.approx(meant.capture.net_speech_s, rel=1e-6)
    assert found.voiceprint.capture.snr_db == pytest.approx(meant.capture.snr_db, abs=capture_error)
    assert found.voiceprint.capture.narrowband == meant.capture.narrowband


#: What clients do to the numbers that they keep.
STORAGES = {
    "JSON": lambda numbers: json.loads(json.dumps(numbers)),
    "float32": lambda numbers: np.float32(numbers).astype(float).tolist(),
    "float32 in nine digits": lambda numbers: [float(f"{one:.9g}") for one in np.float32(numbers)],
    "float32 in the shortest form": lambda numbers: [float(str(one)) for one in np.float32(numbers)],
}


@pytest.mark.parametrize("storage", STORAGES)
@given(seed=st.integers(0, 2**32), capture=CAPTURES)
def test_a_vector_comes_back_bit_by_bit(storage, seed, capture):
    meant = voiceprint(seed, capture)
    vector = to_vector(meant)
    found = from_vector(STORAGES[storage](vector), [MODEL])
    assert found.whole
    assert np.array_equal(found.voiceprint.vector, meant.vector)
    near(found, meant)
    assert Voiceprint.decode(found.voiceprint.encode()).model_id == MODEL.model_id
    assert to_vector(found.voiceprint)[: MODEL.dimension] == vector[: MODEL.dimension]
    assert all(0 <= number < 1e-4 for number in vector[MODEL.dimension :])


@given(crc=st.integers(0, 2**16 - 1), number=st.integers(1, 100))
def test_a_crc_survives_float32_and_the_mean_of_a_hundred(crc, number):
    mean = np.sum(np.full(number, crc * 1e-9, np.float32), dtype=np.float32) / np.float32(number)
    assert round(float(mean) / 1e-9) == crc


@given(seed=st.integers(0, 2**32), number=st.integers(2, 20))
def test_the_mean_of_vectors_of_one_voice_is_its_vector_with_the_mean_capture(seed, number):
    rng = np.random.default_rng(seed)
    voice = voiceprint(seed).vector
    captures = [Capture(net_speech_s=1.0 + i, snr_db=20.0 + i, narrowband=False) for i in range(number)]
    noisy = [voice + rng.normal(size=voice.size, scale=0.05) for _ in captures]
    one = [
        Voiceprint(MODEL.model_id, (vector / np.linalg.norm(vector)).astype(np.float32), capture)
        for vector, capture in zip(noisy, captures, strict=True)
    ]
    mean = np.mean(np.float32([to_vector(each) for each in one]), axis=0, dtype=np.float32).astype(float)
    found = from_vector(mean.tolist(), [MODEL]).voiceprint
    assert np.linalg.norm(found.vector) == pytest.approx(1, abs=1e-3)
    assert found.vector @ voice > 0.8
    assert found.capture.net_speech_s == pytest.approx(1 + (number - 1) / 2, rel=1e-4)
    assert found.capture.snr_db == pytest.approx(min(40, 20 + (number - 1) / 2), rel=1e-4)


def test_a_cut_off_trailer_is_taken_for_the_current_models():
    meant = voiceprint(1)
    found = from_vector(to_vector(meant)[: MODEL.dimension], [MODEL])
    assert not found.whole
    assert np.array_equal(found.voiceprint.vector, meant.vector)
    assert found.voiceprint.capture == Capture(net_speech_s=3.0, snr_db=15.0, narrowband=False)


def changed(numbers, **others):
    return [others.get(f"at_{at}", number) for at, number in enumerate(numbers)]


VECTOR = to_vector(voiceprint(2))
D = MODEL.dimension
DAMAGES = {
    "zeros": [0.0] * len(VECTOR),
    "zeros without a trailer": [0.0] * D,
    "empty": [],
    "one short": VECTOR[:-1],
    "one more": [*VECTOR, 0.0],
    "half": VECTOR[: D // 2],
    "half as long": [number / 2.01 for number in VECTOR[:D]] + VECTOR[D:],
    "one number is wrong": changed(VECTOR, at_0=2.0),
    "huge": [1e308] * D + VECTOR[D:],
    "another model": to_vector(replace(voiceprint(2), model_id="toy@2")),
    "crc of zero": changed(VECTOR, **{f"at_{D}": 0.0}),
    "crc next to it": changed(VECTOR, **{f"at_{D}": VECTOR[D] + 1e-9}),
    "crc huge": changed(VECTOR, **{f"at_{D}": 1e308}),
    "no speech": changed(VECTOR, **{f"at_{D + 1}": 0.0}),
    "negative speech": changed(VECTOR, **{f"at_{D + 1}": -1e-7}),
    "too much speech": changed(VECTOR, **{f"at_{D + 1}": 1e-4}),
    "too little noise": changed(VECTOR, **{f"at_{D + 2}": 41e-7}),
    "negative noise": changed(VECTOR, **{f"at_{D + 2}": -1e-7}),
    "a band of its own": changed(VECTOR, **{f"at_{D + 3}": 2e-7}),
    "all divided by its norm": [number / 0.8 for number in VECTOR],
    "six decimals": [round(number, 6) for number in VECTOR],
    "half precision": np.float16(VECTOR).astype(float).tolist(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_vector_is_refused(damage):
    with pytest.raises(Refusal) as refused:
        from_vector(DAMAGES[damage], [MODEL])
    assert refused.value.code is Code.VECTOR


@given(numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=190, max_size=198))
def test_any_numbers_are_a_voice_or_refused(numbers):
    try:
        found = from_vector(numbers, [MODEL]).voiceprint
    except Refusal:
        return
    assert np.linalg.norm(found.vector) == pytest.approx(1, abs=1e-3)


def test_a_confidence_is_rounded_down_and_never_certain():
    assert [percent(llr) for llr in (-60.0, 0.0, 60.0)] == [0.0, 50.0, 99.99]
    # 1 / (1 + e^-1) = 0.731058...
    assert percent(1.0) == 73.1
    assert percent(9.3) == 99.99


def voice(transcript=None):
    turns = [Turn(Segment(0.0, 6.0), "SPEAKER_00")]
    return VoiceprintResult(
        voiceprint=voiceprint(2),
        diarization=Diarization(turns),
        speaker="SPEAKER_00",
        quality=Quality(
            capture=voiceprint(2).capture, num_speakers=1, share=1.0, lead=1.0, consistency=0.9, clipped=False
        ),
        calibrated=True,
        speech_s=6.5,
        audio_s=8.25,
        track=Track(),
        timings_s={},
        transcript=transcript,
    )


def spoken(*texts):
    turns = [SpokenTurn(segment=Segment(i, i + 1.0), speaker="SPEAKER_00", text=text) for i, text in enumerate(texts)]
    return Transcript(turns=turns, recogniser_id="toy@1", language="en")


def test_outputs_hold_what_answers_need_in_full_precision():
    dialect = speak("hex")["enroll"]
    assert isinstance(dialect, Enroll)
    enrolled = json.loads(dialect.output(voice(spoken("my voice is", "my passport"))))
    assert enrolled == {"model": "toy@1", "seconds": 8.25, "speech": "my voice is my passport", "vector": VECTOR}
    result = VerificationResult(
        comparison=Comparison(score=0.8123456, llr=1.0), operating_point=OperatingPoint.BALANCED, voice=voice()
    )
    told = {"model": "toy@1", "seconds": 8.25, "speech": "", "score": 73.1, "confidence": 73.1, "distance": 0.187654}
    assert json.loads(dialect.output(result)) == told
    uncalibrated = replace(result, comparison=Comparison(score=0.5, llr=None))
    assert json.loads(dialect.output(uncalibrated))["confidence"] is None
    with pytest.raises(TypeError):
        dialect.output(SearchResult.__new__(SearchResult))
    assert dialect.reason(dialect.failure(NotAudio("It is no recording."))) == ("not_audio", "It is no recording.")


def test_answers_have_all_keys():
    assert enroll.answer(Code.OK, "", {"ref": "r"}) == {"result": "Ok", "code": 0, "message": "", "data": {"ref": "r"}}
    assert enroll.error(WrongPhrase.code, "No.", "r") == {
        "result": "Err", "code": 11, "message": "No.", "data": {"ref": "r"},
    }  # fmt: skip
    assert [code_of(one.code) for one in (InvalidRequest, Unauthorized, RateLimited)] == [1, 2, 10]
    assert code_of("a code of a newer worker") is Code.INTERNAL


def test_every_code_of_the_table_is_of_an_error_and_is_told_in_the_document():
    known = {one.code for root in (JobFailure, RequestError) for one in concrete_errors(root)}
    assert set(enroll._CODES) <= known
    rows = re.findall(r"^\| (\d+) \| .*? \| (.*)\|$", DOCUMENT, re.MULTILINE)
    codes = {int(code): set(re.findall(r"`(\w+)`", text)) for code, text in rows}
    assert set(codes) == {int(code) for code in Code} - {0}
    assert {name: int(code) for name, code in enroll._CODES.items()} == {
        name: code for code, names in codes.items() for name in names
    }


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    services = Services.from_settings(Settings(data_dir=tmp_path_factory.mktemp("data")))
    yield create_app(services)
    services.engine.dispose()


def test_every_route_is_in_the_document(app):
    there = {f"{method} {path}" for method, path in routes(app, dialect="enroll")}
    assert there == set(re.findall(r"^\| `(POST /voice/\S+)` \|", DOCUMENT, re.MULTILINE))


def call(verifies=False, **fields):
    return read_call({"audio": "AAAA", "method": "text_indep"} | fields, verifies=verifies)


def test_the_content_that_is_asked_for_follows_from_method_phrase_and_include():
    include = {"include": True, "language": "EN-us", "precision": "quick"}
    assert call().content is None
    assert call(phrase="ignored").content is None
    assert call(content={"include": False, "language": "nl"}).content is None
    assert call(content=include).content == ContentRequest(language="en-US")
    assert call(method="text_dep_user").content is None
    asked = call(method="text_dep_user", phrase=" my words ").content
    assert asked == ContentRequest(phrase="my words", told=False)
    asked = call(method="text_dep_fixed", phrase="My voice.", content=include).content
    assert asked == ContentRequest(language="en-US", phrase="My voice.", rule=PhraseRule.SENTENCE)
    asked = call(method="liveness", phrase="one two", content={"language": "nl"}).content
    assert asked == ContentRequest(language="nl", phrase="one two", rule=PhraseRule.WORDS, told=False)


@pytest.mark.parametrize("language", ["en", "EN-US", "nl_NL", "es-419", "", None])
def test_languages_are_taken_in_any_case(language):
    found = call(content={"include": True, "language": language}).content.language
    assert found is None if not language else found == language.replace("_", "-").lower()[:3] + found[3:]


def test_methods_are_those_of_the_vendor():
    assert [method.value for method in Method if method.needs_phrase] == ["text_dep_fixed", "liveness"]


def test_a_key_is_none_or_ascii():
    assert [read_key({"api_key": key}) for key in (None, 5, ["x"], "sk_ü", "sk_1")] == ["", "", "", "", "sk_1"]
    assert read_ref({}) == read_ref({"ref": None}) == ""


VALUES = [None, True, 0, 10**400, -1.5, "", "full", "text_indep", "liveness", "x" * 2000, [], [1.0], [[]], {}, {"a": 1}]
NAMES = ["audio", "api_key", "ref", "method", "phrase", "content", "vector", "include", "language", "precision"]
ODD = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES))


@given(fields=ODD, content=ODD, verifies=st.booleans())
def test_odd_fields_are_read_or_refused(fields, content, verifies):
    for one in (fields, fields | {"content": content}):
        read_key(one)
        try:
            read_ref(one)
            read_call(one, verifies=verifies)
        except Refusal as refusal:
            assert refusal.code in (Code.BODY, Code.METHOD)

"""Bodies of the spaces API to the letter, and the table of its routes."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from api.app import create_app
from api.dialects.spaces import PREFIXES, receiving
from api.dialects.spaces.sessions import SESSION_S, Sessions
from api.services import Services
from shared.dialects.spaces import (
    SYNTHESIS_SOURCES,
    AudioBody,
    Owner,
    VerificationBody,
    VoiceprintBody,
    duration,
    error,
    family,
    sample_requirements,
    slug,
    too_long,
)
from shared.domain.errors import HandleTaken, InternalError, NoSpeech, NotAudio, NotCalibrated, TooLittleSpeech
from shared.domain.identities import (
    Enrolment,
    EnrolmentKind,
    EnrolmentState,
    Failure,
    Heard,
    Name,
    RecordKind,
    Replay,
    ReplayKind,
    Sample,
    SampleState,
    Verification,
    VerificationMode,
    VerificationState,
    Verified,
)
from shared.domain.keys import Client
from shared.domain.quality import Capture, Quality
from shared.domain.verification import Comparison, OperatingPoint
from shared.domain.voiceprints import Voiceprint
from shared.settings import Settings
from tests.support.readme import chapter
from tests.support.routes import routes

AT = datetime(2026, 11, 21, 12, 0, 0, 5, UTC)
CAPTURE = Capture(net_speech_s=2.25, snr_db=31.26, narrowband=False)
HEARD = Heard(
    voiceprint=Voiceprint("ge2e@1", np.array([0.6, 0.8], np.float32), CAPTURE),
    quality=Quality(capture=CAPTURE, num_speakers=1, share=1.0, lead=1.0, consistency=0.9, clipped=False),
    audio_s=63.5,
    speech_s=2.7504,
    sample_rate_hz=16_000,
)
ADA = Name(id="i", handle="ada", alias="Ada")
MAIN = Name(id="v", handle="main")
SAMPLE = Sample(
    id="s", space_id="p", handle="audio-a", alias=None, state=SampleState.READY, identity=ADA, job_id="j", heard=HEARD,
    created_at=AT, uploaded_at=AT, num_enrolments=1, num_verifications=2,
)  # fmt: skip
ENROLMENT = Enrolment(
    id="v", space_id="p", identity=ADA, handle="main", kind=EnrolmentKind.ONCE, state=EnrolmentState.OPEN,
    model="phone/v1", model_id=None, min_samples=2, audio_s=100.0, num_samples=1, created_at=AT,
)  # fmt: skip


def verification(llr=3.0, heard=HEARD, replay=None, **changed):
    comparison = Comparison(score=0.8, llr=llr)
    result = Verified(comparison=comparison, operating_point=OperatingPoint.BALANCED, heard=heard, replay=replay)
    fields = {"result": result, "state": VerificationState.PERFORMED, "model": "phone/v1", "performed_at": AT} | changed
    return Verification(
        id="w", space_id="p", handle="verification-a", mode=VerificationMode.REST, identity=ADA, enrolment=MAIN,
        sample=SAMPLE.name, model_id="ge2e@1", job_id="w", created_at=AT, **fields,
    )  # fmt: skip


def test_a_verification_to_the_letter():
    assert VerificationBody().dump(verification()) == {
        "id": "w",
        "handle": "verification-a",
        "alias": None,
        "state": "performed",
        "mode": "restApi",
        "model": "phone/v1",
        "audio": {"handle": "audio-a", "alias": None, "state": "available"},
        "voiceprint": {
            "handle": "main",
            "alias": None,
            "state": "computed",
            "identity": {"handle": "ada", "alias": "Ada"},
        },
        "duration": "PT63.500S",
        "voiceDuration": "PT2.750S",
        "score": 0.9525,
        "scores": {
            "identity": 0.9525,
            "synthesis": None,
            "synthesis_sources": dict.fromkeys(SYNTHESIS_SOURCES),
            "replay": None,
        },
        "createdAt": "2026-11-21T12:00:00.000005Z",
        "performedAt": "2026-11-21T12:00:00.000005Z",
    }


@pytest.mark.parametrize(("llr", "score"), [(-60.0, 0.0001), (60.0, 0.9999), (0.0, 0.5), (2.0, 0.8807), (None, None)])
def test_a_score_is_floored_and_never_certain(llr, score):
    body = VerificationBody().dump(verification(llr))
    assert body["score"] == body["scores"]["identity"] == score
    assert body["state"] == ("performedWithoutScore" if score is None else "performed")


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        (NoSpeech, "performedWithoutScore"),
        (TooLittleSpeech, "performedWithoutScore"),
        (NotCalibrated, "performedWithoutScore"),
        (NotAudio, "error"),
        (InternalError, "error"),
    ],
)
def test_a_failure_is_an_error_or_a_result_without_score(failure, state):
    failed = verification(state=VerificationState.FAILED, result=None, failure=Failure(code=failure.code, message="x"))
    body = VerificationBody().dump(failed)
    assert (body["state"], body["score"], body["duration"]) == (state, None, None)


@pytest.mark.parametrize(
    "changed",
    [
        {"heard": replace(HEARD, audio_s=120.1)},
        {"heard": replace(HEARD, sample_rate_hz=7999)},
        {"heard": replace(HEARD, sample_rate_hz=8000), "model": "digital/v1.1"},
        {"heard": replace(HEARD, voiceprint=replace(HEARD.voiceprint, capture=replace(CAPTURE, net_speech_s=1.4)))},
    ],
    ids=["long", "slow", "digital", "little speech"],
)
def test_a_recording_that_the_model_does_not_take_has_no_score(changed):
    assert VerificationBody().dump(verification(**changed))["state"] == "performedWithoutScore"


def test_a_performing_verification_and_one_of_what_was_deleted():
    changed = {"state": VerificationState.PERFORMING, "result": None, "performed_at": None}
    body = VerificationBody().dump(replace(verification(), enrolment=None, sample=None, **changed))
    assert (body["state"], body["voiceprint"], body["audio"], body["performedAt"]) == ("performing", None, None, None)


def test_a_copy_has_the_lowest_replay_score():
    replay = Replay(kind=ReplayKind.COPY, of=RecordKind.SAMPLE, id="s", heard_at=AT)
    assert VerificationBody().dump(verification(replay=replay))["scores"]["replay"] == 0.0


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, "available"),
        ({"state": SampleState.AWAITING_FILE}, "avaitingFile"),
        ({"state": SampleState.PENDING}, "avaitingFile"),
        ({"state": SampleState.FAILED, "failure": Failure(code=NotAudio.code, message="x")}, "notAvailable"),
        ({"state": SampleState.FAILED, "failure": Failure(code=NoSpeech.code, message="x")}, "available"),
    ],
)
def test_the_states_of_an_audio(changed, state):
    body = AudioBody().dump(replace(SAMPLE, **changed))
    assert body["state"] == body["fileState"] == state


def test_an_audio_to_the_letter():
    assert AudioBody().dump(SAMPLE) == {
        "id": "s",
        "handle": "audio-a",
        "alias": None,
        "state": "available",
        "fileState": "available",
        "duration": "PT63.500S",
        "voiceDuration": "PT2.750S",
        "sampleRate": 16_000,
        "identity": {"handle": "ada", "alias": "Ada"},
        "voiceprints": 1,
        "verifications": 2,
        "createdAt": "2026-11-21T12:00:00.000005Z",
        "uploadedAt": "2026-11-21T12:00:00.000005Z",
    }
    waiting = AudioBody().dump(replace(SAMPLE, state=SampleState.AWAITING_FILE, heard=None, uploaded_at=None))
    assert [waiting[name] for name in ("duration", "voiceDuration", "sampleRate", "uploadedAt")] == [None] * 4


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, "notComputable"),
        ({"num_samples": 2}, "computable"),
        ({"state": EnrolmentState.COMPUTING}, "computable"),
        ({"state": EnrolmentState.COMPUTED, "num_samples": 2}, "computed"),
    ],
)
def test_the_states_of_a_voiceprint(changed, state):
    body = VoiceprintBody().dump(replace(ENROLMENT, **changed))
    assert body["state"] == state
    assert (body["minAudios"], body["minSamples"]) == (2, 2)
    assert body["audios"] == body["samples"] == replace(ENROLMENT, **changed).num_samples


def test_requirements_are_those_of_the_family():
    assert sample_requirements(ENROLMENT).min_speech_s == 2.25
    assert sample_requirements(ENROLMENT).min_sample_rate_hz == 8000
    assert sample_requirements(replace(ENROLMENT, model="digital/v1.1")).min_sample_rate_hz == 16_000
    assert "163.5 s" in too_long(ENROLMENT, SAMPLE)
    assert too_long(replace(ENROLMENT, audio_s=56.5), SAMPLE) is None


@pytest.mark.parametrize(
    ("model", "found"),
    [("phone", "phone"), ("phone/v1.0", "phone"), ("digital/1.1", "digital"), ("phone/", None), ("ge2e", None)],
)
def test_names_of_models_have_a_family_and_any_version(model, found):
    assert family(model) == found


@pytest.mark.parametrize(
    ("name", "handle"), [("Acme Corp.", "acme-corp"), ("--Ä 1--", "1"), ("x" * 60, "x" * 50), ("Ä", "0" * 32)]
)
def test_the_handle_of_an_owner_is_its_name(name, handle):
    client = Client("0" * 32, name)
    assert slug(client) == handle
    assert Owner.of(client).id == "00000000-0000-0000-0000-000000000000"


def test_durations_and_errors():
    assert duration(0.0004) == "PT0.000S"
    assert error(HandleTaken("x"), "r") == {"code": "handle_taken", "message": "x", "requestId": "r"}


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    services = Services.from_settings(Settings(data_dir=tmp_path_factory.mktemp("data")))
    yield services
    services.engine.dispose()


@pytest.fixture(scope="module")
def app(services):
    return create_app(services)


def test_every_route_is_in_the_table_and_stands_behind_every_base(app):
    document = chapter("The spaces API")
    told = set(re.findall(r"^\| `((?:GET|POST|PUT|PATCH|DELETE) /\S+)` \|", document, re.MULTILINE))
    for prefix in PREFIXES.values():
        there = {f"{method} {path}" for method, path in routes(app, dialect="spaces")}
        mine = {route.replace(f" {prefix}/", " /") for route in there if f" {prefix}/" in route}
        spoken = {route.replace("/samples", "/audios") for route in mine}
        assert {route.replace("/audios", "/samples") for route in mine if "/audios" in route} <= mine
        assert spoken == told - ({"GET /models"} if prefix == "/v1" else set())


def test_every_route_but_the_entrance_needs_a_key(app):
    client = app.test_client()
    for method, path in sorted(routes(app, dialect="spaces")):
        answer = client.open(re.sub(r"{\w+}", "x", path), method=method)
        assert answer.status_code == (400 if path.endswith("/auth/credentials") else 401), path
        assert set(answer.json) == {"code", "message", "requestId"}


def test_a_token_ends_after_half_a_day_and_with_its_key(services, monkeypatch):
    key = services.clients.create_key("Session Owner")
    sessions = Sessions(services.clients, services.settings.secret_bytes())
    client, token = sessions.open("session-owner", key)
    assert sessions.client(token) == client == sessions.client(key)
    assert key not in token
    another = Sessions(services.clients, b"another secret, of 32 characters")
    assert another.client(token) is None
    monkeypatch.setattr(services.clients, "_client_of", lambda digest: None)
    assert sessions.client(token) is None
    monkeypatch.undo()
    later = datetime.now().timestamp() + SESSION_S + 2
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: later)
    assert sessions.client(token) is None


@pytest.fixture(scope="module")
def audios(app, services):
    """Send a body to make an audio."""
    key = services.clients.create_key("acme")
    client = app.test_client()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    assert client.post("/v1/spaces/acme", json={"handle": "main"}, headers=headers).status_code == 201

    def send(body, **options):
        return client.post("/v1/spaces/acme/main/audios", data=body, headers=headers, **options)

    return send


def test_a_body_is_as_large_as_it_may_be_whether_it_announces_its_length_or_not(audios):
    body = b'{"ignored": "' + b"x" * receiving.MAX_BODY_BYTES
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    for options in ({}, {"environ_overrides": chunked | {"CONTENT_LENGTH": ""}}):
        assert audios(body, **options).status_code == 413
        just = audios(body[: receiving.MAX_BODY_BYTES - 2] + b'"}', **options)
        assert just.status_code == 201
        assert just.json["state"] == "avaitingFile"


def test_only_audios_may_come_chunked(app, services):
    headers = {"Authorization": f"Bearer {services.clients.create_key('acme')}", "Transfer-Encoding": "chunked"}
    answer = app.test_client().post("/v1/spaces/acme", data=b"{}", headers=headers)
    assert (answer.status_code, answer.json["code"]) == (411, "length_required")

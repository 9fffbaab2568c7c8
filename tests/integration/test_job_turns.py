"""Turns of jobs over HTTP: formats, names, and what is refused."""

import pytest

from api.turn_files import FILES
from shared.domain.jobs import Status, new_job_id
from tests.support.answers import fields, refused
from tests.support.apis import api
from tests.support.states import States
from tests.support.turn_readers import read_csv, read_rttm, read_srt, read_vtt

TURN = (1.0, 3.25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("turns")


@pytest.fixture(scope="module")
def client(folder, redis_server):
    with api(folder, redis_server.url) as client:
        yield client


@pytest.fixture(scope="module")
def states(client, redis_server, folder):
    return States(client, redis_server.url, folder)


@pytest.fixture(scope="module")
def job_id(states):
    return states.job(Status.SUCCEEDED)


def get(client, job_id, **query):
    return client.send("GET", f"/v1/jobs/{job_id}/turns", params=query)


def test_turns_come_as_json_by_label_and_name(client, job_id):
    answer = get(client, job_id, name="SPEAKER_00:Ann: the first")
    turn = {"speaker": "Ann: the first", "start": 1.0, "end": 3.25, "diarizationSpeaker": "SPEAKER_00"}
    assert answer.json() == {"jobId": job_id, "turns": [turn], "transcription": []}
    assert get(client, job_id, format="json").json()["turns"] == [turn | {"speaker": "SPEAKER_00"}]


@pytest.mark.parametrize(
    ("form", "media_type", "read", "named"),
    [
        ("srt", "application/x-subrip", read_srt, "‹b›Zoë‹/b›"),
        ("vtt", "text/vtt", read_vtt, "<b>Zoë</b>"),
        ("csv", "text/csv", lambda text: read_csv(text)[0], "<b>Zoë</b>"),
    ],
)
def test_a_file_has_a_name_and_a_type_and_cannot_be_taken_for_a_page(client, job_id, form, media_type, read, named):
    answer = get(client, job_id, format=form, name="SPEAKER_00:<b>Zoë</b>")
    assert answer.headers["Content-Type"] == f"{media_type}; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f"attachment; filename={job_id}.{form}"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    ((*times, name, _),) = read(answer.content.decode())
    assert (tuple(times), name) == (TURN, named)


def test_rttm_names_the_job(client, job_id):
    answer = get(client, job_id, format="rttm", name="SPEAKER_00:Zoë Lee")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert read_rttm(answer.content.decode(), job_id) == [(*TURN, "Zoë_Lee", "")]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"format": "pdf"}, "format"),
        ({"name": "SPEAKER_00"}, "name.0"),
        ({"name": "SPEAKER_00:"}, "name.0"),
        ({"name": "SPEAKER_00: "}, "name.0"),
        ({"name": ":Ann"}, "name.0"),
        ({"name": f"SPEAKER_00:{'a' * 101}"}, "name.0"),
        ({"name": "SPEAKER_00:Ann\nEve"}, "name.0"),
        ({"name": "SPEAKER_00:Ann\x00"}, "name.0"),
        ({"name": "SPEAKER_00:Ann\u2028Eve"}, "name.0"),
        ({"name": "SPEAKER_00:Ann \u202egnp.exe"}, "name.0"),
        ({"name": "SPEAKER_00:Ann\u2066"}, "name.0"),
        ({"name": ["SPEAKER_00:Ann", "SPEAKER_00:Eve"]}, "name"),
        ({"name": "SPEAKER_01:Eve"}, "name"),
        ({"names": "SPEAKER_00:Ann"}, "names"),
    ],
)
def test_a_wrong_query_is_told(client, job_id, query, field):
    assert fields(get(client, job_id, **query)) == [field]


def post(client, job_id, **body):
    return client.send("POST", f"/v1/jobs/{job_id}/turns", json=body)


@pytest.mark.parametrize("form", ["json", *FILES])
def test_names_in_a_body_give_what_those_of_a_query_do(client, job_id, form):
    asked = get(client, job_id, format=form, name="SPEAKER_00:Zoë: the first")
    posted = post(client, job_id, format=form, names={"SPEAKER_00": "Zoë: the first"})
    assert (posted.status_code, posted.content) == (200, asked.content)
    for header in ("Content-Type", "Content-Disposition"):
        assert posted.headers[header] == asked.headers[header]
    assert post(client, job_id).json()["turns"][0]["speaker"] == "SPEAKER_00"


@pytest.mark.parametrize(
    "names",
    [
        None,
        [],
        "SPEAKER_00:Ann",
        {"SPEAKER_00": None},
        {"SPEAKER_00": ["Ann"]},
        {"SPEAKER_00": ""},
        {"SPEAKER_00": " "},
        {"SPEAKER_00": "a" * 101},
        {"SPEAKER_00": "Ann\nEve"},
        {"SPEAKER_00": "Ann \u202egnp.exe"},
        {"SPEAKER_01": "Eve"},
        {"": "Eve"},
    ],
)
def test_wrong_names_in_a_body_are_told(client, job_id, names):
    assert fields(post(client, job_id, names=names)) == ["names"]
    assert fields(post(client, job_id, format="pdf")) == ["format"]


def test_a_misspelt_field_or_a_query_beside_a_body_is_told(client, job_id):
    assert fields(post(client, job_id, name={"SPEAKER_00": "Ann"})) == ["name"]
    asked = client.send("POST", f"/v1/jobs/{job_id}/turns", params={"format": "srt"}, json={})
    assert fields(asked) == ["format"]


def test_an_address_too_long_for_its_names_is_refused_and_a_body_is_not(client, job_id):
    names = {f"SPEAKER_{number:02d}": "名" * 20 for number in range(50)}
    refused(get(client, job_id, name=[f"{label}:{name}" for label, name in names.items()]), 413, "request_too_large")
    assert fields(post(client, job_id, names=names)) == ["names"]
    assert "those of this job are SPEAKER_00." in post(client, job_id, names=names).json()["message"]


def test_a_name_for_nobody_names_those_who_speak(client, job_id):
    assert "SPEAKER_00." in get(client, job_id, name="SPEAKER_07:Eve").json()["message"]


@pytest.mark.parametrize(
    ("status", "http", "code"),
    [
        (Status.CREATED, 409, "job_not_ended"),
        (Status.RUNNING, 409, "job_not_ended"),
        (Status.FAILED, 404, "no_turns"),
        (Status.CANCELED, 404, "no_turns"),
    ],
)
def test_a_job_that_has_no_turns_says_why(client, states, status, http, code):
    refused(get(client, states.job(status)), http, code)


def test_turns_of_no_job_and_without_a_key_are_refused(client, job_id):
    refused(get(client, new_job_id()), 404, "not_found")
    refused(client.send("GET", f"/v1/jobs/{job_id}/turns", headers={"Authorization": ""}), 401, "unauthorized")

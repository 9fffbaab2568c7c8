"""What schemathesis loads: most requests name what exists, in whatever state, and every answer is counted."""

import atexit
import itertools
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis

from shared.domain.identities import DEFAULT_SPACE, SampleState, VerificationState
from shared.domain.jobs import Status
from tests.support.client import Client
from tests.support.people import People, voice
from tests.support.states import MODEL, States

#: How many requests in ten keep what was made up for them.
_MADE_UP = 0.3
#: Methods that an address does not have, counted together.
_WRONG_METHOD = "any other method"
_STORED = "media://voice.wav"

_given = json.loads(os.environ["FUZZ"])
_client = Client(_given["url"], _given["key"])
_people = People(Path(_given["folder"]), _client.key)
_states = States(_client, _given["redis_url"], Path(_given["folder"]))
_chance, _answers = random.Random(7), Counter[str]()
_voice = voice().encode()
_serial = itertools.count()


def _job() -> str:
    job_id = _states.job(_chance.choice(list(Status)))
    if _chance.random() < 0.5:
        _states.deliver_all()
    return job_id


def _key() -> str:
    return _client.upload(f"in/{next(_serial)}.wav", b"voice").removeprefix("media://")


def _token(method: str) -> str:
    if method == "PUT":
        return _client.address(_STORED).rpartition("/")[2]
    _client.upload("voice.wav", b"voice")
    return str(_client.post("/v1/media/output", url=_STORED).json()["url"]).rpartition("/")[2]


@schemathesis.hook
def before_call(context: Any, case: Any, **kwargs: Any) -> None:
    # Nobody works here, so that whoever waits for a job waits to the end.
    if str((case.query or {}).get("wait")).isdecimal():
        case.query["wait"] = min(1, int(case.query["wait"]))
    if _chance.random() < _MADE_UP:
        return
    makers = {"job_id": _job, "key": _key, "token": lambda: _token(case.method)}
    for name in set(case.path_parameters or ()) & set(makers):
        case.path_parameters[name] = makers[name]()
    person = _person() if "identit" in case.path or _names_people(case.body) else {}
    for name in set(case.path_parameters or ()) & set(person):
        case.path_parameters[name] = person[name]
    if person and "space" in (case.query or ()):
        case.query["space"] = DEFAULT_SPACE
    if "Idempotency-Key" in (case.headers or ()):
        case.headers["Idempotency-Key"] = f"key {next(_serial)}"
    if isinstance(case.body, dict):
        _make_real(case.body, case.path)
        _make_of_person(case.body, person)
        if case.path == "/v1/compare" and case.body.get("voiceprints"):
            case.body["voiceprints"] = [_voice, _voice]


def _make_real(body: dict[str, Any], path: str) -> None:
    """Let a body name an upload that is there and voiceprints that can be read, and not contradict itself."""
    if path == "/v1/media/output":
        # Anew each time: who deletes a job deletes the upload it was made from.
        body["url"] = _client.upload("voice.wav", b"voice")
    if body.get("model"):
        body["model"] = MODEL.handle
    if body.get("numSpeakers"):
        body |= {"minSpeakers": None, "maxSpeakers": None}
    if "voiceprint" in body:
        body["voiceprint"] = _voice
    for i, named in enumerate(_dicts(body.get("voiceprints"))):
        named |= {"label": f"person {i}", "voiceprint": _voice}


def _names_people(body: Any) -> bool:
    return isinstance(body, dict) and bool(body.keys() & {"identity", "identities"})


def _person() -> dict[str, str]:
    """Return the names of a new identity, and of a sample, an enrolment and a verification of it."""
    identity = _people.identity(f"person-{next(_serial)}")
    sample = _people.sample(identity, state=_chance.choice([SampleState.PENDING, SampleState.READY]))
    enrolment = _people.enrolment(identity, kept=True)
    verification = _people.verification(enrolment, _chance.choice(list(VerificationState)))
    return {
        "identity": identity.handle, "sample": sample.id, "enrolment": enrolment.id, "verification": verification.id,
    }  # fmt: skip


def _make_of_person(body: dict[str, Any], person: dict[str, str]) -> None:
    """Let a body name what a person has, new handles, and one of what excludes each other."""
    if body.keys() >= {"identity", "voiceprint"} or body.keys() >= {"url", "sampleId"}:
        body.pop("voiceprint", body.pop("sampleId", None))
    if body.keys() >= {"samples", "voiceprints"}:
        del body["voiceprints"]
    for name, value in (("identity", person.get("identity")), ("sampleId", person.get("sample"))):
        if name in body and value:
            body[name] = value
    body |= {"identities": [person["identity"]]} if "identities" in body and person else {}
    body |= {"samples": "all"} if "samples" in body else {}
    if body.get("handle"):
        body["handle"] = f"new-{next(_serial)}"
    if "space" in body:
        body["space"] = None
    if body.get("voiceprints") and "samples" not in body and "url" not in body:
        body["voiceprints"] = [_voice]


def _dicts(items: Any) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    described = case.method.lower() == case.operation.method.lower()
    _answers[f"{f'{case.method} {case.path}' if described else _WRONG_METHOD} {response.status_code}"] += 1


@atexit.register
def _report() -> None:
    Path(_given["answers"]).write_text(json.dumps(_answers))

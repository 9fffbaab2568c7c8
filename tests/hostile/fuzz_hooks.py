"""What schemathesis loads: most requests name what exists, in whatever state, and every answer is counted."""

import atexit
import itertools
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import schemathesis

from shared.domain.jobs import Status
from shared.domain.quality import Capture
from shared.domain.voiceprints import Voiceprint
from tests.support.client import Client
from tests.support.states import MODEL, States

#: How many requests in ten keep what was made up for them.
_MADE_UP = 0.3
#: Methods that an address does not have, counted together.
_WRONG_METHOD = "any other method"
_STORED = "media://voice.wav"

_given = json.loads(os.environ["FUZZ"])
_client = Client(_given["url"], _given["key"])
_states = States(_client, _given["redis_url"], Path(_given["folder"]))
_chance, _answers = random.Random(7), Counter[str]()
_voice = Voiceprint(
    f"{MODEL.handle}@{MODEL.version}",
    np.eye(1, MODEL.dimension, dtype=np.float32)[0],
    Capture(net_speech_s=9.0, snr_db=30.0, narrowband=False),
).encode()
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
    if "Idempotency-Key" in (case.headers or ()):
        case.headers["Idempotency-Key"] = f"key {next(_serial)}"
    if isinstance(case.body, dict):
        _make_real(case.body, case.path)


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


def _dicts(items: Any) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    described = case.method.lower() == case.operation.method.lower()
    _answers[f"{f'{case.method} {case.path}' if described else _WRONG_METHOD} {response.status_code}"] += 1


@atexit.register
def _report() -> None:
    Path(_given["answers"]).write_text(json.dumps(_answers))

"""Two voiceprints are compared by the API itself, with what workers published of their models."""

import json
import math
import struct
import zlib
from base64 import b64decode, b64encode
from dataclasses import replace

import numpy as np
import pytest

from api.app import create_app
from api.services import Services
from shared.adapters.redis_models import RedisModels
from shared.dialects.pyannoteai.outputs import MAX_VOICEPRINT_LENGTH
from shared.domain.models import ListedCalibration
from shared.domain.verification import compare
from shared.domain.voiceprints import Voiceprint
from shared.settings import Settings
from tests.support.answers import fields, refused
from tests.support.client import eventually
from tests.support.people import voice
from tests.support.states import CALIBRATION, MODEL

KEY = f"timbre:calibration:{MODEL.model_id}:{CALIBRATION.fitted_at}"
LEAST = {"balanced": 50, "strict": 90, "strictest": 99}
ONE, OTHER = voice(0), voice(1)
#: Offset of the first number of a vector: magic, version, length of the name, name, dimension.
VECTOR = 4 + 1 + 1 + len(MODEL.model_id) + 2


def near(voiceprint, cosine):
    """Return a voiceprint of that cosine to another."""
    beside = np.roll(voiceprint.vector, 1)
    vector = cosine * voiceprint.vector + math.sqrt(1 - cosine**2) * beside
    return replace(voiceprint, vector=vector.astype(np.float32))


class Caller:
    """A client of an API process of its own."""

    def __init__(self, settings):
        self.services = Services.from_settings(settings)
        self._client = create_app(self.services).test_client()
        self._headers = {"Authorization": f"Bearer {self.services.clients.create_key('tester')}"}

    def post(self, voiceprints):
        answer = self._client.post("/v1/compare", json={"voiceprints": voiceprints}, headers=self._headers)
        return Answer(answer)

    def compare(self, *voiceprints):
        return self.post([one.encode() for one in voiceprints])


class Answer:
    """An answer of Flask's, in the form of one that came over HTTP."""

    def __init__(self, answer):
        self.status_code, self.text, self.headers = answer.status_code, answer.text, answer.headers

    def json(self):
        return json.loads(self.text)


@pytest.fixture
def caller(redis, redis_server, tmp_path):
    caller = Caller(Settings(redis_url=redis_server.url, data_dir=tmp_path))
    yield caller
    caller.services.engine.dispose()


@pytest.fixture
def models(redis):
    models = RedisModels(redis, ttl_s=60)
    models.publish([MODEL], [CALIBRATION])
    return models


def test_while_no_worker_runs_the_answer_is_to_try_again(caller):
    answer = caller.compare(ONE, OTHER)
    assert "No worker" in refused(answer, 503, "unavailable")["message"]
    assert answer.headers["Retry-After"]


def test_the_answer_is_that_of_the_domain_in_either_order(caller, models):
    confidences = set()
    for cosine in (-0.5, 0.2, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0):
        other = near(ONE, cosine)
        answer = caller.compare(ONE, other).json()
        expected = compare(ONE, other, CALIBRATION)
        assert answer == {
            "confidence": expected.confidence, "score": round(expected.score, 4), "calibrated": True, "model": "ge2e@1",
            "decisions": {
                point: "accept" if expected.confidence >= least else "reject" for point, least in LEAST.items()
            },
            "leastConfidences": LEAST,
        }  # fmt: skip
        assert caller.compare(other, ONE).json() == answer
        confidences.add(expected.confidence)
    assert min(confidences) < LEAST["balanced"] < LEAST["strictest"] <= max(confidences)


def test_a_model_that_is_installed_and_not_served_compares_its_voiceprints(caller, models):
    own = replace(MODEL, handle="own", default=False)
    weights = np.zeros_like(CALIBRATION.weights)
    models.publish([MODEL, own], [CALIBRATION, replace(CALIBRATION, model_id="own@1", weights=weights)])
    pair = [voice(model_id="own@1"), voice(1, model_id="own@1")]
    assert (caller.compare(*pair).json()["confidence"], caller.compare(*pair).json()["model"]) == (50, "own@1")
    assert caller.compare(ONE, ONE).json()["confidence"] > 90


def test_without_a_calibration_there_is_a_score_and_a_warning(caller, models):
    models.publish([replace(MODEL, calibrated=False, calibration=None)])
    found = caller.compare(ONE, near(ONE, 0.5)).json()
    assert "not calibrated" in found.pop("warning")
    assert found == {
        "confidence": None, "score": 0.5, "calibrated": False, "model": "ge2e@1",
        "decisions": {"balanced": None, "strict": None, "strictest": None},
        "leastConfidences": LEAST,
    }  # fmt: skip


def test_voiceprints_of_two_models_are_refused(caller, models):
    models.publish([MODEL, replace(MODEL, handle="own", default=False, calibrated=False, calibration=None)])
    answer = caller.compare(ONE, voice(model_id="own@1"))
    assert fields(answer) == ["voiceprints.1"]
    assert "own@1 cannot be compared with one of ge2e@1" in answer.json()["message"]
    assert fields(caller.compare(voice(model_id="own@1"), ONE)) == ["voiceprints.1"]


def test_a_model_that_is_not_installed_is_refused_with_those_that_are(caller, models):
    absent = replace(MODEL, handle="titanet_large", version=None, installed=False, default=False)
    models.publish([MODEL, absent], [CALIBRATION])
    for name in ("ge2e@2", "titanet_large@1", "titanet_large@None", ""):
        answer = caller.compare(voice(model_id=name), voice(model_id=name))
        assert fields(answer) == ["voiceprints.0"]
        assert answer.json()["message"].endswith("installed models: ge2e@1.")


def test_no_message_repeats_what_controls_a_terminal_in_the_name_of_a_model(caller, models):
    models.publish([MODEL], [CALIBRATION])
    for name in ("a\nb@1", "\x1b[2J@1"):
        answer = caller.compare(voice(model_id=name), ONE)
        assert fields(answer) == ["voiceprints.0"]
        assert answer.json()["message"].isprintable()


def forged(change):
    """Return a voiceprint with a right checksum and a changed body."""
    body = bytearray(b64decode(ONE.encode())[:-4])
    change(body)
    return b64encode(bytes(body) + struct.pack("<I", zlib.crc32(bytes(body)))).decode()


def number(at, value):
    return forged(lambda body: struct.pack_into("<f", body, at, value))


HOSTILE = {
    "nan": number(VECTOR, math.nan),
    "infinite": number(VECTOR, math.inf),
    "norm 0": number(VECTOR, 0.0),
    "norm 2": number(VECTOR, 2.0),
    "no speech": number(VECTOR + 4 * 256, 0.0),
    "endless speech": number(VECTOR + 4 * 256, math.inf),
    "nan dB": number(VECTOR + 4 * 256 + 4, math.nan),
    "shorter than it says": forged(lambda body: body.__delitem__(slice(VECTOR + 8, VECTOR + 16))),
    "another dimension": replace(ONE, vector=np.eye(1, 8, dtype=np.float32)[0]).encode(),
    "no dimension": replace(ONE, vector=np.zeros(0, np.float32)).encode(),
    "name not ASCII": forged(lambda body: body.__setitem__(6, 0xE9)),
    "newer": forged(lambda body: body.__setitem__(4, 2)),
    "checksum": ONE.encode()[:-8] + "AAAAAAA=",
    "cut off": ONE.encode()[:100],
    "not base64": "?",
    "foreign": b64encode(b"x" * 1100).decode(),
    "empty": "",
    "longest": "A" * MAX_VOICEPRINT_LENGTH,
    "too long": "A" * (MAX_VOICEPRINT_LENGTH + 1),
    "null": None,
    "object": {"voiceprint": ONE.encode()},
    "number": 5,
}


def test_what_is_no_voiceprint_of_the_model_is_refused_by_its_place(caller, models):
    sound = ONE.encode()
    for name, text in HOSTILE.items():
        asked = [sound, text], [text, sound], [text, text]
        found = [fields(caller.post(pair)) for pair in asked]
        assert found == [["voiceprints.1"], ["voiceprints.0"], ["voiceprints.0", "voiceprints.1"]], name


def test_it_takes_two(caller, models):
    for given in ([], [ONE.encode()], [ONE.encode()] * 3, ["x"] * 1000, None, "x", {}, 5):
        assert fields(caller.post(given)) == ["voiceprints"]


def test_the_mean_voice_leaves_nothing_to_compare_and_is_answered(caller, models):
    mean = CALIBRATION.means["clean"]
    silent = replace(ONE, vector=(mean / np.linalg.norm(mean)).astype(np.float32))
    assert 0 <= caller.compare(silent, silent).json()["confidence"] <= 100


def test_a_process_reads_a_calibration_once(caller, models, redis):
    first = caller.compare(ONE, OTHER).json()
    redis.delete(KEY)
    assert caller.compare(ONE, OTHER).json() == first


def test_a_calibration_that_workers_do_not_publish_is_waited_for(caller, models, redis):
    redis.delete(KEY)
    assert MODEL.model_id in refused(caller.compare(ONE, OTHER), 503, "unavailable")["message"]
    redis.set(KEY, "{}")
    refused(caller.compare(ONE, OTHER), 503, "unavailable")
    redis.delete(KEY)
    models.publish([MODEL], [CALIBRATION])
    assert caller.compare(ONE, OTHER).status_code == 200


def test_a_worker_of_an_earlier_release_publishes_none(caller, models):
    models.publish([replace(MODEL, calibration=None)])
    refused(caller.compare(ONE, OTHER), 503, "unavailable")


def test_the_calibration_of_the_list_that_was_published_last_counts(caller, models):
    pair = ONE, near(ONE, 0.7)
    before = caller.compare(*pair).json()["confidence"]
    fitted_at = "2027-01-01T00:00:00+00:00"
    fit = replace(CALIBRATION, fitted_at=fitted_at, weights=np.zeros_like(CALIBRATION.weights))
    models.publish([replace(MODEL, calibration=ListedCalibration(data="x", fitted_at=fitted_at))], [fit])
    assert before != 50
    assert eventually(lambda: caller.compare(*pair).json()["confidence"] == 50)
    models.publish([MODEL], [CALIBRATION])
    assert eventually(lambda: caller.compare(*pair).json()["confidence"] == before)


def test_a_published_calibration_is_kept_alive_and_not_sent_again(models, redis):
    redis.set(KEY, "as it was", px=1000)
    models.publish([MODEL], [CALIBRATION])
    assert redis.get(KEY) == "as it was"
    assert redis.pttl(KEY) > 50_000


def test_published_calibrations_go_with_the_last_worker(redis):
    RedisModels(redis, ttl_s=0.05).publish([MODEL], [CALIBRATION])
    eventually(lambda: not redis.exists(KEY))


def test_comparing_counts_as_a_post(redis, redis_server, tmp_path, models):
    caller = Caller(Settings(redis_url=redis_server.url, data_dir=tmp_path, posts_per_minute=1))
    pair = [ONE.encode(), Voiceprint.decode(ONE.encode()).encode()]
    codes = [caller.post(pair).status_code for _ in range(2)]
    caller.services.engine.dispose()
    assert codes == [200, 429]

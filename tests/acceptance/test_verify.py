"""Is it the person of the voiceprint?"""

from shared.domain.quality import Capture
from shared.domain.voiceprints import Voiceprint
from tests.support.answers import UNREACHABLE, failure, fields, refused
from tests.support.client import Client, Json
from tests.support.sounds import DATA, DOMINANT, OTHER


def verify(client: Client, voiceprint: str, **fields: str | None) -> Json:
    url = client.upload("probe.flac", (DATA / "conversation.flac").read_bytes())
    answer = client.post("/v1/verify", url=url, voiceprint=voiceprint, **fields)
    assert answer.status_code == 200, answer.text
    return client.wait(answer.json()["jobId"])


def test_the_right_person_is_accepted_and_another_is_not(client: Client, enrolled: dict[str, str]) -> None:
    right = verify(client, enrolled[DOMINANT])["output"]
    wrong = verify(client, enrolled[OTHER])["output"]
    assert (right["decision"], wrong["decision"]) == ("accept", "reject")
    assert right["confidence"] > 90 > 10 > wrong["confidence"]
    assert right["score"] > wrong["score"]
    assert set(right) - {"warning"} == {
        "score", "confidence", "decision", "operatingPoint", "leastConfidence", "calibrated", "model",
        "netSpeechSeconds", "dominantSpeaker", "quality", "channels", "timings",
    }  # fmt: skip


def test_the_operating_point_says_how_sure_one_must_be(client: Client, enrolled: dict[str, str]) -> None:
    assert verify(client, enrolled[DOMINANT], operatingPoint=None)["output"]["operatingPoint"] == "balanced"
    output = verify(client, enrolled[DOMINANT], operatingPoint="strictest")["output"]
    assert (output["operatingPoint"], output["leastConfidence"]) == ("strictest", 99)
    assert output["decision"] == ("accept" if output["confidence"] >= 99 else "reject")


def test_a_voiceprint_that_cannot_be_read_is_refused(client: Client, enrolled: dict[str, str]) -> None:
    for text in ("", "x", enrolled[OTHER][:-8], "A" * 20_001, None, 5):
        assert fields(client.post("/v1/verify", url=UNREACHABLE, voiceprint=text)) == ["voiceprint"]
    assert fields(client.post("/v1/verify", url=UNREACHABLE)) == ["voiceprint"]


def test_a_voiceprint_of_another_model_is_refused(client: Client, enrolled: dict[str, str]) -> None:
    capture = Capture(net_speech_s=10.0, snr_db=30.0, narrowband=False)
    other = Voiceprint("titanet_large@1", Voiceprint.decode(enrolled[OTHER]).vector, capture).encode()
    body = refused(client.post("/v1/verify", url=UNREACHABLE, voiceprint=other), 400, "invalid_request")
    assert "titanet_large@1 cannot be compared with one of ge2e@" in body["errors"][0]["message"]


def test_an_unknown_operating_point_is_refused(client: Client, enrolled: dict[str, str]) -> None:
    answer = client.post("/v1/verify", url=UNREACHABLE, voiceprint=enrolled[OTHER], operatingPoint="lax")
    assert fields(answer) == ["operatingPoint"]


def test_what_fails_in_a_voiceprint_job_fails_here(client: Client, enrolled: dict[str, str]) -> None:
    answer = client.post("/v1/verify", url=client.upload("nothing.wav", b""), voiceprint=enrolled[OTHER])
    failure(client.wait(answer.json()["jobId"]), "not_audio")

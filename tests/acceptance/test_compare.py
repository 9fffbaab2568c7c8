"""Two voiceprints of real recordings are compared without a recording."""

import json
import os
import subprocess

from tests.support.client import Client, Json
from tests.support.readme import block
from tests.support.sounds import DATA, DOMINANT, OTHER

SAME = ("confidence", "score", "calibrated", "model")


def compared(client: Client, one: str, other: str) -> Json:
    answer = client.post("/v1/compare", voiceprints=[one, other])
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def test_two_voiceprints_compare_as_they_verify(client: Client, enrolled: dict[str, str]) -> None:
    recording = sorted(DATA.glob(f"{DOMINANT}-*.flac"))[1]
    url = client.upload(recording.name, recording.read_bytes())
    probe = client.run(url)["output"]["voiceprint"]
    found = {speaker: compared(client, enrolled[speaker], probe) for speaker in (DOMINANT, OTHER)}
    for speaker, comparison in found.items():
        job = client.post("/v1/verify", url=url, voiceprint=enrolled[speaker]).json()
        verified = client.wait(job["jobId"])["output"]
        assert {name: comparison[name] for name in SAME} == {name: verified[name] for name in SAME}
        assert comparison["decisions"]["balanced"] == verified["decision"]
        assert comparison == compared(client, probe, enrolled[speaker])
    assert found[DOMINANT]["confidence"] > 90 > 10 > found[OTHER]["confidence"]
    service = {"SERVICE_URL": client.url, "SERVICE_KEY": client.key, "ONE": probe, "OTHER": enrolled[OTHER]}
    typed = ["bash", "-eu", "-c", block("api/README.md", "compare")]
    assert json.loads(subprocess.check_output(typed, env=os.environ | service)) == found[OTHER]

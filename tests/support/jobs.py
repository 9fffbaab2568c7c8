"""Jobs that acceptance tests expect to succeed."""

import requests

from tests.support.client import Client, Json
from tests.support.sounds import DATA


def upload(client: Client, name: str) -> str:
    """Upload a recording of the tests; returns its address."""
    return client.upload(name, (DATA / name).read_bytes())


def ok(answer: requests.Response, status: int = 200) -> Json:
    """Return the body of an answer that must have a status."""
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


def done(client: Client, accepted: Json) -> Json:
    """Return the output of a job that must succeed."""
    job = client.wait(accepted["jobId"], 60)
    assert job["status"] == "succeeded", job
    output: Json = job["output"]
    return output

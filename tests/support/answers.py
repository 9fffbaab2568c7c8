"""Checks of answers that report errors: refused requests and failed jobs."""

import uuid
from typing import Any

import requests

from tests.support.client import Json

#: Address of a recording on a host that does not exist.
UNREACHABLE = "http://no-such-host.invalid/a.wav"


def refused(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is an error in the service's envelope; returns it."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    assert body["message"]
    assert body.keys() <= {"requestId", "code", "message", "errors"}
    assert answer.headers["X-Request-Id"] == body["requestId"]
    assert str(uuid.UUID(body["requestId"])) == body["requestId"]
    return body


def fields(answer: requests.Response) -> list[str]:
    """Check that an answer refuses the request; returns the fields it finds fault with."""
    body = refused(answer, 400, "invalid_request")
    assert all(error["message"] for error in body["errors"])
    return [error["field"] for error in body["errors"]]


def failure(job: Json, code: str, *words: str) -> None:
    """Check that a job failed with `code` and a sentence that a person can use."""
    assert job["status"] == "failed", job
    output = job["output"]
    assert output["code"] == code, output
    assert set(output) == {"error", "code"}
    assert output["error"][0].isupper()
    assert output["error"].endswith(".")
    assert len(output["error"].split()) > 4
    for word in words:
        assert word in output["error"]

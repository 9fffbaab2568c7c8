"""A client of the service, as anybody could write it: HTTP and nothing else."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import requests

from shared.domain.voiceprints import Voiceprint

Json = dict[str, Any]
Found = TypeVar("Found")

_PAUSE_S = 0.02
_TIMEOUT_S = 20


def eventually(look: Callable[[], Found | None], within_s: float = 30.0) -> Found:
    """Return what `look` finds, as soon as it is true; fail when the time is over."""
    ends_at = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < ends_at, f"it did not happen within {within_s:g} s"
        time.sleep(_PAUSE_S)
    return found


@dataclass(frozen=True)
class Client:
    """Somebody with an API key."""

    url: str
    key: str

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request with the key, unless `headers` has an Authorization of its own; path or whole address."""
        headers = {"Authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        return requests.request(method, self.url + path, headers=headers, timeout=_TIMEOUT_S, **options)

    def post(self, path: str, **body: Any) -> requests.Response:
        """POST `body` as JSON."""
        return self.send("POST", path, json=body)

    def submit(self, url: str, **fields: Any) -> str:
        """Ask for a voiceprint; returns the job's id."""
        answer = self.post("/v1/voiceprint", url=url, **fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["jobId"])

    def job(self, job_id: str) -> Json:
        """Return a job as it stands."""
        answer = self.send("GET", f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: Json = answer.json()
        return job

    def wait(self, job_id: str, within_s: float = 30.0) -> Json:
        """Return a job that has ended."""
        return eventually(lambda: _ended(self.job(job_id)), within_s)

    def run(self, url: str, **fields: Any) -> Json:
        """Submit and wait."""
        return self.wait(self.submit(url, **fields))

    def address(self, name: str) -> str:
        """Return the address to PUT an upload to."""
        answer = self.post("/v1/media/input", url=name)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["url"])

    def upload(self, name: str, body: bytes) -> str:
        """Upload `body` as media://NAME; returns that."""
        url = f"media://{name}"
        assert put(self.address(url), body).status_code == 200
        return url

    def voiceprint(self, url: str) -> Voiceprint:
        """Return the voiceprint of a recording."""
        return voiceprint(self.run(url))


def put(address: str, body: Any, **headers: str) -> requests.Response:
    """PUT to an upload address, as strangers do: without a key, and with no content type unless one is given."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.put(address, data=body, headers=named, timeout=_TIMEOUT_S)


def voiceprint(job: Json) -> Voiceprint:
    """Return the voiceprint of a job that must have succeeded."""
    assert job["status"] == "succeeded", job
    return Voiceprint.decode(job["output"]["voiceprint"])


def _ended(job: Json) -> Json | None:
    return job if job["status"] not in ("created", "running") else None

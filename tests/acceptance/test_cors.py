"""A web page of an allowed origin makes a voiceprint, as a browser would let it."""

from pathlib import Path

import pytest
import requests

from tests.support.client import Client, eventually
from tests.support.servers import NAME
from tests.support.sounds import DATA
from tests.support.stacks import first_client, running

PAGE = "https://app.example.org"


class Page:
    """A page's `fetch`: its browser asks the server before each request, and hides answers it may not show."""

    def __init__(self, client: Client, origin: str) -> None:
        self._client = client
        self._origin = origin

    def fetch(self, method: str, url: str, **options: object) -> requests.Response:
        sent = {"Authorization": f"Bearer {self._client.key}", "Content-Type": "application/json"}
        asked = {
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        before = requests.options(url, headers={"Origin": self._origin} | asked, timeout=10)
        assert self._may_read(before), "the preflight was refused"
        assert method in before.headers["Access-Control-Allow-Methods"]
        assert {"Authorization", "Content-Type"} <= set(before.headers["Access-Control-Allow-Headers"].split(", "))
        answer = requests.request(method, url, headers=sent | {"Origin": self._origin}, timeout=10, **options)
        assert self._may_read(answer), "the answer was hidden"
        return answer

    def _may_read(self, answer: requests.Response) -> bool:
        return answer.ok and answer.headers.get("Access-Control-Allow-Origin") == self._origin


def test_a_page_of_an_allowed_origin_makes_a_voiceprint_and_no_other_page_does(tmp_path: Path) -> None:
    with running(tmp_path, worker_processes=1, cors_origins=f"https://other.example, {PAGE}") as stack:
        client = first_client(stack)
        page = Page(client, PAGE)
        address = page.fetch("POST", f"{stack.url}/v1/media/input", json={"url": "media://a"}).json()["url"]
        page.fetch("PUT", address, data=(DATA / NAME).read_bytes())
        job_id = page.fetch("POST", f"{stack.url}/v1/voiceprint", json={"url": "media://a"}).json()["jobId"]
        job = f"{stack.url}/v1/jobs/{job_id}"
        eventually(lambda: page.fetch("GET", job).json()["status"] == "succeeded")
        with pytest.raises(AssertionError, match="preflight was refused"):
            Page(client, "https://elsewhere.example").fetch("GET", job)

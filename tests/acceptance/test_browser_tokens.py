"""The documented page, in a real browser: another origin, a token of its own server, and no API key."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Playwright, Request, expect

from shared.local.stack import free_port
from tests.support.apis import answers
from tests.support.browser import launched
from tests.support.client import Client, eventually
from tests.support.readme import block
from tests.support.sounds import DATA
from tests.support.stacks import first_client, logs, running


@contextmanager
def page_server(client: Client, folder: Path, port: int) -> Iterator[str]:
    """Run the documented server with its page; yields its origin."""
    (folder / "page-server.mjs").write_text(block("api/README.md", "page-server.mjs"))
    (folder / "page.html").write_text(block("api/README.md", "page.html"))
    environment = os.environ | {"SERVICE_URL": client.url, "SERVICE_KEY": client.key, "PORT": str(port)}
    process = subprocess.Popen(["node", "page-server.mjs"], cwd=folder, env=environment)
    try:
        eventually(lambda: answers(f"http://localhost:{port}/"))
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait()


def test_the_documented_page_makes_a_voiceprint_with_a_token_alone(tmp_path: Path, driver: Playwright) -> None:
    port = free_port()
    sent: list[Request] = []
    with (
        running(tmp_path / "timbre", worker_processes=1, cors_origins=f"http://localhost:{port}") as stack,
        page_server(client := first_client(stack), tmp_path, port) as origin,
        launched(driver) as browser,
    ):
        page = browser.new_page()
        page.on("request", lambda request: sent.append(request))
        page.goto(origin)
        page.get_by_label("Recording").set_input_files(DATA / "conversation.flac")
        expect(page.locator("output")).to_have_text(re.compile(r"Heard \d+\.\d+ s of speech: VE1CUg"), timeout=60_000)
        page.get_by_label("Recording").set_input_files(Path(__file__))
        expect(page.locator("output")).to_have_text(re.compile("is not audio|no audio|text"), timeout=60_000)
        shown = {request.headers["authorization"] for request in sent if "authorization" in request.headers}
        (token,) = (one.removeprefix("Bearer ") for one in shown)
        assert token.startswith("bt_")
        assert not any(client.key in f"{one.url} {one.headers} {one.post_data_buffer!r}" for one in sent)
        told = logs(stack)
        assert token not in told
        assert client.key not in told
        # What the page put there is below its prefix, and it cannot so much as list that.
        uploads = client.send("GET", "/v1/media").json()["items"]
        assert len(uploads) == 2
        assert all(one["url"].startswith("media://tokens/") for one in uploads)
        assert Client(client.url, token).send("GET", "/v1/media").status_code == 403

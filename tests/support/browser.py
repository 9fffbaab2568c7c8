"""The system's own browser, driven by tests: tabs that tell their faults, a fake microphone, a check by axe-core.

The page's policy forbids the `eval` that Playwright's `wait_for_function` is made of. To wait for anything but an
element: `eventually(lambda: page.evaluate(...))`.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import soundfile
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, expect

#: Names of a Chromium, in the order in which they are tried.
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_MISSING = "There is no browser for the tests of the page. On Debian or Ubuntu: sudo apt install chromium"
#: Chromium refuses to sandbox itself as root, whom containers often run as.
_USUAL = ["--no-sandbox"]
_SERIOUS = {"serious", "critical"}
#: The page gave it up itself: it left, stopped a player, or saved a file.
_GIVEN_UP = "net::ERR_ABORTED"
#: Addresses that lead to no server.
_LOCAL = {"blob", "data"}

# Other tests may have the machine's cores at the same time.
expect.set_options(timeout=20_000)


def executable() -> str:
    """Return the path of the system's browser; one is never downloaded."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    assert found is not None, _MISSING
    return found


@contextmanager
def launched(driver: Playwright, microphone: Path | None = None) -> Iterator[Browser]:
    """Run a browser until the end of the block.

    Parameters
    ----------
    microphone : WAV file that its microphone hears, once, see `wav`; no question is asked for it.
    """
    heard = [] if microphone is None else _fake_microphone(microphone)
    browser = driver.chromium.launch(executable_path=executable(), args=[*_USUAL, *heard])
    try:
        yield browser
    finally:
        browser.close()


def _fake_microphone(file: Path) -> list[str]:
    fake = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    return [*fake, f"--use-file-for-fake-audio-capture={file}%noloop"]


def wav(recording: Path, folder: Path) -> Path:
    """Return a copy of a recording that a fake microphone can play."""
    samples, rate_hz = soundfile.read(recording, dtype="int16")
    copy = folder / f"{recording.stem}.wav"
    soundfile.write(copy, samples, rate_hz, subtype="PCM_16")
    return copy


@contextmanager
def opened(
    browser: Browser,
    address: str,
    *,
    scheme: str = "light",
    width: int = 1280,
    height: int = 800,
    reduced_motion: bool = False,
    expected: Sequence[str] = (),
) -> Iterator[Page]:
    """Open an address in a browser profile of its own; at the end fail for whatever went wrong in it.

    Faults are errors on the console, violations of the policy among them, uncaught exceptions, failed requests, and
    requests to other servers.

    Parameters
    ----------
    scheme : `light` or `dark`.
    width, height : of the viewport, in CSS pixels.
    expected : regular expressions of faults that must happen, and are none.
    """
    context = browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": width, "height": height},
        reduced_motion="reduce" if reduced_motion else "no-preference",
    )
    faults = _faults(context, address)
    try:
        page = context.new_page()
        page.goto(address)
        yield page
    finally:
        context.close()
    unexpected = [fault for fault in faults if not any(re.search(known, fault) for known in expected)]
    assert not unexpected, "\n".join(unexpected)
    missing = [known for known in expected if not any(re.search(known, fault) for fault in faults)]
    assert not missing, f"expected but missing: {missing}"


def _faults(context: BrowserContext, address: str) -> list[str]:
    """Return a list to which every fault of a context is added as it happens."""
    faults: list[str] = []

    def note_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            faults.append(f"console: {message.text}")

    def note_elsewhere(request: Request) -> None:
        if not _is_ours(request.url, address):
            faults.append(f"elsewhere: {request.url}")

    def note_failed(request: Request) -> None:
        if request.failure != _GIVEN_UP:
            faults.append(f"failed: {request.method} {request.url}: {request.failure}")

    context.on("console", note_console)
    context.on("weberror", lambda error: faults.append(f"uncaught: {error.error}"))
    context.on("request", note_elsewhere)
    context.on("requestfailed", note_failed)
    return faults


def _is_ours(url: str, address: str) -> bool:
    asked, ours = map(urlsplit, (url, address))
    return asked.scheme in _LOCAL or (asked.scheme, asked.netloc) == (ours.scheme, ours.netloc)


def remembered_job(page: Page, job_id: str) -> dict:
    """Return what the page remembers of a job."""
    return page.evaluate("async (jobId) => (await import('/static/common/memory.js')).job(jobId)", job_id)


def assert_accessible(page: Page) -> None:
    """Fail for what axe-core finds serious or critical on a page as it stands, contrast included."""
    found = Axe().run(page).response["violations"]
    serious = [_told(violation) for violation in found if violation["impact"] in _SERIOUS]
    assert not serious, "\n".join(serious)


def _told(violation: dict) -> str:
    """Return a violation and its elements, for reading."""
    nodes = [f"{' '.join(map(str, node['target']))}: {node['failureSummary']}" for node in violation["nodes"]]
    return f"{violation['id']} ({violation['impact']}): {violation['help']}\n  " + "\n  ".join(nodes)


def assert_fits(page: Page) -> None:
    """Fail where a page is wider than its viewport."""
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"], f"the page is {width} pixels wide"

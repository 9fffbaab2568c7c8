"""The whole service as real processes, spoken to over HTTP; each kind of stack is started once."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from shared.local.stack import Stack
from tests.support import processes
from tests.support.browser import launched, opened
from tests.support.client import Client
from tests.support.servers import AudioHost, audio_host
from tests.support.sounds import DATA, DOMINANT, OTHER
from tests.support.stacks import LOOPBACK, bugs, first_client, make_client, running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service with its usual settings, but for private addresses, where the audio host is."""
    with running(tmp_path_factory.mktemp("timbre"), worker_processes=2, **LOOPBACK) as stack:
        yield stack
        # Whatever the tests did was no bug of the service.
        assert bugs(stack) == []


@pytest.fixture(scope="session")
def small_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service with little room: one worker process, small files, few jobs, and a lease that is soon over."""
    limits = {
        "lease_s": 5.0,
        "max_file_bytes": 200_000,
        "max_diarize_bytes": 200_000,
        "worker_processes": 1,
        "max_unfinished_jobs": 3,
    }
    with running(tmp_path_factory.mktemp("small"), **LOOPBACK, **limits) as stack:
        yield stack


@pytest.fixture(scope="session")
def strict_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service as it is meant for production: private addresses are refused."""
    with running(tmp_path_factory.mktemp("strict"), worker_processes=1) as stack:
        yield stack


@pytest.fixture(scope="session")
def client(stack: Stack) -> Client:
    return first_client(stack)


@pytest.fixture(scope="session")
def small(small_stack: Stack) -> Client:
    return first_client(small_stack)


@pytest.fixture(scope="session")
def strict(strict_stack: Stack) -> Client:
    return first_client(strict_stack)


@pytest.fixture(scope="session")
def stranger(stack: Stack) -> Client:
    """Another client of the same service, whose key was made at the command line."""
    return make_client(stack, "other")


@pytest.fixture(scope="session")
def enrolled(client: Client) -> dict[str, str]:
    """A voiceprint of each person, made of a recording."""
    files = {speaker: sorted(DATA.glob(f"{speaker}-*.flac"))[0] for speaker in (DOMINANT, OTHER)}
    jobs = {speaker: client.submit(client.upload(file.name, file.read_bytes())) for speaker, file in files.items()}
    return {speaker: client.wait(job_id)["output"]["voiceprint"] for speaker, job_id in jobs.items()}


@pytest.fixture(scope="module")
def page_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service with the page; audio hosts of tests may be private."""
    with running(tmp_path_factory.mktemp("page"), worker_processes=2, page=True, **LOOPBACK) as stack:
        yield stack
        assert bugs(stack) == []


@pytest.fixture(scope="module")
def page_client(page_stack: Stack) -> Client:
    """The client that the page is signed in as."""
    return first_client(page_stack)


@pytest.fixture(scope="module")
def driver() -> Iterator[Playwright]:
    """What drives browsers; only for a module, since its event loop lets no other run in this process."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def browser(driver: Playwright) -> Iterator[Browser]:
    """A browser without a microphone."""
    with launched(driver) as browser:
        yield browser


@pytest.fixture
def open_page(page_stack: Stack, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a path of the service, `/` by default, with the options of `opened`; faults fail the test."""
    with ExitStack() as tabs:

        def open_page(path: str = "/", **options: Any) -> Page:
            return tabs.enter_context(opened(browser, page_stack.url + path, **options))

        yield open_page


@pytest.fixture
def signed_in(page_client: Client, open_page: Callable[..., Page]) -> Callable[..., Page]:
    """Open the page signed in, as the address that `make run` prints does."""
    return lambda **options: open_page(f"/#key={page_client.key}", **options)


@pytest.fixture
def host() -> Iterator[AudioHost]:
    """An audio host of the test's own, so that its hits are the test's own."""
    with audio_host() as host:
        yield host


@pytest.fixture
def children_of() -> Callable[[int], set[int]]:
    """Find the child processes of a process."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc to find a process's children")
    return processes.children_of

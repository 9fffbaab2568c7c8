"""The whole service as real processes, spoken to over HTTP; each kind of stack is started once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.local.stack import Stack
from tests.support import processes
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

"""Downloads against a server that misbehaves."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.installation.download import fetch
from models.registry import sha256_of
from shared.domain.errors import ModelInstallError
from tests.support.file_server import FileServer, serving


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "original"
    path.write_bytes(np.random.default_rng(5).bytes(3_000_000))
    return path


@pytest.fixture
def server(original: Path) -> Iterator[FileServer]:
    with serving(original) as server:
        yield server


def test_a_file_arrives_whole_and_is_reported(server: FileServer, original: Path, tmp_path: Path) -> None:
    said: list[str] = []
    sha256 = fetch(server.url("file"), tmp_path / "out", said.append)
    assert (tmp_path / "out").read_bytes() == original.read_bytes()
    assert sha256 == sha256_of(original)
    assert said[-1] == "  3.0 of 3.0 MB"


def test_a_redirect_is_followed(server: FileServer, original: Path, tmp_path: Path) -> None:
    assert fetch(server.url("moved"), tmp_path / "out", print) == sha256_of(original)


def test_a_broken_download_goes_on_where_it_broke_off(server: FileServer, original: Path, tmp_path: Path) -> None:
    assert fetch(server.url("breaks-once"), tmp_path / "out", print) == sha256_of(original)
    # 1.5 MB came, of which one chunk of 1 MiB was complete.
    assert server.requests == [("/breaks-once", None), ("/breaks-once", "bytes=1048576-")]


def test_a_server_that_cannot_continue_starts_again(server: FileServer, original: Path, tmp_path: Path) -> None:
    assert fetch(server.url("breaks-then-forgets"), tmp_path / "out", print) == sha256_of(original)


def test_a_download_that_always_breaks_leaves_nothing(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(ModelInstallError, match="5 attempts failed"):
        fetch(server.url("breaks"), tmp_path / "out", print)
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


def break_off(server: FileServer, out: Path) -> None:
    server.share = 0.5
    with pytest.raises(ModelInstallError, match="5 attempts failed"):
        fetch(server.url("tagged"), out, print)
    server.share = 1.0
    server.requests.clear()


def test_a_later_call_goes_on_where_a_broken_download_stopped(
    server: FileServer, original: Path, tmp_path: Path
) -> None:
    break_off(server, tmp_path / "out")
    assert fetch(server.url("tagged"), tmp_path / "out", print) == sha256_of(original)
    ((_, asked),) = server.requests
    assert asked is not None and int(asked.removeprefix("bytes=").rstrip("-")) > 1_000_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["original", "out"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: FileServer, original: Path, tmp_path: Path) -> None:
    break_off(server, tmp_path / "out")
    server.content, server.tag = server.content[::-1], '"second"'
    fetch(server.url("tagged"), tmp_path / "out", print)
    assert (tmp_path / "out").read_bytes() == original.read_bytes()[::-1]


def test_a_part_of_another_address_is_not_gone_on_from(server: FileServer, original: Path, tmp_path: Path) -> None:
    break_off(server, tmp_path / "out")
    assert fetch(server.url("file"), tmp_path / "out", print) == sha256_of(original)
    assert server.requests == [("/file", None)]


def test_an_error_does_not_repeat_the_query_of_its_address(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(ModelInstallError, match="answers 404") as refused:
        fetch(server.url("missing?token=secret"), tmp_path / "out", print)
    assert "secret" not in str(refused.value)


def test_nobody_answering_is_said_plainly(tmp_path: Path, original: Path) -> None:
    with serving(original) as server:
        url = server.url("file")
    with pytest.raises(ModelInstallError, match="5 attempts failed, the last with NewConnectionError"):
        fetch(url, tmp_path / "out", print)

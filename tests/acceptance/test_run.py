"""`make run`, as a person meets it: what it prints works, and Ctrl-C leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from api.keys import make_first_key
from shared.local.stack import MAX_LOG_BYTES, Stack, free_port
from shared.names import alive_file
from shared.settings import Settings
from tests.support.client import eventually
from worker.jobs import alive

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Run:
    """`make run` as a process, and what it prints."""

    process: subprocess.Popen[bytes]
    printed: Path

    @property
    def text(self) -> str:
        return self.printed.read_text()

    @property
    def greeted(self) -> bool:
        """Whether it has said all that it has to say."""
        return "/v1/jobs/" in self.text and self.text.endswith("\n")

    def interrupt(self, *signals: int) -> int:
        """Send signals, one after the other; returns the exit code."""
        for number in signals:
            self.process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.1)
        # The stack gives each of its processes 40 s before it kills them.
        return self.process.wait(90)


@contextmanager
def run(data_dir: Path, **variables: str) -> Iterator[Run]:
    """Start it on a folder; whatever of it is left at the end is killed."""
    bind = f"127.0.0.1:{free_port()}"
    given = {"TIMBRE_DATA_DIR": str(data_dir), "TIMBRE_BIND": bind, "TIMBRE_METRICS_BIND": "off"}
    environment = os.environ | given | variables
    data_dir.mkdir(exist_ok=True)
    printed = data_dir / f"printed-{bind.rpartition(':')[2]}"
    with printed.open("wb") as output:
        command = [sys.executable, "-m", "shared.local.run"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        yield Run(process, printed)
    finally:
        for pid in {process.pid, *processes_on(data_dir)} if process.poll() is None else processes_on(data_dir):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


@contextmanager
def greeted(data_dir: Path, **variables: str) -> Iterator[Run]:
    """Start it and wait for its greeting."""
    with run(data_dir, **variables) as timbre:
        eventually(lambda: timbre.greeted or timbre.process.poll() is not None)
        assert timbre.greeted, timbre.text
        yield timbre


def refusal(data_dir: Path, **variables: str) -> str:
    """Start it, and check that it ends by itself, in a sentence; returns that."""
    with run(data_dir, **variables) as timbre:
        eventually(lambda: timbre.greeted or timbre.process.poll() is not None)
        assert timbre.process.poll() == 1, timbre.text
        assert "Traceback" not in timbre.text
        return timbre.text


def processes_on(data_dir: Path) -> set[int]:
    """Return whatever runs with this data folder in its environment, or in it: Redis writes over its environment."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs /proc to find processes by their environment")
    mark = f"TIMBRE_DATA_DIR={data_dir}\0".encode()
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (process / "environ").read_bytes() or (process / "cwd").readlink().is_relative_to(data_dir):
                found.add(int(process.name))
    return found


def servers_on(data_dir: Path) -> list[bytes]:
    """Return the titles of the Redis servers among them."""
    titles = []
    for pid in processes_on(data_dir):
        with suppress(OSError):
            titles.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    return [title for title in titles if b"valkey-server" in title or b"redis-server" in title]


def paste(*lines: str) -> str:
    """Run lines as a person's shell would."""
    command = ["bash", "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_printed_lines_make_a_voiceprint_and_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    with greeted(tmp_path) as timbre:
        upload, ask, look = [line for line in timbre.text.splitlines() if line.startswith(("curl", "JOB="))]
        paste(upload)
        job_id = paste(ask).strip()
        assert re.fullmatch(r"[0-9a-f-]{36}", job_id)
        eventually(lambda: '"status":"succeeded"' in paste(f"JOB={job_id}", look).replace(" ", ""))
        assert len(processes_on(tmp_path)) > 3
        assert timbre.interrupt(signal.SIGINT) == 0
        assert not processes_on(tmp_path)
        assert "Traceback" not in timbre.text


def test_it_prints_an_address_of_the_page_that_is_signed_in_and_no_log_holds_the_key(tmp_path: Path) -> None:
    with greeted(tmp_path) as timbre:
        address, key = re.findall(r"^(http://127\.0\.0\.1:\d+/)#key=(sk_\w+)$", timbre.text, re.MULTILINE)[0]
        assert f"API key: {key}\n" in timbre.text
        for path in ("", "static/main.js", "docs", "v1/test"):
            headers = {"Authorization": f"Bearer {key}"}
            assert requests.get(address + path, headers=headers, timeout=5).status_code == 200
        assert timbre.interrupt(signal.SIGINT) == 0
    logs = list((tmp_path / "logs").iterdir())
    assert b'"rule": "/v1/test"' in (tmp_path / "logs" / "api.log").read_bytes()
    assert [log.name for log in logs if key.encode() in log.read_bytes()] == []


def test_the_page_can_be_off_and_then_no_address_is_printed(tmp_path: Path) -> None:
    with greeted(tmp_path, TIMBRE_PAGE="false") as timbre:
        assert "#key=" not in timbre.text
        url = re.findall(r"^Timbre runs at (\S+)", timbre.text, re.MULTILINE)[0]
        assert requests.get(url, timeout=5).url == f"{url}/docs"


def test_logs_are_rotated_while_their_processes_write_on(tmp_path: Path) -> None:
    with greeted(tmp_path) as timbre:
        logs = sorted((tmp_path / "logs").iterdir())
        assert [log.name for log in logs] == ["api.log", "courier.log", "redis.log", "worker.log"]
        for round_ in (b"first", b"second"):
            for log in logs:
                with log.open("ab") as file:
                    file.write(round_ * (MAX_LOG_BYTES // 4))
            eventually(lambda: all(log.stat().st_size < MAX_LOG_BYTES for log in logs))
            assert all(round_ in Path(f"{log}.1").read_bytes() for log in logs)
        upload = next(line for line in timbre.text.splitlines() if line.startswith("curl"))
        paste(upload)
        api_log = tmp_path / "logs" / "api.log"
        eventually(lambda: b"/v1/media/input" in api_log.read_bytes())
        # The process writes at the new end, not behind a hole as long as the old log.
        assert b"\0" not in api_log.read_bytes()
        assert len(list((tmp_path / "logs").iterdir())) == 2 * len(logs)


@pytest.mark.parametrize("level", ["warning", "error"])
def test_it_is_ready_whatever_is_logged_and_not_by_the_sign_of_a_run_before(level: str, tmp_path: Path) -> None:
    alive.Sign(tmp_path, "worker").mark()
    started = time.time()
    with greeted(tmp_path, TIMBRE_LOG_LEVEL=level):
        signs = alive_file(tmp_path, "worker", os.getpid()).parent.iterdir()
        assert any(sign.stat().st_mtime > started for sign in signs)
        assert "worker ready" not in (tmp_path / "logs" / "worker.log").read_text()


def test_a_first_key_that_is_good_no_more_is_not_shown_but_how_to_make_another(tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    make_first_key(Settings(data_dir=folder))
    with greeted(folder, TIMBRE_SECRET="another" * 6) as timbre:
        assert (folder / "first-api-key").read_text().strip() not in timbre.text
        assert "YOUR_KEY" in timbre.text
        assert re.search(r"^http://127\.0\.0\.1:\d+/$", timbre.text, re.MULTILINE)
        command = next(line for line in timbre.text.splitlines() if line.endswith("keys create NAME"))
    assert re.fullmatch(r"sk_\w+\n", paste(command))


def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    with greeted(tmp_path) as timbre:
        assert timbre.interrupt(signal.SIGTERM) == 0
        assert not processes_on(tmp_path)


def test_an_impatient_second_ctrl_c_leaves_nothing_behind_either(tmp_path: Path) -> None:
    with greeted(tmp_path) as timbre:
        timbre.interrupt(signal.SIGINT, signal.SIGINT)
        assert not processes_on(tmp_path)
        assert "Traceback" not in timbre.text


def test_a_start_can_be_interrupted(tmp_path: Path) -> None:
    with run(tmp_path) as timbre:
        eventually(lambda: len(processes_on(tmp_path)) > 1)
        assert timbre.interrupt(signal.SIGINT) == 0
        assert not processes_on(tmp_path)
        assert "Traceback" not in timbre.text


def test_after_a_kill_two_redis_servers_never_share_a_folder(tmp_path: Path) -> None:
    with greeted(tmp_path) as first:
        assert len(servers_on(tmp_path)) == 1
        first.process.kill()
        first.process.wait()
        with run(tmp_path) as second:
            eventually(lambda: second.greeted or second.process.poll() is not None)
            assert len(servers_on(tmp_path)) <= 1


def test_a_taken_port_is_told_with_what_to_do(stack: Stack, tmp_path: Path) -> None:
    text = refusal(tmp_path, TIMBRE_BIND=stack.settings.bind)
    assert stack.settings.bind in text
    assert "TIMBRE_BIND=" in text


def test_a_second_start_on_the_same_folder_is_refused(stack: Stack, tmp_path: Path) -> None:
    text = refusal(tmp_path, TIMBRE_DATA_DIR=str(stack.settings.data_dir))
    assert "already runs" in text
    assert "TIMBRE_DATA_DIR" in text


def test_a_data_folder_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "inside"):
        text = refusal(tmp_path, TIMBRE_DATA_DIR=str(folder))
        assert str(folder) in text
        assert "TIMBRE_DATA_DIR" in text


def test_a_ruined_database_or_secret_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    (tmp_path / "timbre.db").write_bytes(b"no database" * 1000)
    assert "shorter than 32 characters" in refusal(tmp_path)
    (tmp_path / "secret").write_text("s" * 40)
    assert "not a database" in refusal(tmp_path)


WRONG_SETTINGS = [
    ("TIMBRE_BNID", "127.0.0.1:1", "TIMBRE_BIND"),
    ("TIMBRE_LEASE_S", "soon", "not a number"),
    ("TIMBRE_ALLOW_HTTP_WEBHOOKS", "maybe", "neither true nor false"),
    ("TIMBRE_BIND", "nonsense", "TIMBRE_BIND="),
    ("TIMBRE_LOG_LEVEL", "loud", "loud"),
    ("TIMBRE_MODEL", "no-such-model", "no-such-model"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG_SETTINGS)
def test_a_wrong_setting_stops_the_start_and_is_named(name: str, value: str, words: str, tmp_path: Path) -> None:
    assert words in refusal(tmp_path, **{name: value})

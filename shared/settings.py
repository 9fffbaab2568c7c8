"""Settings: `TIMBRE_*` environment variables, read once and frozen; an unknown or malformed one stops the start."""

import contextlib
import difflib
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from shared.domain.addresses import AddressRules
from shared.domain.errors import SettingsError
from shared.domain.limits import Limits
from shared.domain.sentinels import Sentinels, names_sentinels

PREFIX = "TIMBRE_"
_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_WEB = (r"https?://[^\s/?#]+[^\s?#]*", "an http:// or https:// address")
_PATTERNS = {
    f"{PREFIX}REDIS_URL": (
        r"embedded|(rediss?|unix|sentinels?)://.+",
        "a redis://, rediss://, unix:// or sentinel:// address",
    ),
    f"{PREFIX}DATABASE_URL": (
        r"(sqlite:///|postgres(ql)?(\+psycopg)?://).+",
        "a postgresql:// address, or sqlite:/// and the path of a file",
    ),
    f"{PREFIX}BIND": (r".+:\d+", "HOST:PORT"),
    f"{PREFIX}STREAM_BIND": (r".+:\d+", "HOST:PORT"),
    f"{PREFIX}STREAM_URL": (r"wss?://[^\s/?#]+[^\s?#]*", "a ws:// or wss:// address"),
    f"{PREFIX}PUBLIC_URL": _WEB,
    f"{PREFIX}S3_ENDPOINT_URL": _WEB,
    f"{PREFIX}S3_PUBLIC_URL": _WEB,
    f"{PREFIX}WEBHOOK_SIGNATURE_ENCODING": (r"hex|base64", "hex or base64"),
    f"{PREFIX}DEVICE": (r"cpu|cuda", "cpu or cuda"),
    f"{PREFIX}METRICS_BIND": (r"off|.+:\d+", "HOST:PORT, or off"),
    f"{PREFIX}LOG_LEVEL": (r"debug|info|warning|error", "debug, info, warning or error"),
}
_ORIGIN = r"\*|[A-Za-z][A-Za-z0-9+.-]*://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?"
_QUERY = r"\?\w+="
#: Addresses whose password the driver reads as ending early, so that an `@` follows: SQLAlchemy ends it at the first
#: `@`, redis-py at `/`, `?` and `#`, and it takes brackets for those of an IPv6 address. A query may have an `@`.
_CUT_SHORT = {
    f"{PREFIX}DATABASE_URL": rf"postgres[^:]*://[^@]*@((?!{_QUERY})[^@])*@.*",
    f"{PREFIX}REDIS_URL": rf"(rediss?|sentinels?)://[^/?#]*((?!{_QUERY})[/?#]((?!{_QUERY})[^@])*|[\[\]][^/?#]*)@.*",
}
#: Settings that may hold a port. The database's is left to its driver, which may take several hosts.
_WITH_PORT = {
    f"{PREFIX}{name}"
    for name in (
        "REDIS_URL",
        "BIND",
        "STREAM_BIND",
        "METRICS_BIND",
        "STREAM_URL",
        "PUBLIC_URL",
        "S3_ENDPOINT_URL",
        "S3_PUBLIC_URL",
    )
}
#: Types of settings that may be unset -> those of their values.
_REQUIRED: dict[Any, Any] = {str | None: str, int | None: int}
#: A worker that pauses for a moment must not lose its job.
_LEAST = {f"{PREFIX}LEASE_S": 1}
#: TitaNet hears ten minutes at once, see models/installation/export.py.
_MOST = {f"{PREFIX}MAX_AUDIO_S": 600, f"{PREFIX}MAX_SAMPLE_S": 600, f"{PREFIX}WAIT_SHARE": 1}
#: Longer times are typing errors, and in milliseconds they soon exceed the integers of Redis.
_MOST_SECONDS = 10 * 365 * 24 * 3600
_OTLP = "OTEL_EXPORTER_OTLP_"
#: What traces are sent by, and how its variables must look.
_OTEL_PATTERNS = {
    "ENDPOINT": (r"https?://[^\s/?#]+\S*", "an http:// or https:// address"),
    "PROTOCOL": (r"http/protobuf", "http/protobuf, the only protocol that traces are sent by"),
}
_REPOSITORY = Path(__file__).resolve().parent.parent


def _setting(doc: str, **options: Any) -> Any:
    return field(metadata={"doc": doc}, **options)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, one field per `TIMBRE_<FIELD>` variable."""

    redis_url: str = _setting(
        "Redis 7 or Valkey 8, or later: `redis://`, `rediss://` or `unix://`. By Sentinel: "
        "`sentinel://HOST:26379,HOST:26379/0?master=NAME`, or `sentinels://` for TLS.",
        default="redis://127.0.0.1:6379/0",
        repr=False,
    )
    redis_password: str | None = _setting(
        "Password for Redis, where `TIMBRE_REDIS_URL` has none.", default=None, repr=False
    )
    data_dir: Path = _setting("Folder of uploads, kept recordings, database and secret.", default=Path(".timbre"))
    database_url: str | None = _setting(
        "SQLAlchemy URL of clients and keys, `postgresql://...` say. Unset: SQLite in the data folder.",
        default=None,
        repr=False,
    )
    database_password: str | None = _setting(
        "Password for the database, where `TIMBRE_DATABASE_URL` has none.", default=None, repr=False
    )
    secret: str | None = _setting(
        "Server secret, 32 characters or more: keys are hashed, upload addresses signed, results and webhook secrets "
        "sealed with it, so a new one makes them all void. "
        "Unset: made at first start, kept in the data folder, mode 0600.",
        default=None,
        repr=False,
    )

    bind: str = _setting("Address the API listens on.", default="127.0.0.1:8000")
    public_url: str | None = _setting(
        "The API's own address as clients see it. Unset: they must call it by the host of `TIMBRE_BIND` or as "
        "localhost, to get addresses for uploads.",
        default=None,
    )
    stream_bind: str | None = _setting(
        "Address the stream listens on, for recordings over WebSocket (api/dialects/README.md). Unset: there is none.",
        default=None,
    )
    stream_url: str | None = _setting(
        "The stream's own address as clients see it, `wss://voice.example.org`. Unset: `TIMBRE_PUBLIC_URL` with ws or "
        "wss in place of http or https, or else the address of `TIMBRE_STREAM_BIND`.",
        default=None,
    )
    api_processes: int = _setting(
        "Processes of the API; each has the threads, waits and uploads below, and some 120 MB of memory.", default=1
    )
    api_threads: int = _setting("Threads of each API process.", default=16)
    wait_share: float = _setting(
        "Share of the API's threads that requests may wait on for a job's end; above 0, at most 1.", default=0.5
    )
    api_uploads: int = _setting(
        "Uploads of 64 KiB and more that each API process takes at once, on threads of their own.", default=32
    )
    cors_origins: str | None = _setting(
        "Origins whose web pages may call the API, `https://app.example.org,http://localhost:3000`, or `*` for all. "
        "Unset: none.",
        default=None,
    )
    page: bool = _setting(
        "Serve a page at `/`, by which people record, see and compare voices with their API key.", default=False
    )

    posts_per_minute: int = _setting("POST requests that one client may send to each address in a minute.", default=100)
    reads_per_minute: int = _setting(
        "Other requests that one client may send to each address in a minute.", default=300
    )

    worker_processes: int = _setting("Jobs worked on at once; processes x threads should not exceed cores.", default=2)
    long_processes: int | None = _setting(
        "Of them, how many may run long jobs (diarize, identify) at once. Unset: all but one, so that short jobs never "
        "wait for long ones. Where it is all of them, each takes turns.",
        default=None,
    )
    inference_threads: int = _setting("Threads of each worker process's neural networks.", default=1)
    device: str = _setting(
        "Where the speaker network of jobs runs: `cpu`, or `cuda` with onnxruntime-gpu, CUDA, cuDNN and a card. "
        "Without one of them the worker ends at its start. Not measured.",
        default="cpu",
    )
    model: str | None = _setting(
        "Model that makes the voiceprints. Unset: the first one installed, in the manifest's order.", default=None
    )
    language: str | None = _setting(
        "Language of recordings whose request names none, `de` say; a speech recogniser of it must be installed. "
        "Unset: that of the first one installed, English.",
        default=None,
    )
    weights_dir: Path = _setting("Folder of installed models.", default=_REPOSITORY / "models" / "weights")

    max_audio_s: float = _setting(
        "Longest recording of a voiceprint, in seconds of decoded sound; at most 600.", default=30.0
    )
    max_file_bytes: int = _setting("Largest file of a voiceprint's recording.", default=100 * 1024 * 1024)
    download_timeout_s: float = _setting("Longest download of it, in seconds of wall clock.", default=60.0)
    max_sample_s: float = _setting(
        "Longest recording of a sample, or to verify or search an identity with, in seconds; at most 600.",
        default=120.0,
    )
    max_diarize_s: float = _setting(
        "Longest recording to diarize or to identify speakers in, in seconds of decoded sound.", default=7200.0
    )
    max_diarize_bytes: int = _setting(
        "Largest file of such a recording. The larger of the two sizes is that of an upload.", default=1024**3
    )
    diarize_download_timeout_s: float = _setting(
        "Longest download of such a recording, in seconds of wall clock.", default=600.0
    )
    allowed_ports: str = _setting(
        "Ports that clients' addresses may have, ranges too: `80,443,9000-9010`.", default="80,443"
    )
    allowed_hosts: str | None = _setting(
        "Host names and networks that clients' addresses may lead to although they are private: "
        "`storage.lan,10.1.0.0/16`. Unset: the public internet only.",
        default=None,
    )

    s3_bucket: str | None = _setting("S3 bucket for uploads. Unset: the data folder.", default=None)
    s3_endpoint_url: str | None = _setting("Address of an S3-compatible server. Unset: AWS.", default=None)
    s3_public_url: str | None = _setting(
        "That server's address as clients see it, for presigned addresses. Unset: the same.", default=None
    )
    s3_region: str = _setting("Region of the buckets.", default="us-east-1")
    s3_source_buckets: str | None = _setting(
        "Buckets whose recordings any client may name as `s3://BUCKET/KEY`, read with the workers' credentials: "
        "`calls,voicemail`. Unset: none.",
        default=None,
    )

    lease_s: float = _setting("Seconds after which a silent worker loses its job to another; at least 1.", default=10.0)
    grace_s: float = _setting(
        "Seconds a worker that is told to stop gives the job it has in hand, before it hands it back.", default=20.0
    )
    result_ttl_s: int = _setting("Seconds a finished job and its result are kept.", default=24 * 3600)
    media_ttl_s: int = _setting("Seconds an upload is kept.", default=36 * 3600)
    max_media_bytes: int = _setting(
        "Bytes of uploads that one client may keep, those under way included.", default=20 * 1024**3
    )

    require_consent: bool = _setting(
        "Refuse identities without consent, in spaces without a legal basis of their own.", default=False
    )
    verification_ttl_s: int = _setting("Seconds a verification is kept.", default=90 * 24 * 3600)
    usage_ttl_s: int = _setting("Seconds a usage record is kept.", default=760 * 24 * 3600)
    audit_ttl_s: int = _setting("Seconds an entry of the audit log is kept.", default=365 * 24 * 3600)
    search_bytes: int = _setting(
        "Bytes of voiceprints that each worker process keeps in memory to search spaces in.", default=256 * 1024**2
    )

    job_deadline_s: int = _setting("Seconds after which a job that nobody finished fails.", default=3600)
    max_unfinished_jobs: int = _setting("Unfinished jobs that one client may have.", default=1000)
    max_job_bytes: int = _setting(
        "Bytes in Redis of one client's unfinished jobs and kept results, as they are stored.", default=256 * 1024**2
    )
    allow_http_webhooks: bool = _setting(
        "Let webhooks go to `http://` addresses too. For development only.", default=False
    )
    webhook_signature_encoding: str = _setting("Encoding of `X-Signature`: `hex` or `base64`.", default="hex")

    log_level: str = _setting("`debug`, `info`, `warning` or `error`.", default="info")
    metrics_bind: str = _setting(
        "Address at which the API serves its metrics to Prometheus. Stream, worker and courier take the three ports "
        "behind it. Or `off`.",
        default="127.0.0.1:9470",
    )
    name_clients: bool = _setting(
        "Put the names of clients into logs, and into the metrics that begin with `timbre_client_`.", default=False
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings from `environ`, by default the environment of the process.

        Raises
        ------
        SettingsError
            A `TIMBRE_*` variable is unknown or malformed; the message names it.
        """
        given = {k: v for k, v in (os.environ if environ is None else environ).items() if k.startswith(PREFIX)}
        known = {PREFIX + f.name.upper(): f for f in fields(cls)}
        values: dict[str, Any] = {}
        for name, text in given.items():
            value_of = name.removesuffix("_FILE")
            if value_of not in known:
                raise SettingsError(_unknown(name, list(known)))
            if value_of != name and value_of in given:
                raise SettingsError(f"{name}: {value_of} is set too; leave one of them unset.")
            setting = known[value_of]
            values[setting.name] = _parse(value_of, text if value_of == name else _read_file(name, text), setting)
        return cls(**values)._with_passwords()._checked()

    def _with_passwords(self) -> "Settings":
        """Return these settings with the passwords in the addresses that they are for."""
        return replace(
            self,
            redis_url=_with_password(self.redis_url, self.redis_password, "REDIS"),
            database_url=_with_password(self.database_url, self.database_password, "DATABASE"),
            redis_password=None,
            database_password=None,
        )

    def _checked(self) -> "Settings":
        try:
            self.address_rules()
        except SettingsError as error:
            raise SettingsError(f"{PREFIX}ALLOWED_PORTS, {PREFIX}ALLOWED_HOSTS: {error}") from None
        self.allowed_origins()
        if self.s3_bucket in self.source_buckets():
            raise SettingsError(
                f"{PREFIX}S3_SOURCE_BUCKETS: {self.s3_bucket} holds uploads, which are their clients' own."
            )
        return self

    def environment(self) -> dict[str, str]:
        """Return the variables that describe these settings to a child process."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {PREFIX + name.upper(): str(value) for name, value in values.items() if value is not None}

    def address_rules(self) -> AddressRules:
        """Return the rules for addresses that clients give."""
        return AddressRules.parse(self.allowed_ports, self.allowed_hosts)

    def voiceprint_limits(self) -> Limits:
        """Return the limits of recordings that voiceprints are made of."""
        return Limits(
            max_audio_s=self.max_audio_s, max_bytes=self.max_file_bytes, download_timeout_s=self.download_timeout_s
        )

    def sample_limits(self) -> Limits:
        """Return the limits of recordings of identities."""
        return Limits(
            max_audio_s=self.max_sample_s, max_bytes=self.max_file_bytes, download_timeout_s=self.download_timeout_s
        )

    def diarize_limits(self) -> Limits:
        """Return the limits of recordings to diarize or to identify speakers in."""
        return Limits(
            max_audio_s=self.max_diarize_s,
            max_bytes=self.max_diarize_bytes,
            download_timeout_s=self.diarize_download_timeout_s,
        )

    def max_upload_bytes(self) -> int:
        """Return the size of the largest upload, which may be for either kind of job."""
        return max(self.max_file_bytes, self.max_diarize_bytes)

    def most_long_jobs(self) -> int:
        """Return the number of long jobs that a worker may run at once."""
        return min(self.worker_processes, self.long_processes or max(1, self.worker_processes - 1))

    def metrics_address(self) -> str | None:
        """Return HOST:PORT of the API's metrics; None where none are served."""
        return None if self.metrics_bind == "off" else self.metrics_bind

    def source_buckets(self) -> frozenset[str]:
        """Return the buckets that `s3://` addresses may name."""
        return frozenset(_parts(self.s3_source_buckets))

    def allowed_origins(self) -> frozenset[str]:
        """Return the origins whose web pages may call the API, as browsers write them, or `*`.

        Raises
        ------
        SettingsError
        """
        return frozenset(_origin(part) for part in _parts(self.cors_origins))

    def sql_url(self) -> str:
        """Return the database's SQLAlchemy URL."""
        url = self.database_url or f"sqlite:///{self.data_dir.resolve() / 'timbre.db'}"
        # Only psycopg 3 is installed of PostgreSQL's drivers.
        return re.sub("^postgres(ql)?://", "postgresql+psycopg://", url)

    def secret_bytes(self) -> bytes:
        """Return the server secret; where none is set, make one in the data folder, mode 0600."""
        if self.secret is not None:
            return self.secret.encode()
        path = self.data_dir / "secret"
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_once(path)
        return _read_secret(path).encode()


def write_private(path: Path, text: str) -> None:
    """Write `text` to a file of mode 0600, which only its owner may read."""
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def kept_name(path: Path) -> str:
    """Return the random name in a file; where there is none, make one, mode 0600."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_once(path)
    return path.read_text()[:16]


def _make_once(path: Path) -> None:
    """Write a random text, unless the file is there; it appears whole, or not at all."""
    if path.exists():
        return
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f"{path.name}-") as file:
        file.write(secrets.token_urlsafe(48))
        file.flush()
        os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)


def _parts(text: str | None) -> list[str]:
    """Return the parts of a list with commas."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _origin(text: str) -> str:
    """Return an origin as browsers write it: in lower case, without its scheme's own port."""
    name = f"{PREFIX}CORS_ORIGINS"
    if not re.fullmatch(_ORIGIN, text):
        raise SettingsError(f"{name}: {text!r} must be scheme://host or scheme://host:port, and no more; or *.")
    if not _is_port_real(text):
        raise SettingsError(f"{name}: {text!r} must have a port from 1 to 65535.")
    return re.sub("^(http://.*):80$|^(https://.*):443$", r"\1\2", text.lower())


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"{name} is not a setting." + (f" Did you mean {close[0]}?" if close else " shared/README.md lists all.")


def _read_secret(path: Path) -> str:
    return _long_enough(_read_file(f"{PREFIX}SECRET_FILE", str(path)), str(path))


def _read_file(name: str, path: str) -> str:
    """Return the value that the file of a setting holds."""
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"{name}: cannot read {path}: {reason}") from error


def _with_password(url: Any, password: str | None, which: str) -> Any:
    """Return an address with a password in it.

    Raises
    ------
    SettingsError
        It has one already, or there is no address to put it into.
    """
    if password is None:
        return url
    scheme, separator, rest = (url or "").partition("://")
    authority, slash, path = rest.partition("/")
    user, _, host = authority.rpartition("@")
    if not separator or ":" in user or scheme == "sqlite":
        raise SettingsError(
            f"{PREFIX}{which}_PASSWORD: {PREFIX}{which}_URL must name a server, and have no password of its own."
        )
    return f"{scheme}://{user}:{quote(password, safe='')}@{host}{slash}{path}"


def share_metrics_folder(path: str) -> None:
    """Tell the Prometheus library, and the processes that are forked, in which folder metrics are kept."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = path


def wants_traces(environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether OpenTelemetry's standard variables ask for traces, by default those of the process.

    Raises
    ------
    SettingsError
        They ask for what Timbre cannot do; the message names the variable.
    """
    given = {name: text for name, text in (os.environ if environ is None else environ).items() if text}
    exporter = given.get("OTEL_TRACES_EXPORTER", "otlp")
    is_off = exporter == "none" or given.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_off or not (f"{_OTLP}ENDPOINT" in given or f"{_OTLP}TRACES_ENDPOINT" in given):
        return False
    if exporter != "otlp":
        raise SettingsError("OTEL_TRACES_EXPORTER must be otlp or none.")
    for what, (pattern, words) in _OTEL_PATTERNS.items():
        name = next((name for name in (f"{_OTLP}TRACES_{what}", _OTLP + what) if name in given), "")
        # An address may hold a password.
        if name and not re.fullmatch(pattern, given[name]):
            raise SettingsError(f"{name} must be {words}.")
    return True


def _long_enough(secret: str, where: str) -> str:
    if len(secret) < 32:
        raise SettingsError(f"The server secret in {where} is shorter than 32 characters.")
    return secret


def _parse(name: str, text: str, setting: Field[Any]) -> Any:
    kind = _REQUIRED.get(setting.type, setting.type)
    if name == f"{PREFIX}SECRET":
        return _long_enough(text.strip(), name)
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise SettingsError(f"{name}={text!r} is neither true nor false.")
        return _BOOLEANS[text.lower()]
    if kind in (int, float):
        return _number(name, text, kind)
    return kind(_well_formed(name, text))


def _well_formed(name: str, text: str) -> str:
    if not text:
        raise SettingsError(f"{name} is empty; leave it unset for its default.")
    pattern, words = _PATTERNS.get(name, (".*", ""))
    if not re.fullmatch(pattern, text, re.DOTALL):
        shown = name if name.endswith("_URL") else f"{name}={text!r}"  # a URL may hold a password
        raise SettingsError(f"{shown} must be {words}.")
    if re.fullmatch(_CUT_SHORT.get(name, "(?!)"), text, re.DOTALL):
        raise SettingsError(
            f"{name}: percent-encode its user name and password: @ as %40, / as %2F, ? as %3F, # as %23, "
            "[ as %5B, ] as %5D."
        )
    if name == f"{PREFIX}REDIS_URL" and names_sentinels(text):
        _check_sentinels(name, text)
    elif name in _WITH_PORT and not _is_port_real(text):
        raise SettingsError(f"{name}: its port must be a number from 1 to 65535.")
    return text


def _check_sentinels(name: str, url: str) -> None:
    try:
        Sentinels.parse(url)
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from None


def _is_port_real(address: str) -> bool:
    try:
        return urlsplit(address if "://" in address else f"//{address}").port != 0
    except ValueError:
        return False


def _number(name: str, text: str, kind: Any) -> int | float:
    try:
        value: int | float = kind(text)
    except ValueError:
        raise SettingsError(f"{name}={text!r} is not a number.") from None
    if not 0 < value < float("inf"):
        raise SettingsError(f"{name}={text!r} must be positive.")
    if value < _LEAST.get(name, value):
        raise SettingsError(f"{name}={text!r} must be at least {_LEAST[name]}.")
    most = _MOST.get(name, _MOST_SECONDS if name.endswith("_S") else value)
    if value > most:
        raise SettingsError(f"{name}={text!r} must be at most {most}.")
    return value

"""Egress: HTTP requests to addresses that clients give, downloads and webhooks alike, safe from SSRF.

A host name is resolved once, every address is judged, and only a judged address is dialled: DNS rebinding gains
nothing. Each redirect is judged again.

    EgressError
    |-- AddressRefused      not an address that may be opened
    |-- EgressTimeout       the wall clock ran out
    |-- TooManyRedirects
    |-- BadCertificate      the host cannot prove its name
    `-- ConnectionBroken    the name leads to no public address, nobody answers, or the line broke off
"""

import http.client
import math
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote

import certifi
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    SSLError,
    TimeoutError,
)
from urllib3.util import Timeout
from urllib3.util.ssl_ import create_urllib3_context

from shared.domain.addresses import (
    HOST_REFUSED,
    HTTP_REFUSED,
    NAME_REFUSED,
    PORT_REFUSED,
    AddressRules,
    HttpUrl,
    InvalidAddress,
    is_literal,
)

#: Redirects that a GET may follow, and those that keep the method and the body of a POST.
GET_REDIRECTS = (301, 302, 303, 307, 308)
POST_REDIRECTS = (307, 308)
_CONNECT_TIMEOUT_S = 5.0
_RESOLVE_TIMEOUT_S = 5.0
#: Interim answers that may come before the real one: hosts send one or two.
_MOST_INTERIM = 32
_UNSEEN = "".join(map(chr, range(33)))
_SEEN = "".join(map(chr, range(33, 127)))
#: Characters that browsers do not write with % in a path and in a query (WHATWG URL, 1.3, for `http`).
_KEPT_IN_PATH = re.sub(r'["<>^`{}]', "", _SEEN)
_KEPT_IN_QUERY = re.sub(r"[\"<>']", "", _SEEN)
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")


class EgressError(Exception):
    """No exchange took place; the message is a sentence for the client who gave the address."""


class AddressRefused(EgressError):
    """Not an address that may be opened."""


class EgressTimeout(EgressError):
    """The exchange took too long."""

    def __init__(self) -> None:
        super().__init__("The address did not answer in time.")


class TooManyRedirects(EgressError):
    """The address redirects too often."""


class BadCertificate(EgressError):
    """TLS failed."""


class ConnectionBroken(EgressError):
    """No connection, or one that broke off: another try may fare better."""


def system_resolver(host: str) -> list[str]:
    """Resolve a host name to every address of it (DNS); raises OSError."""
    return [str(answer[4][0]) for answer in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


class Deadline:
    """Deadline of an exchange: shuts its sockets when time is up. A timeout per read never ends against slow bytes."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._connections: list[HTTPConnection] = []
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._shut)
        self._timer.daemon = True
        self._timer.start()

    @property
    def left_s(self) -> float:
        """Seconds left, never quite none, as timeouts want it."""
        return max(0.001, self._ends_at - time.monotonic())

    def check(self) -> None:
        """Raise EgressTimeout if time is up: a connection that was shut can look like a complete, empty answer."""
        if time.monotonic() >= self._ends_at:
            raise EgressTimeout

    def watch(self, connection: HTTPConnection) -> None:
        """Shut `connection` at the deadline, even if it is still connecting."""
        self._connections.append(connection)

    def watch_socket(self, connected: socket.socket) -> None:
        """Shut the connected socket at the deadline; a connection forgets its socket with its last answer."""
        self._sockets.append(connected)
        # Time may have run out when there was nothing to shut yet.
        self.check()

    def limit_silence(self, seconds: float) -> None:
        """Let the sockets wait no longer than `seconds` for their next byte."""
        for each in self._sockets:
            # Those of redirects are closed by now.
            with suppress(OSError):
                each.settimeout(min(seconds, self.left_s))

    def cancel(self) -> None:
        """Stop the clock."""
        self._timer.cancel()

    def _shut(self) -> None:
        pending = [connection.sock for connection in self._connections if connection.sock]
        for each in (*pending, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Answer:
    """Response: status and headers at once, the body as it is read."""

    def __init__(self, response: BaseHTTPResponse, deadline: Deadline) -> None:
        self._response = response
        self._deadline = deadline
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers

    @property
    def length(self) -> int | None:
        """Bytes that the body is said to have."""
        return self._response.length_remaining

    @property
    def retry_after_s(self) -> float:
        """Seconds of Retry-After, a number or a date (RFC 9110, 10.2.3); 0 if there is none."""
        text = self.headers.get("Retry-After", "").strip()
        if text.isdecimal():
            return float(text)
        with suppress(ValueError, TypeError, OverflowError):
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
        return 0.0

    def chunks(self, most: int, silence_s: float = math.inf) -> Iterator[bytes]:
        """Yield the raw body as it arrives, at most `most` bytes at a time; give up after `silence_s` without any.

        Raises
        ------
        EgressTimeout, ConnectionBroken
        """
        announced = self.length
        received = 0
        self._deadline.limit_silence(silence_s)
        with _translated(self._deadline):
            # read1 gives what is there; read would wait for a whole chunk, however slowly it drips.
            while chunk := self._response.read1(most):
                received += len(chunk)
                yield chunk
        if announced is not None and received < announced:
            raise ConnectionBroken("The connection broke off before everything had arrived.")

    def read(self, most: int) -> bytes:
        """Return the first bytes of the body, `most` of them or all."""
        found = b""
        for chunk in self.chunks(most):
            found += chunk
            if len(found) >= most:
                break
        return found[:most]


@dataclass(frozen=True, kw_only=True)
class Egress:
    """HTTP client for clients' addresses, as far as the rules allow.

    Parameters
    ----------
    rules : ports, and what may be opened beyond the public internet.
    ca_file : certificates that hosts are judged by.
    resolve : how names become addresses.
    """

    rules: AddressRules = field(default_factory=AddressRules)
    ca_file: str = field(default_factory=certifi.where)
    resolve: Callable[[str], list[str]] = system_resolver

    @contextmanager
    def request(
        self,
        method: str,
        url: HttpUrl,
        *,
        deadline_s: float,
        max_redirects: int,
        redirect_statuses: Collection[int],
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        https_only: bool = False,
    ) -> Iterator[Answer]:
        """Send a request and yield its answer, whatever its status; other redirects are answers too.

        The path and query are sent byte for byte, as a signature may cover them.
        The deadline is wall clock over everything: names, connections, redirects and the reading of the body.

        Raises
        ------
        EgressError
            Also while the answer is read.
        """
        deadline = Deadline(deadline_s)
        schemes = {"https"} if https_only else {"http", "https"}
        try:
            for _ in range(max_redirects + 1):
                self._require_allowed(url, schemes)
                with self._exchange(method, url, body, headers or {}, deadline) as answer:
                    if answer.status not in redirect_statuses:
                        yield answer
                        return deadline.check()
                    url = _redirect(url, answer.headers.get("Location"))
            raise TooManyRedirects(f"The address redirects more than {max_redirects} times.")
        finally:
            deadline.cancel()

    def _require_allowed(self, url: HttpUrl, schemes: Collection[str]) -> None:
        if url.scheme not in schemes:
            raise AddressRefused(HTTP_REFUSED)
        if not self.rules.allow_port(url.port):
            raise AddressRefused(PORT_REFUSED.format(url.port))

    def _resolved(self, host: str, deadline: Deadline) -> list[str]:
        """Return the addresses of `host`, every one of which was judged."""
        try:
            addresses = _within(min(_RESOLVE_TIMEOUT_S, deadline.left_s), self.resolve, host)
        except (OSError, UnicodeError):
            addresses = []
        if addresses and self.rules.allow(host, addresses):
            return addresses
        deadline.check()
        if is_literal(host):
            raise AddressRefused(HOST_REFUSED.format(host))
        # A name server that is away looks the same, so another try may fare better.
        raise ConnectionBroken(NAME_REFUSED.format(host))

    @contextmanager
    def _exchange(
        self, method: str, url: HttpUrl, body: bytes | None, headers: Mapping[str, str], deadline: Deadline
    ) -> Iterator[Answer]:
        sent = {"Accept-Encoding": "identity", "User-Agent": "Timbre", **headers, "Host": url.authority}
        with _translated(deadline):
            response = self._send(method, url, body, sent, deadline)
        try:
            deadline.check()
            yield Answer(response, deadline)
        finally:
            response.close()

    def _send(
        self, method: str, url: HttpUrl, body: bytes | None, headers: Mapping[str, str], deadline: Deadline
    ) -> BaseHTTPResponse:
        """Send to the first of the host's addresses that takes a connection."""
        addresses = self._resolved(url.host, deadline)
        for more, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            try:
                return self._pool(url, address, deadline).urlopen(
                    method,
                    "/",  # the connection itself sends the target
                    body=body,
                    headers=headers,
                    redirect=False,
                    retries=False,
                    preload_content=False,
                    decode_content=False,
                    timeout=Timeout(connect=min(_CONNECT_TIMEOUT_S, deadline.left_s), read=deadline.left_s),
                )
            except (NewConnectionError, ConnectTimeoutError):
                if not more:
                    raise
        raise AssertionError("a host has an address")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """TLS context of all exchanges: to read the certificates takes 33 ms of processor and 0.4 MB."""
        context = create_urllib3_context()
        context.load_verify_locations(self.ca_file)
        return context

    def _pool(self, url: HttpUrl, address: str, deadline: Deadline) -> HTTPConnectionPool:
        pool: HTTPConnectionPool
        if url.scheme == "http":
            pool = HTTPConnectionPool(address, url.port)
        else:
            # Certificates know no dot at a name's end.
            host = url.host.rstrip(".")
            pool = HTTPSConnectionPool(
                address, url.port, server_hostname=host, assert_hostname=host, ssl_context=self._tls
            )
        pool.ConnectionCls = _connection(pool.ConnectionCls, url.target, deadline)
        return pool


def _redirect(current: HttpUrl, location: str | None) -> HttpUrl:
    if not location:
        raise ConnectionBroken("The address redirects without saying where to.")
    try:
        url = HttpUrl.parse(_absolute(current, _encoded(location)))
    except (InvalidAddress, ValueError):
        raise AddressRefused("The address redirects to something that is not a URL.") from None
    if current.scheme == "https" and url.scheme != "https":
        raise AddressRefused("The address redirects from https to something less safe.")
    return url


def _encoded(location: str) -> str:
    """Write a Location as browsers do (WHATWG URL, 4.4), its fragment left out; http.client reads bytes as Latin-1."""
    text = re.sub(r"[\t\r\n]", "", location).strip(_UNSEEN).partition("#")[0]
    path, mark, query = text.partition("?")
    return quote(path.encode("latin-1"), _KEPT_IN_PATH) + mark + quote(query.encode("latin-1"), _KEPT_IN_QUERY)


def _absolute(current: HttpUrl, reference: str) -> str:
    """Resolve a Location (RFC 3986, 5.2).

    One that names a host keeps its dot segments, as with `curl --path-as-is`: it may be signed, and S3 keys may have
    such segments. In one that names only a path they are resolved, as browsers and curl do. Empty segments always stay.
    """
    path, mark, query = reference.partition("?")
    if _SCHEME.match(path):
        return reference
    if path.startswith("//"):
        return f"{current.scheme}:{reference}"
    base = f"{current.scheme}://{current.authority}"
    own_path, own_mark, own_query = current.target.partition("?")
    if not path:
        return base + own_path + (mark + query or own_mark + own_query)
    folder = "" if path.startswith("/") else own_path.rpartition("/")[0] + "/"
    return base + _without_dots(folder + path) + mark + query


def _without_dots(path: str) -> str:
    """Remove the dot segments of an absolute path (RFC 3986, 5.2.4), those written with %2e too (WHATWG URL, 4.4)."""
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        plain = segment.lower().replace("%2e", ".")
        if plain == "..":
            del kept[-1:]
        elif plain != ".":
            kept.append(segment)
    if plain in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _within(seconds: float, function: Callable[[str], list[str]], argument: str) -> list[str]:
    """Call `function(argument)` in a thread, with a timeout that name resolution lacks; raises OSError."""
    answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(function(argument))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        return []
    if isinstance(answer, Exception):
        raise answer
    return answer


@contextmanager
def _translated(deadline: Deadline) -> Iterator[None]:
    """Translate urllib3's errors to ours, without their texts, which may hold the address with its query."""
    try:
        yield
    except (HTTPError, OSError) as error:
        deadline.check()
        raise _error(error) from None
    deadline.check()


def _error(error: Exception) -> EgressError:
    if isinstance(error, SSLError | ssl.SSLError):
        return BadCertificate("The host of the address does not show a valid certificate.")
    if isinstance(error, TimeoutError) and not isinstance(error, ConnectTimeoutError):
        return EgressTimeout()
    return ConnectionBroken("The connection to the address failed or broke off.")


class _FinalResponse(http.client.HTTPResponse):
    """Response after the interim ones (RFC 9110, 15.2); http.client itself skips only 100, any number of them."""

    chunk_left: int | None

    def begin(self) -> None:
        super().begin()
        codings = [word.strip().lower() for word in (self.getheader("Transfer-Encoding") or "").split(",")]
        # http.client knows `chunked` only where it stands alone.
        if "chunked" in codings and not self.chunked:
            self.chunked = True
            self.chunk_left = None
            self.length = None

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MOST_INTERIM + 1):
            found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if not 100 <= found[1] < 200 or found[1] == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return found
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException


def _connection(cls: Any, target: str, deadline: Deadline) -> type[HTTPConnection] | type[HTTPSConnection]:
    class Connection(cls):
        response_class = _FinalResponse

        def connect(self) -> None:
            deadline.watch(self)
            super().connect()
            deadline.watch_socket(self.sock)

        def putrequest(self, method: str, _url: str, **options: bool) -> None:
            # A pool would write `%2f` as `%2F` and `|` as `%7C`: another object, under a signature.
            super().putrequest(method, target, **options)

    return Connection

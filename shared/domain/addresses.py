"""Addresses that clients give: parsed, and judged by rules before anything is opened."""

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.domain.errors import SettingsError

#: Refusals of an address: its host, its port, and http for a webhook.
HOST_REFUSED = (
    "The host of the address, {}, is not on the public internet; the setting TIMBRE_ALLOWED_HOSTS can allow it."
)
#: Of a name, one sentence whether it leads to a private address or nowhere: names of an inner network stay its own.
NAME_REFUSED = (
    "The host of the address, {}, leads to no address on the public internet; check the name. "
    "The setting TIMBRE_ALLOWED_HOSTS can allow private ones."
)
PORT_REFUSED = "Port {} is not allowed in an address; the setting TIMBRE_ALLOWED_PORTS can allow it."
HTTP_REFUSED = "The address must be https://; the setting TIMBRE_ALLOW_HTTP_WEBHOOKS allows http:// for webhooks."
_PORTS = {"http": 80, "https": 443}
_LONGEST_URL = 8192
#: ASCII that can be seen, less the backslash.
_PLAIN = re.compile(r"[!-\[\]-~]+")
#: A host and a port; urlsplit takes any letters for them.
_AUTHORITY = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d+)?", re.ASCII)

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: IPv6 networks whose low 32 bits are an IPv4 address that a router may act on: NAT64 (RFC 6052), v4-compatible
#: (RFC 4291, 2.5.5.1) and SIIT (RFC 7915). `ipaddress` knows of mapped, 6to4 and Teredo addresses itself.
_EMBEDDING = [ipaddress.IPv6Network(n) for n in ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")]
#: What some Python that we run on takes for global and IANA's registries of special addresses do not: protocol
#: assignments, relays of 6to4, NAT64 prefixes of one's own choice, documentation, segment routing, site-local.
_NOT_GLOBAL = [
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "3fff::/20", "5f00::/16", "fec0::/10")
]


class InvalidAddress(ValueError):
    """A text is not an address of the kind that is wanted; the message is a sentence for its sender."""


@dataclass(frozen=True, repr=False)
class HttpUrl:
    """Absolute http(s) URL (RFC 3986) in ASCII without user name or password, parsed once.

    Printed, it never shows its query or fragment: the query of a presigned address is its authorization, so it must
    not reach logs, messages or tracebacks.
    """

    #: The whole URL as it was given.
    text: str
    scheme: str
    #: Lower case, IPv6 without brackets.
    host: str
    port: int
    #: Path and query as they were given, dot segments too: a signature may cover them.
    target: str

    @classmethod
    def parse(cls, text: str) -> "HttpUrl":
        """Parse an URL.

        Raises
        ------
        InvalidAddress
        """
        # Parsers disagree about blanks, control characters and backslashes: one might judge another host than is meant.
        if len(text) > _LONGEST_URL or not _PLAIN.fullmatch(text):
            raise InvalidAddress("The address is not a valid URL.")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise InvalidAddress("The address is not a valid URL.") from None
        if parts.scheme not in _PORTS or not _AUTHORITY.fullmatch(parts.netloc) or port == 0:
            raise InvalidAddress("The address must be http:// or https://, without user name or password.")
        query = text.partition("#")[0].partition("?")
        return cls(
            text=text,
            scheme=parts.scheme,
            host=str(parts.hostname),
            port=port or _PORTS[parts.scheme],
            target=(parts.path or "/") + query[1] + query[2],
        )

    @property
    def authority(self) -> str:
        """Host and, unless it is the scheme's own, port: the Host header (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def receiver(self) -> str:
        """Host and port in one spelling, so that the same receiver is always known as the same."""
        return f"{self.host.rstrip('.')}:{self.port}"

    def __str__(self) -> str:
        path, cut, _ = self.text.partition("#")[0].partition("?")
        return f"{path}?..." if cut or path != self.text else path

    def __repr__(self) -> str:
        return f"HttpUrl({self})"


@dataclass(frozen=True)
class AddressRules:
    """Rules for clients' addresses: public ones at some ports, and those that an operator lists."""

    ports: tuple[range, ...] = (range(80, 81), range(443, 444))
    #: Names that may resolve to anything.
    hosts: frozenset[str] = frozenset()
    #: Networks that may be opened although they are private.
    networks: tuple[_Network, ...] = ()

    @classmethod
    def parse(cls, ports: str, allowed: str | None) -> "AddressRules":
        """Read the rules as settings write them: `80,443,9000-9010` and `storage.lan,10.1.0.0/16`.

        Raises
        ------
        SettingsError
        """
        entries = [entry.strip().lower() for entry in (allowed or "").split(",") if entry.strip()]
        networks = {entry: _network(entry) for entry in entries}
        return cls(
            tuple(_ports(part) for part in ports.split(",")),
            frozenset(entry for entry, network in networks.items() if network is None),
            tuple(network for network in networks.values() if network is not None),
        )

    def allow_port(self, port: int) -> bool:
        """Say whether `port` may be opened."""
        return any(port in ports for ports in self.ports)

    def allow(self, host: str, addresses: Iterable[str]) -> bool:
        """Say whether `host` may be opened, given every address that it resolves to."""
        return host.lower().rstrip(".") in self.hosts or all(
            is_public(address) or self._are_listed(_with_embedded(address)) for address in addresses
        )

    def _are_listed(self, addresses: Iterable[_Ip]) -> bool:
        return all(any(address in network for network in self.networks) for address in addresses)


def is_public(address: str) -> bool:
    """Say whether `address` is on the public internet, and so is every IPv4 address hidden in it."""
    return all(
        each.is_global and not each.is_multicast and not any(each in network for network in _NOT_GLOBAL)
        for each in _with_embedded(address)
    )


def is_literal(host: str) -> bool:
    """Say whether `host` is an address itself, in any spelling, or `localhost` (RFC 6761, 6.3): no name to look up."""
    name = host.rstrip(".")
    try:
        # It knows 127.1 and 0x7f000001 too.
        socket.inet_aton(name)
    except OSError:
        return ":" in name or name == "localhost" or name.endswith(".localhost")
    return True


def _with_embedded(address: str) -> list[_Ip]:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address) or ip.is_loopback:
        return [ip]
    found: list[_Ip | None] = [ip, ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    found += [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) for network in _EMBEDDING if ip in network]
    return [each for each in found if each is not None]


def _network(entry: str) -> _Network | None:
    try:
        return ipaddress.ip_network(entry)
    except ValueError as error:
        if "/" in entry or ":" in entry:
            raise SettingsError(f"{entry!r} is neither a host name nor a network: {error}.") from None
        return None


def _ports(part: str) -> range:
    first, _, last = part.strip().partition("-")
    try:
        found = range(int(first), int(last or first) + 1)
    except ValueError:
        found = range(0)
    if not found or found.start < 1 or found.stop > 65_536:
        raise SettingsError(f"{part!r} is neither a port nor a range of ports.")
    return found

"""Which addresses may be opened on a client's behalf."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from shared.domain.errors import SettingsError

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


class SafeUrl(str):
    """An address that a client gave: it is the whole address, but printed it never shows its query or fragment.

    The query of a presigned address is its authorization, so it must not reach logs, messages or tracebacks.
    """

    __slots__ = ()

    def __str__(self) -> str:
        """Return the address without what may authorize."""
        plain = self[:]
        cut = re.split("[?#]", plain, maxsplit=1)[0]
        return cut if cut == plain else f"{cut}?..."

    def __repr__(self) -> str:
        return repr(str(self))

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


@dataclass(frozen=True)
class AddressRules:
    """What may be opened: public addresses at some ports, and beyond them what an operator lists."""

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
        return host.lower().rstrip(".") in self.hosts or all(map(self._allow_address, addresses))

    def _allow_address(self, address: str) -> bool:
        return is_public(address) or all(map(self._is_listed, _with_embedded(address)))

    def _is_listed(self, ip: _Ip) -> bool:
        return any(ip in network for network in self.networks)


def is_public(address: str) -> bool:
    """Say whether `address` is on the public internet, and so is every IPv4 address hidden in it."""
    return all(
        each.is_global and not each.is_multicast and not any(each in network for network in _NOT_GLOBAL)
        for each in _with_embedded(address)
    )


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

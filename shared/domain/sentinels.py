"""Address of a Redis whose primary Sentinels tell: `sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/DB?master=NAME`."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from shared.domain.errors import SettingsError

_FORM = re.compile(r"(?P<scheme>sentinels?)://((?P<user>[^@]*)@)?(?P<hosts>[^/?@]*)(/(?P<db>[^?]*))?(\?(?P<query>.*))?")
_HOST = re.compile(r"(?P<host>[\w.-]+|\[[0-9a-fA-F:.]+\])(:(?P<port>\d{1,5}))?", re.ASCII)
_PORT = 26379
_OWN = ("master", "sentinel_username", "sentinel_password")


def names_sentinels(url: str) -> bool:
    """Return True for an address that `Sentinels` reads."""
    return url.startswith(("sentinel://", "sentinels://"))


@dataclass(frozen=True, repr=False)
class Sentinels:
    """Sentinels to ask, and what to tell the primary; never printed, since it holds passwords."""

    hosts: tuple[tuple[str, int], ...]
    #: Name of the primary, as the Sentinels know it.
    master: str
    #: User name and password of the Sentinels themselves; they need none by default.
    username: str | None
    password: str | None
    #: Address of the primary, but for its host: user name, password, TLS and number of the database are its own.
    primary_url: str

    @classmethod
    def parse(cls, url: str) -> "Sentinels":
        """Read an address; the Sentinels of `sentinels://`, and their primary, are spoken to over TLS.

        Raises
        ------
        SettingsError
            The message shows nothing of the address, which may hold a password.
        """
        found = _FORM.fullmatch(url)
        hosts = [_HOST.fullmatch(host.strip()) for host in found["hosts"].split(",")] if found else [None]
        if not found or not all(host and 0 < int(host["port"] or _PORT) < 65536 for host in hosts):
            raise SettingsError("its Sentinels must be HOST or HOST:PORT with commas between, a port from 1 to 65535.")
        query = dict(parse_qsl(found["query"] or ""))
        own = {name: query.pop(name, None) for name in _OWN}
        _check(found["scheme"], own["master"], found["db"], query)
        return cls(
            hosts=tuple((host["host"].strip("[]"), int(host["port"] or _PORT)) for host in hosts if host),
            master=str(own["master"]),
            username=own["sentinel_username"],
            password=own["sentinel_password"],
            primary_url=_primary(found["scheme"], found["user"], found["db"], query),
        )


def _check(scheme: str, master: str | None, db: str | None, query: dict[str, str]) -> None:
    if not master:
        raise SettingsError(
            "it must name the primary as its Sentinels do: sentinel://HOST:26379,HOST:26379/0?master=NAME."
        )
    if not re.fullmatch(r"\d*", db or ""):
        raise SettingsError("the path behind its Sentinels must be the number of a database, /0 say.")
    if not all(name.startswith("ssl_") for name in query):
        # Its name may be a part of a password.
        raise SettingsError(f"its options may be {', '.join(_OWN)} and ssl_...; percent-encode & in a password as %26.")
    if query and scheme != "sentinels":
        raise SettingsError("its options ssl_... are for sentinels://, which speaks TLS.")


def _primary(scheme: str, user: str | None, db: str | None, query: dict[str, str]) -> str:
    redis = "rediss" if scheme == "sentinels" else "redis"
    return f"{redis}://{user + '@' if user else ''}primary/{db or 0}{'?' + urlencode(query) if query else ''}"

"""Signed addresses of uploads in the local media store, which the API serves itself."""

import re
from collections.abc import Callable
from ipaddress import ip_address

from flask import request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from api.errors import InvalidRequest
from shared.domain.errors import NotFound
from shared.domain.media import ADDRESS_LIFE_S


class ServedAddresses:
    """`MediaAddresses` that the API serves itself, valid while their client `may_call`.

    Without a `public_url` they lead to the host of the request, if that is loopback or the one of `bind`.
    """

    def __init__(self, secret: bytes, public_url: str | None, bind: str, may_call: Callable[[str], bool]) -> None:
        self._signer = URLSafeTimedSerializer(secret, salt="media")
        self._public_url = public_url
        self._bound_host = _without_port(bind)
        self._may_call = may_call

    def put_address(self, client_id: str, key: str) -> str:
        """Return the address to PUT the upload to."""
        return self._address("upload", client_id, key)

    def get_address(self, client_id: str, key: str) -> str:
        """Return the address to GET the upload from."""
        return self._address("download", client_id, key)

    def read(self, purpose: str, token: str) -> tuple[str, str]:
        """Return the client's id and the upload's key that an address was signed for.

        Raises
        ------
        NotFound
            The address is forged, expired, made for another purpose, or its client was revoked.
        """
        try:
            signed_for, client_id, key = self._signer.loads(token, max_age=ADDRESS_LIFE_S)
        except (BadSignature, ValueError):
            signed_for = client_id = key = ""
        if signed_for != purpose or not self._may_call(client_id):
            raise NotFound(
                "This address is not valid, or no longer; ask POST /v1/media/input or /v1/media/output again."
            )
        return client_id, key

    def _address(self, purpose: str, client_id: str, key: str) -> str:
        base = (self._public_url or self._called_url()).rstrip("/")
        return f"{base}/v1/media/{purpose}/{self._signer.dumps([purpose, client_id, key])}"

    def _called_url(self) -> str:
        """Return the URL that the request was sent to, if that is surely the API's own."""
        host = _without_port(request.host)
        if host != self._bound_host and not _is_loopback(host):
            raise InvalidRequest(
                ("Host", "The service does not know this host as its own; its operator sets TIMBRE_PUBLIC_URL.")
            )
        return request.host_url


def _without_port(address: str) -> str:
    return re.sub(r":\d+$", "", address).strip("[]").lower()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

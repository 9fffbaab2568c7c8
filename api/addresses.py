"""Signed addresses of uploads in the local media store, which the API serves itself."""

from collections.abc import Callable

from flask import request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from api.errors import InvalidRequest
from shared.domain.errors import NotFound
from shared.domain.media import ADDRESS_LIFE_S


class ServedAddresses:
    """`MediaAddresses` that the API serves itself, valid while their client `may_call`."""

    def __init__(self, secret: bytes, public_url: str | None, may_call: Callable[[str], bool]) -> None:
        self._signer = URLSafeTimedSerializer(secret, salt="media")
        self._public_url = public_url
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
        if not self._public_url and not request.host:
            raise InvalidRequest(("Host", "The request does not say where it was sent to."))
        base = self._public_url or request.host_url
        return f"{base.rstrip('/')}/v1/media/{purpose}/{self._signer.dumps([purpose, client_id, key])}"

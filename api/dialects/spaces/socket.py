"""Socket of the spaces API: an opening, a recording in binary messages, `close`; then the verification is told."""

import re
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from api.dialects.spaces.context import own, read, reference, submission
from api.dialects.spaces.receiving import MAX_BODY_BYTES
from api.dialects.spaces.requests import IdentityOpening, Opening
from api.dialects.spaces.sessions import Sessions
from api.errors import STATUS, InvalidRequest, RateLimited, Unauthorized
from api.errors import headers as headers_of
from api.large_bodies import discard
from api.services import Services
from api.sockets import Recording, Socket, Stopped, parsed
from shared.dialects import spaces
from shared.domain.commands import VerifyIdentity
from shared.domain.errors import RequestError, TimbreError
from shared.domain.identities import Actor, Enrolment, NewVerification, Space, VerificationMode
from shared.domain.jobs import new_job_id
from shared.domain.keys import Client
from shared.domain.media import job_upload
from shared.domain.sources import MediaUrl

#: Seconds in which the last message must come.
RECORDING_S = 300.0
#: Seconds that a client waits for the result; then it is told that the verification goes on.
_VERIFY_S = 60.0
_PATH = re.compile(r"(?:/audiointel/(?:us|eu))?/v1/spaces/([^/]+)/([^/]+)/verify/(identity|authenticity)")
_RULE = "/v1/spaces/<owner>/<space>/verify/<kind>"
_CLOSE = "close"


class SpacesDoor:
    """Paths of the spaces API that verify a recording.

    Parameters
    ----------
    recording_s : seconds in which the last message must come.
    """

    def __init__(self, services: Services, recording_s: float = RECORDING_S) -> None:
        self._services = services
        self._sessions = Sessions(services.clients, services.settings.secret_bytes())
        self._recording_s = recording_s

    def leads(self, _path: str) -> bool:
        """Tell that every path is one of this API, be there something or not."""
        return True

    def rule(self, path: str) -> str | None:
        """Return the rule that a path matches."""
        return _RULE if _PATH.fullmatch(path) else None

    def admit(self, target: str, authorization: str) -> "SpacesGuest":
        """Return the client of an API key or token; raises Unauthorized, RateLimited, NotFound."""
        client = self._client(authorization)
        found = _PATH.fullmatch(unquote(urlsplit(target).path))
        owner, space, kind = found.groups() if found else ("", "", "")
        own(client, owner)
        by = Actor(client_id=client.id, key_id=client.key_id)
        in_space = self._services.identities.space(by, reference(space))
        return SpacesGuest(self._services, client, in_space, kind, self._recording_s)

    def _client(self, authorization: str) -> Client:
        scheme, _, token = authorization.partition(" ")
        client = self._sessions.client(token.strip()) if scheme.lower() == "bearer" else None
        if client is None:
            raise Unauthorized("Send a valid API key: 'Authorization: Bearer sk_...'.")
        passed, standing = self._services.rates.count(client.id, "POST", "stream")
        if not passed:
            raise RateLimited(f"Too many sockets in a minute; try again in {standing.reset_s} s.")
        return client

    def refusal(self, error: TimbreError) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Return status, body and headers of a refusal."""
        status, more = (STATUS[type(error)], headers_of(error)) if isinstance(error, RequestError) else (500, {})
        return status, spaces.error(error, str(uuid.uuid4())), more


@dataclass(frozen=True)
class SpacesGuest:
    """Client of a socket, with the space and the kind of verification that its path names."""

    services: Services
    client: Client
    space: Space
    kind: str
    recording_s: float

    @property
    def client_id(self) -> str:
        """Id of the client."""
        return self.client.id

    @property
    def _actor(self) -> Actor:
        return Actor(client_id=self.client.id, key_id=self.client.key_id, request_id=str(uuid.uuid4()))

    def told(self, error: TimbreError | Stopped) -> dict[str, Any] | None:
        """Return the message of an error; the end of the process is told by the code 1001 alone."""
        if isinstance(error, Stopped):
            return None
        return {"type": "error", "code": error.code, "message": str(error)}

    async def converse(self, socket: Socket) -> dict[str, Any]:
        """Return the verification of the recording that comes over a socket."""
        socket.claim(self.client.id)
        socket.allow(self.recording_s)
        is_of_identity = self.kind == "identity"
        opening = read(IdentityOpening if is_of_identity else Opening, parsed(await socket.receive()))
        return await (self._identity if is_of_identity else self._authenticity)(socket, opening)

    async def _identity(self, socket: Socket, opening: dict[str, Any]) -> dict[str, Any]:
        enrolment = await socket.threads.short(self._enrolment, opening)
        recording = Recording(self.services.settings.data_dir / "scratch", MAX_BODY_BYTES, socket.threads)
        try:
            _require_close(await socket.record(recording))
            return await socket.threads.wait(self.client.id, self._verified, enrolment, recording)
        finally:
            recording.close()

    def _enrolment(self, opening: dict[str, Any]) -> Enrolment:
        identity = self.services.identities.identity(self.space, reference(opening["identity"]))
        return self.services.verifications.comparable(identity, reference(opening["voiceprint"]))

    def _verified(self, enrolment: Enrolment, recording: Recording) -> dict[str, Any]:
        self.services.name_in_metrics(self.client)
        new_id = new_job_id()
        key = job_upload(new_id)
        new = NewVerification(id=new_id, enrolment_id=enrolment.id, mode=VerificationMode.WEBSOCKET)
        command = VerifyIdentity(verification=new_id, source=MediaUrl(key))
        self.services.jobs.save_media(self.client.id, key, recording.pieces(), recording.size)
        try:
            asked = submission(command, self.client.weight)
            self.services.verifications.verify(self._actor, self.space, enrolment, new, asked)
            return self._result(new_id)
        finally:
            self._drop(new_id)

    def _result(self, verification_id: str) -> dict[str, Any]:
        self.services.jobs.wait(self.client.id, verification_id, _VERIFY_S)
        found = self.services.verifications.verification(self.space, verification_id)
        body = spaces.VerificationBody().dump(found)
        if body["state"] == "error" and found.failure is not None:
            failure = found.failure
            return {"type": "error", "code": failure.code, "message": failure.message, "verification": body}
        return {"type": "verification", "verification": {**body, "chunks": []}}

    def _drop(self, job_id: str) -> None:
        job = self.services.jobs.peek(self.client.id, job_id)
        if job is None or job.status.terminal:
            discard(self.services.jobs, self.client.id, job_id)

    async def _authenticity(self, socket: Socket, opening: dict[str, Any]) -> dict[str, Any]:
        _require_close(await socket.skip(MAX_BODY_BYTES))
        unknown: dict[str, Any] = {
            "state": "performedWithoutScore",
            "duration": None,
            "voiceDuration": None,
            "chunks": [],
        }
        body = {"model": opening.get("model"), "mode": "websocket", **unknown, "scores": spaces.scores()}
        return {"type": "verification", "verification": body}


def _require_close(message: str) -> None:
    found = parsed(message)
    if not isinstance(found, dict) or found.get("type") != _CLOSE:
        raise InvalidRequest(("type", "Send the recording in binary messages, and then {'type': 'close'}."))

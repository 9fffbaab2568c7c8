"""Socket of a call: a WAV file in binary messages, the event `audio_sent`, and one event as the answer."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from api.counts import code_of, count_refused
from api.dialects.voisentry import tickets
from api.dialects.voisentry.calls import WAIT_S, Call, check, perform, refusal, refusing
from api.errors import RequestTimeout, RequestTooLarge
from api.services import Services
from api.sockets import Recording, Socket, Stopped, parsed
from shared.dialects import voisentry
from shared.dialects.voisentry import NO_SOURCES, Operation, Refused, SocketCode, bad_request
from shared.domain.errors import NotFound, RequestError, TimbreError
from shared.domain.media import job_upload
from shared.domain.sources import MediaUrl

#: Largest recording in bytes.
MAX_BYTES = 12 * 1024 * 1024
#: Seconds of a whole call, and those of them that are kept for the result.
CALL_S = 120.0
_RESULT_S = 50.0
_PATH = re.compile(r"/wss/(register|update|verify)")
_RULE = "/wss/<operation>"
_SENT = "audio_sent"
_STOPPED = "The service is about to be stopped; try again in a few seconds."


class VoisentryDoor:
    """Paths of sockets that tickets are good for.

    Parameters
    ----------
    sending_s : seconds in which `audio_sent` must come.
    """

    def __init__(self, services: Services, sending_s: float = CALL_S - _RESULT_S) -> None:
        self._services = services
        self._sending_s = sending_s

    def leads(self, path: str) -> bool:
        """Tell whether a path is one of a socket."""
        return path.startswith("/wss/")

    def rule(self, path: str) -> str | None:
        """Return the rule that a path matches."""
        return _RULE if _PATH.fullmatch(path) else None

    def admit(self, target: str, _authorization: str) -> "VoisentryGuest":
        """Return the client of a ticket, of which nobody knows yet if it is good.

        Clients of this vendor know the event `reject`, and see no answer to a handshake that fails. So the ticket is
        redeemed once the socket is open.
        """
        address = urlsplit(target)
        found = _PATH.fullmatch(address.path)
        if found is None:
            raise NotFound("There is no such socket; call GET register, update or verify for the url of one.")
        token = parse_qs(address.query).get("auth_token", [""])[0]
        return VoisentryGuest(self._services, Operation(found[1]), token, self._sending_s)

    def refusal(self, error: TimbreError) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Return status, body and headers of a refusal."""
        refused = Refused(404, str(error)) if isinstance(error, NotFound) else _refused(error)
        now = datetime.now(UTC)
        more = {"Retry-After": str(refused.retry_after_s)} if refused.retry_after_s else {}
        return refused.status, voisentry.error(refused, "/wss", now, now), more


@dataclass(frozen=True, repr=False)
class VoisentryGuest:
    """Client of a socket, with the ticket that its address holds."""

    services: Services
    operation: Operation
    token: str
    sending_s: float
    client_id: None = None

    def told(self, error: TimbreError | Stopped) -> dict[str, Any]:
        """Return the event `reject` for an error, or for the end of the process."""
        return self._rejected(_refused(error))

    def _rejected(self, refused: Refused) -> dict[str, Any]:
        return voisentry.reject(refused, self.operation)

    async def converse(self, socket: Socket) -> dict[str, Any]:
        """Return the event that ends the call."""
        socket.allow(self.sending_s)
        try:
            call = await socket.threads.short(self._redeemed)
            socket.claim(call.client.id)
            return await self._answer(call, socket)
        except Refused as refused:
            count_refused(refused.cause or code_of(refused.status), _RULE)
            return self._rejected(refused)

    def _redeemed(self) -> Call:
        """Return the call of the ticket; a user that is there already, or is not, needs send nothing."""
        with refusing():
            call = tickets.redeem(self.services, self.operation, self.token)
            check(self.services, call)
        return call

    async def _answer(self, call: Call, socket: Socket) -> dict[str, Any]:
        recording = Recording(self.services.settings.data_dir / "scratch", MAX_BYTES, socket.threads)
        try:
            _require_sent(await socket.record(recording))
            return await socket.threads.wait(call.client.id, self._event, call, recording)
        finally:
            recording.close()

    def _event(self, call: Call, recording: Recording) -> dict[str, Any]:
        """Return the event of a call whose recording is whole."""
        self.services.name_in_metrics(call.client)
        if not recording.size:
            raise Refused(400, NO_SOURCES, SocketCode.AUDIO)
        jobs = self.services.jobs
        key = job_upload(call.job_id)
        with refusing():
            jobs.save_media(call.client.id, key, recording.pieces(), recording.size)
        outcome = perform(
            self.services, call, [MediaUrl(key)], lambda client_id, job_id: jobs.wait(client_id, job_id, WAIT_S)
        )
        return {
            "event": call.operation.value,
            "transaction_id": call.transaction_id,
            "user_id": call.user_id,
            **outcome.found,
        }


def _require_sent(message: str) -> None:
    found = parsed(message)
    if not isinstance(found, dict) or found.get("event") != _SENT:
        raise bad_request('send the WAV file in binary messages, and then {"event": "audio_sent"}')


def _refused(error: TimbreError | Stopped) -> Refused:
    """Return the refusal for an error of the conversation."""
    if isinstance(error, Stopped):
        return Refused(503, _STOPPED, SocketCode.EXCEPTION)
    if isinstance(error, RequestTimeout):
        return Refused(408, str(error), SocketCode.EXCEPTION)
    if isinstance(error, RequestTooLarge):
        return Refused(413, str(error), SocketCode.AUDIO)
    return refusal(error) if isinstance(error, RequestError) else Refused(500, str(error), SocketCode.EXCEPTION)

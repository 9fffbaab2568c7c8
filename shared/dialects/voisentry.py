"""Wire form of voice biometrics users: parameters, answers, errors, socket events, and the map of confidence."""

import json
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from shared.domain.identities import is_handle

#: Most recordings of one call.
MOST_SOURCES = 12
#: Range of the sensitivity, both ways.
MOST_SENSITIVITY = 10.0
#: Texts of refusals, as the vendor prints them.
TOO_LITTLE_SPEECH = "Insufficient speaker observations in the audio source"
DOWNLOAD_FAILED = "Exception downloading audio."
TOO_MANY_SOURCES = f"More than {MOST_SOURCES} audio sources were supplied."
NO_SOURCES = "No audio sources found in the request."
NO_VALID_SOURCES = "No valid files to read."
ONE_SOURCE = "Only one audio source can be submitted in text dependent mode."
URL_ON_PUT = "wav_file_url not support for PUT, use POST instead."
#: Log-likelihood ratio that one step of the sensitivity is worth: ten of them ask for odds of 99 to 1.
_LLR_OF_A_STEP = math.log(99) / MOST_SENSITIVITY
#: Log-likelihood ratio that a confidence of one is worth, and the range that is told.
_LLR_OF_ONE = 8.0
_CONFIDENCES = (0.0, 2.5)
_MOST_USER_ID_LENGTH = 126
_USER_ID = re.compile(rf"[A-Za-z0-9.-]{{1,{_MOST_USER_ID_LENGTH}}}")
#: The on-premise form sends names of users of an identity platform.
_ENROL_ID = re.compile(rf"[A-Za-z0-9._@-]{{1,{_MOST_USER_ID_LENGTH}}}")
#: Neither holds a plus.
_ESCAPE = "u+"
_INSTANCE_ID = re.compile(r"vb-[0-9a-f]{20}\.\d{6}")
#: Statuses of the on-premise form, by the codes of sockets, and those of HTTP that it has too.
_NODE_STATUSES = {51: 435, 52: 445}
_KEPT_BY_NODES = (405, 429, 503)
_PATHS = re.compile(r"/(?:voice_biometrics|voisentry|application_status)(?:/|$)")
_NODE = "/voisentry/"
#: Statuses that are faults of a recording.
_OF_AUDIO = (413, 415)
_BOOLEANS = {"true": True, "false": False}
_LONGEST_ECHO = 40
_LINK = "https://www.aculab.com/cloud/web-services/voice-biometrics/users?target=service_action_tabs&tab-id="


class Operation(StrEnum):
    """Operation that takes recordings."""

    REGISTER = "register"
    UPDATE = "update"
    VERIFY = "verify"


class SocketCode:
    """Codes of the event `reject`."""

    BAD_REQUEST = 50
    AUDIO = 51
    SPEECH = 52
    EXCEPTION = 60
    DISABLED = 61


#: Reasons of the event `reject`; the vendor prints the first one.
_REASONS = {
    SocketCode.BAD_REQUEST: "Bad Request",
    SocketCode.AUDIO: "Audio Error",
    SocketCode.SPEECH: "Insufficient Speech",
    SocketCode.EXCEPTION: "Exception",
    SocketCode.DISABLED: "Service Disabled",
}


@dataclass(eq=False)
class Refused(Exception):
    """Refusal of a call, in the vendor's terms."""

    #: Status of HTTP.
    status: int
    #: Sentence for the client, as the vendor words it where it does.
    text: str
    socket_code: int = SocketCode.BAD_REQUEST
    #: Code of the vendor's engine, in place of `HTTP 400` and the like.
    engine_code: str | None = None
    #: Seconds after which to try again; None where that does not help.
    retry_after_s: int | None = None
    #: Code of the error of Timbre that it tells of; empty where the vendor alone knows it.
    cause: str = ""

    @property
    def code(self) -> str:
        """Code of the error object."""
        return self.engine_code or f"HTTP {self.status}"

    @property
    def told(self) -> str:
        """Text of the error object."""
        return f"Bad Request: {self.text}" if self.code == "HTTP 400" else self.text


def refused(status: int, text: str) -> Refused:
    """Return the refusal for a status of HTTP."""
    if status in _OF_AUDIO:
        return Refused(status, text, SocketCode.AUDIO)
    return Refused(status, text, SocketCode.EXCEPTION if status >= 500 else SocketCode.BAD_REQUEST)


def bad_request(text: str) -> Refused:
    """Return the refusal of a request that can never succeed."""
    return Refused(400, text)


def not_registered(user_id: str) -> Refused:
    """Return the refusal to tell of a user, or delete one, that is not there."""
    return Refused(404, f"Not found: user Id {user_id} is not a registered user.")


def already_present(user_id: str) -> Refused:
    """Return the refusal to register a user again."""
    return bad_request(f"user_id '{user_id}' is already present")


def not_found(user_id: str) -> Refused:
    """Return the refusal to update or verify a user that is not there."""
    return bad_request(f"user_id '{user_id}' not found")


def user_id(parameters: Mapping[str, str]) -> str:
    """Return the user id of a request; raises Refused."""
    found = parameters.get("user_id", "")
    if not found:
        raise bad_request("user_id is missing.")
    if not _USER_ID.fullmatch(found):
        raise bad_request(
            'user_id has disallowed characters: it may have a-z, A-Z, 0-9, "." and "-", and at most '
            f"{_MOST_USER_ID_LENGTH} of them."
        )
    return found


def enrol_id(parameters: Mapping[str, str]) -> str:
    """Return the user id of a request in the on-premise form; raises Refused."""
    found = parameters.get("enrolid", "")
    if not _ENROL_ID.fullmatch(found):
        raise bad_request(
            'enrolid is missing or has disallowed characters: it may have a-z, A-Z, 0-9, ".", "_", "@" and "-", and at '
            f"most {_MOST_USER_ID_LENGTH} of them."
        )
    return found


def sensitivity(parameters: Mapping[str, str]) -> float:
    """Return the sensitivity of a request; raises Refused."""
    text = parameters.get("sensitivity", "0")
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not abs(found) <= MOST_SENSITIVITY:
        raise bad_request(f"Sensitivity must be from -10 to 10, received {text[:_LONGEST_ECHO]}.")
    return found


def boolean(parameters: Mapping[str, str], name: str, *, default: bool) -> bool:
    """Return a parameter that is true or false, in any case of letters; raises Refused."""
    text = parameters.get(name)
    if text is None:
        return default
    found = _BOOLEANS.get(text.lower())
    if found is None:
        raise bad_request(f"{name} must be true or false, received {text[:_LONGEST_ECHO]}.")
    return found


def handle_of(user_id: str) -> str:
    """Return the handle of a user's identity; no two users have the same.

    It is the user id, unless that cannot be a handle: it begins with a dot or hyphen, or has the form of an id.
    """
    return user_id if is_handle(user_id) else _ESCAPE + user_id


def least_llr(sensitivity: float) -> float:
    """Return the log-likelihood ratio from which on a voice is verified: 0 at 0, that of 99 % at 10."""
    return _LLR_OF_A_STEP * sensitivity


def confidence(llr: float, least: float) -> float:
    """Return the confidence of a log-likelihood ratio: 1 or more just where it is at `least` or above.

    It grows by one for each `_LLR_OF_ONE`, and is rounded down to two digits.
    """
    lowest, highest = ((bound - 1) * _LLR_OF_ONE for bound in _CONFIDENCES)
    hundredths = math.floor(min(max(llr - least, lowest), highest) * 100 / _LLR_OF_ONE)
    return (100 + hundredths) / 100


def date(at: datetime) -> str:
    """Return a time as the vendor prints it, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d_%H:%M:%S")


def transaction_id(job_id: str) -> str:
    """Return the id of a transaction, of the job that it is."""
    return uuid.UUID(job_id).hex


def application_instance_id(job_id: str) -> str:
    """Return the id of a call, of the job that it is."""
    return f"vb-{transaction_id(job_id)[:20]}.000001"


def sources(accepted: Sequence[tuple[str, bool]]) -> list[dict[str, Any]]:
    """Return the list of sources of an answer, each with its name and whether it was accepted."""
    return [{"source": name, "accepted": fit} for name, fit in accepted]


def pad_detected(is_copy: bool | None) -> dict[str, str]:
    """Return the attack that was found: audio that was heard before. Other attacks are never found."""
    return {"type": "TypeA"} if is_copy else {}


def error(refused: Refused, path: str, asked_at: datetime, now: datetime) -> dict[str, Any]:
    """Return the body of an error answer.

    Parameters
    ----------
    path : of the request, without its query.
    """
    tab = path.rstrip("/").rpartition("/")[2]
    told = {"code": refused.code, "text": refused.told, "link": _LINK + tab, "datetime": date(now)}
    return {"error": told, "request": {"url": path, "datetime": date(asked_at)}}


def is_spoken_at(path: str) -> bool:
    """Tell whether a path speaks one of the vendor's forms, whether there is something or not."""
    return _PATHS.match(path) is not None


def refusal_at(path: str, refused: Refused, asked_at: datetime, now: datetime) -> dict[str, Any]:
    """Return the body of an error answer in the form of a path."""
    return node_error(refused) if f"{path}/".startswith(_NODE) else error(refused, path, asked_at, now)


def reject(refused: Refused, operation: str) -> dict[str, Any]:
    """Return the event of a call over a socket that is refused."""
    text = refused.text.replace("'", "").rstrip(".") + "."
    is_bad = refused.socket_code == SocketCode.BAD_REQUEST
    message = f"Bad API request, {operation}: {text}" if is_bad else text
    return {
        "event": "reject",
        "reason": _REASONS[refused.socket_code],
        "message": message,
        "code": refused.socket_code,
    }


def node_answer(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer in the on-premise form, whose clients parse each object from a string of its own."""
    return {"status": 200, "result": json.dumps(found)}


def node_verification(verified: bool, confidence: float, is_copy: bool) -> str:
    """Return what a verification found as such a string; it always tells of attacks."""
    attack = json.dumps(pad_detected(is_copy))
    return json.dumps({"confidence": confidence, "verified": verified, "PAD_info": attack})


def node_error(refused: Refused) -> dict[str, Any]:
    """Return the body of an error answer in the on-premise form."""
    return {"status": _node_status(refused), "result": refused.text}


def _node_status(refused: Refused) -> int:
    if refused.socket_code in _NODE_STATUSES:
        return _NODE_STATUSES[refused.socket_code]
    return refused.status if refused.status in _KEPT_BY_NODES else 500 if refused.status >= 500 else 400


def application_status(instance_id: str, at: datetime) -> dict[str, Any]:
    """Return the account of a call: nothing here costs anything."""
    times = {
        "start_time": at.timestamp(),
        "start_datetime": date(at),
        "stop_time": at.timestamp(),
        "stop_datetime": date(at),
    }
    counts = dict.fromkeys(("duration", "tts_seconds", "tts_unit_cost", "extra_channel_count"), 0)
    costs = dict.fromkeys(("platform_cost", "extra_cost", "pstn_cost"), 0.0)
    named = {"application_instance_id": instance_id, "application_name": "voice_biometrics"}
    adr = {**named, **times, **counts, "fax": "false", **costs, "costs_valid": True}
    return {"adr": adr, "cdrs": [], "fdrs": [], "errs": []}


def instance_id(parameters: Mapping[str, str]) -> str:
    """Return the id of a call whose account is asked for; raises Refused."""
    found = parameters.get("application_instance_id", "")
    if not _INSTANCE_ID.fullmatch(found):
        raise bad_request("application_instance_id is missing, or is not one that a call gave.")
    return found

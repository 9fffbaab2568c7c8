"""Wire form of single-call enrolment: the envelope and its codes, the vector that the customer keeps, a job's output.

A vector is the voiceprint's numbers, L2 norm 1, and four tiny ones behind them::

    dimension x   the voiceprint, float32 with 9 digits
    1e-9 x        CRC-16/XMODEM of the model id (`binascii.crc_hqx`, from 0)
    1e-7 x        seconds of speech it was made from
    1e-7 x        signal-to-noise ratio of that speech in dB
    1e-7 x        1 if there was no sound above 4 kHz, as on a telephone, else 0

All four are below 1e-4. So a client's own cosine keeps four digits, and so does a mean of vectors. A float32 has 24
bits whatever the size of its number: a CRC of 16 bits comes back exactly, seconds and decibels within 6e-8 of their
value.
"""

import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np

from shared.dialects.base import compact
from shared.dialects.pyannoteai import PyannoteAi
from shared.domain.calibration import probability
from shared.domain.models import ListedModel
from shared.domain.quality import SNR_RANGE_DB, Capture
from shared.domain.results import Result, VerificationResult, VoiceprintResult
from shared.domain.speech import Transcript
from shared.domain.voiceprints import Voiceprint

#: Shortest recording of `text_indep`, in seconds.
LEAST_AUDIO_S = 5.0
#: Numbers behind the voiceprint's own.
TRAILER = 4
_CRC_UNIT = 1e-9
_UNIT = 1e-7
#: Digits of a decimal number that give a float32 back.
_DIGITS = 9
#: Norms of a vector: a mean of vectors of one voice is shorter than 1. Within `_EXACT` it is left as it is.
_NORMS = (0.5, 1.01)
_EXACT = 1e-3
#: Longest speech that a recording of a voiceprint can have, in seconds (`TIMBRE_MAX_AUDIO_S`).
_MOST_SPEECH_S = 600.0
#: Error that arithmetic of clients may add to the CRC, to seconds, decibels and the telephone's band.
_SLACK = 0.5
#: Capture that a vector without its last four numbers is taken for.
_ASSUMED = Capture(net_speech_s=3.0, snr_db=15.0, narrowband=False)
#: Nothing is certain: 100 would be.
_MOST_CONFIDENCE = 99.99


class Code(IntEnum):
    """Code of an answer."""

    OK = 0
    #: Malformed body, or a field that is missing or malformed.
    BODY = 1
    KEY = 2
    #: Not base64, or no audio that can be decoded.
    AUDIO = 3
    #: Too short a recording, or too little speech in it.
    TOO_SHORT = 4
    TOO_LARGE = 5
    #: Unknown method, no phrase for one that needs it, or a phrase without words.
    METHOD = 6
    #: No speech recognition in that language.
    LANGUAGE = 7
    #: Vector of another model, or damaged.
    VECTOR = 8
    NOT_CALIBRATED = 9
    TOO_MANY = 10
    #: The recording does not say the phrase, or the words in their order.
    PHRASE = 11
    INTERNAL = 99


#: By the code of an error of Timbre's; others are internal.
_CODES = {
    "invalid_request": Code.BODY,
    "not_found": Code.BODY,
    "method_not_allowed": Code.BODY,
    "unsupported_media_type": Code.BODY,
    "unauthorized": Code.KEY,
    "not_audio": Code.AUDIO,
    "no_speech": Code.TOO_SHORT,
    "too_little_speech": Code.TOO_SHORT,
    "audio_too_long": Code.TOO_LARGE,
    "file_too_large": Code.TOO_LARGE,
    "request_too_large": Code.TOO_LARGE,
    "language_not_installed": Code.LANGUAGE,
    "invalid_voiceprint": Code.VECTOR,
    "not_calibrated": Code.NOT_CALIBRATED,
    "rate_limited": Code.TOO_MANY,
    "too_many_jobs": Code.TOO_MANY,
    "job_quota_exceeded": Code.TOO_MANY,
    "media_quota_exceeded": Code.TOO_MANY,
    "wrong_phrase": Code.PHRASE,
}


class Method(StrEnum):
    """Method of enrolment and verification: what the person is to say."""

    FIXED = "text_dep_fixed"
    DATE_OF_BIRTH = "text_dep_dob"
    USER = "text_dep_user"
    INDEPENDENT = "text_indep"
    LIVENESS = "liveness"

    @property
    def needs_phrase(self) -> bool:
        """Return whether a call must bring the phrase."""
        return self in (Method.FIXED, Method.LIVENESS)


class Refusal(Exception):
    """Call that cannot be granted, for a reason that only this form of the API has."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def code_of(error_code: str) -> Code:
    """Return the code of an answer for the code of one of Timbre's errors."""
    return _CODES.get(error_code, Code.INTERNAL)


def answer(code: Code, message: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an answer; all of its keys are always there."""
    return {"result": "Err" if code else "Ok", "code": int(code), "message": message, "data": data}


def error(error_code: str, message: str, ref: str) -> dict[str, Any]:
    """Return the body of the answer for one of Timbre's errors."""
    return answer(code_of(error_code), message, {"ref": ref})


class Enroll(PyannoteAi):
    """Dialect of the jobs that calls wait for: outputs hold what the answers need, in full precision.

    They have no webhooks; failures are stored as in the dialect that this one builds on.
    """

    name = "enroll"

    def output(self, result: Result) -> str:
        """Render a result as JSON text; raises TypeError for one that no call asks for."""
        if isinstance(result, VerificationResult):
            return compact({**_heard(result.voice), **_comparison(result)})
        if isinstance(result, VoiceprintResult):
            return compact({**_heard(result), "vector": to_vector(result.voiceprint)})
        raise TypeError(f"no call asks for a {type(result).__name__}")


def _heard(voice: VoiceprintResult) -> dict[str, Any]:
    return {"model": voice.voiceprint.model_id, "seconds": voice.audio_s, "speech": _speech(voice.transcript)}


def _speech(transcript: Transcript | None) -> str:
    return " ".join(turn.text for turn in transcript.turns) if transcript else ""


def _comparison(result: VerificationResult) -> dict[str, float | None]:
    llr = result.comparison.llr
    confidence = None if llr is None else percent(llr)
    return {"score": confidence, "confidence": confidence, "distance": round(1 - result.comparison.score, 6)}


def percent(llr: float) -> float:
    """Return a log-likelihood ratio as a confidence, 0 to 99.99, rounded down to two decimals."""
    return min(math.floor(10_000 * probability(llr)) / 100, _MOST_CONFIDENCE)


@dataclass(frozen=True)
class GivenVoice:
    """Voice of a vector that a client sent, and whether it came with its last four numbers."""

    voiceprint: Voiceprint
    whole: bool


def to_vector(voiceprint: Voiceprint) -> list[float]:
    """Return a voiceprint as the vector that clients keep."""
    capture = voiceprint.capture
    trailer = [
        _crc(voiceprint.model_id) * _CRC_UNIT,
        capture.net_speech_s * _UNIT,
        capture.snr_db * _UNIT,
        capture.narrowband * _UNIT,
    ]
    return [float(f"{number:.{_DIGITS}g}") for number in (*voiceprint.vector.tolist(), *trailer)]


def from_vector(numbers: Sequence[float], models: Sequence[ListedModel]) -> GivenVoice:
    """Read a vector of one of the models that are served.

    Parameters
    ----------
    numbers : finite ones.

    Raises
    ------
    Refusal
        The vector is of another model, cut off or damaged.
    """
    model = _model_of(numbers, models)
    own = numbers[: model.dimension]
    norm = math.hypot(*own)
    if not _NORMS[0] <= norm <= _NORMS[1]:
        raise _damaged(f"its norm is {norm:.3g} in place of 1")
    if abs(norm - 1) < _EXACT:
        norm = 1.0
    vector = (np.asarray(own, np.float64) / norm).astype(np.float32)
    trailer = numbers[model.dimension :]
    capture = _capture(trailer, model) if trailer else _ASSUMED
    return GivenVoice(Voiceprint(model.model_id, vector, capture), whole=bool(trailer))


def _model_of(numbers: Sequence[float], models: Sequence[ListedModel]) -> ListedModel:
    for model in models:
        if len(numbers) in (model.dimension, model.dimension + TRAILER):
            return model
    lengths = " or ".join(f"{model.dimension + TRAILER} ({model.model_id})" for model in models)
    raise Refusal(
        Code.VECTOR,
        f"The vector has {len(numbers)} numbers in place of {lengths}. It was cut off, or another model made it; enrol "
        "the person again.",
    )


def _capture(trailer: Sequence[float], model: ListedModel) -> Capture:
    crc, speech_s, snr_db, narrowband = trailer
    if not abs(crc / _CRC_UNIT - _crc(model.model_id)) < _SLACK:
        raise Refusal(
            Code.VECTOR,
            f"The vector is not of {model.model_id}, which is served here, or its last four numbers were altered. Send "
            "all digits of a vector of this server, or enrol the person again.",
        )
    speech_s, snr_db, narrowband = (number / _UNIT for number in (speech_s, snr_db, narrowband))
    least_db, most_db = SNR_RANGE_DB
    in_range = (
        0 < speech_s < _MOST_SPEECH_S + _SLACK
        and least_db - _SLACK < snr_db < most_db + _SLACK
        and -_SLACK < narrowband < 1 + _SLACK
    )
    if not in_range:
        raise _damaged("its last four numbers are none of this server's")
    return Capture(
        net_speech_s=speech_s, snr_db=min(max(snr_db, least_db), most_db), narrowband=narrowband >= 1 - _SLACK
    )


def _crc(model_id: str) -> int:
    return binascii.crc_hqx(model_id.encode("ascii"), 0)


def _damaged(why: str) -> Refusal:
    return Refusal(Code.VECTOR, f"The vector is damaged: {why}; send it as it was given, or enrol the person again.")

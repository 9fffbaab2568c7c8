"""Dialect of pyannoteAI's HTTP API, with Timbre's additions."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from marshmallow import Schema

from shared.dialects.base import Dialect, compact
from shared.dialects.pyannoteai.outputs import (
    DiarizationOutput,
    EnrolmentOutput,
    Error,
    FailureOutput,
    IdentificationOutput,
    IdentityVerificationOutput,
    SampleOutput,
    SearchOutput,
    VerificationOutput,
    VoiceEnrolmentOutput,
    VoiceprintOutput,
)
from shared.dialects.signatures import standard_signature, vendor_signature
from shared.domain.audio import Segment
from shared.domain.delivery import Delivery, Reason
from shared.domain.errors import JobFailure, TimbreError
from shared.domain.jobs import Status
from shared.domain.results import (
    EnrolmentResult,
    Identification,
    IdentityVerificationResult,
    RecordingDiarization,
    Result,
    SampleResult,
    SearchResult,
    VerificationResult,
    VoiceEnrolmentResult,
    VoiceprintResult,
)
from shared.domain.turns import ExportedTurn, TurnExport

_OUTPUTS: dict[type[Result], Schema] = {
    VoiceprintResult: VoiceprintOutput(),
    RecordingDiarization: DiarizationOutput(),
    Identification: IdentificationOutput(),
    VerificationResult: VerificationOutput(),
    SampleResult: SampleOutput(),
    EnrolmentResult: EnrolmentOutput(),
    VoiceEnrolmentResult: VoiceEnrolmentOutput(),
    IdentityVerificationResult: IdentityVerificationOutput(),
    SearchResult: SearchOutput(),
}


class PyannoteAi(Dialect):
    """Wire form of pyannoteAI, and the signature of Standard Webhooks beside the vendor's own.

    Parameters
    ----------
    signature_encoding : of `X-Signature`. The vendor's documents contradict themselves: hex, as their sample code
        compares it, or base64, as their prose says.
    """

    name = "pyannoteai"
    #: The vendor says: at once, again at once, after a minute, after five.
    delays_s: ClassVar[Sequence[float]] = (0.0, 0.0, 60.0, 300.0)

    def __init__(self, signature_encoding: str) -> None:
        self._encoding = signature_encoding

    def output(self, result: Result) -> str:
        """Render a result as JSON text; raises TypeError or ValueError for what JSON does not know, such as NaN."""
        return compact(_OUTPUTS[type(result)].dump(result))

    def failure(self, failure: JobFailure) -> str:
        """Render the output of a job without result: a sentence and our stable code."""
        return compact(FailureOutput().dump({"error": str(failure), "code": failure.code}))

    def reason(self, output: str) -> tuple[str, str]:
        """Return code and message of an output that `failure` rendered."""
        found = json.loads(output)
        return found["code"], found["error"]

    def turns(self, output: str) -> TurnExport | None:
        """Return the turns in an output that `output` rendered; None where it holds none."""
        found = json.loads(output)
        if "diarization" not in found:
            return None
        export = TurnExport(
            turns=[_turn(one) for one in found["diarization"]],
            transcription=[_turn(one) for one in found.get("turnLevelTranscription", ())],
        )
        return export.renamed({one["diarizationSpeaker"]: one["speaker"] for one in found.get("identification", ())})

    def webhook_body(self, job_id: str, status: Status, output: str | None) -> str:
        """Render `{"jobId", "status", "output"}`; the very bytes of `output` that polling gives."""
        told = {"jobId": job_id, "status": status.value}
        return compact(told) if output is None else f'{compact(told)[:-1]},"output":{output}}}'

    def webhook_headers(self, delivery: Delivery, secrets: Sequence[str], now_s: int) -> dict[str, str]:
        """Return the headers of one try, signed with each of `secrets`, the oldest first.

        `X-Signature` has room for one signature: the oldest secret's, so that a receiver is understood until the very
        end of a rotation.
        """
        message_id = f"msg_{delivery.job_id}"
        body = delivery.body
        headers = {
            "Content-Type": "application/json",
            "X-Request-Timestamp": str(now_s),
            "X-Signature": vendor_signature(secrets[0], now_s, body, self._encoding),
            "webhook-id": message_id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": " ".join(standard_signature(one, message_id, now_s, body) for one in secrets),
        }
        if delivery.attempt > 1:
            headers |= {"x-retry-num": str(delivery.attempt - 1), "x-retry-reason": delivery.reason or Reason.UNKNOWN}
        return headers

    def error(self, error: TimbreError, request_id: str, fields: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return `{"requestId", "code", "message", "errors"?}`."""
        errors = [{"field": field, "message": message} for field, message in fields]
        told = {"requestId": request_id, "code": error.code, "message": str(error), "errors": errors or None}
        return dict(Error().dump(told))


def _turn(told: Mapping[str, Any]) -> ExportedTurn:
    speaker = told["speaker"]
    segment = Segment(told["start"], told["end"])
    return ExportedTurn(segment=segment, speaker=speaker, name=speaker, text=told.get("text", ""))

"""Jobs as JSON: the one place where their wire form is decided, since polling and webhooks must not drift apart."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.domain.audio import Segment
from shared.domain.commands import MEDIA_SCHEME
from shared.domain.delivery import DeliveryState, LogEntry
from shared.domain.errors import JobFailure
from shared.domain.jobs import Backlog, Job, JobSummary, Receipt, Status
from shared.domain.media import MediaPage
from shared.domain.models import ListedModel
from shared.domain.quality import Quality
from shared.domain.results import VerificationResult, VoiceprintResult

_UNCALIBRATED = "The model is not calibrated: its scores mean nothing but an order, so nothing is decided."


def list_body(jobs: Iterable[JobSummary]) -> list[dict[str, Any]]:
    """Return jobs as lists show them."""
    return [{"id": job.id, "status": job.status.value, "createdAt": _timestamp(job.created_at)} for job in jobs]


def created_body(job: Job, warning: str | None = None) -> dict[str, Any]:
    """Return the answer to a job POST."""
    body = {"jobId": job.id, "status": job.status.value}
    return body | ({"warning": warning} if warning else {})


def job_body(job: Job) -> dict[str, Any]:
    """Return what polling a job gives: `step` only while it runs, `output` only once it has ended."""
    body: dict[str, Any] = {
        "jobId": job.id,
        "status": job.status.value,
        "createdAt": _timestamp(job.created_at),
        "updatedAt": _timestamp(job.updated_at),
    }
    if job.step is not None:
        body["step"] = job.step
    if job.output is not None:
        body["output"] = job.output
    return body


def webhook_body(job_id: str, status: Status, output: dict[str, Any] | None = None) -> str:
    """Return what a webhook carries; without the output where only the status was asked for."""
    return compact({"jobId": job_id, "status": status.value} | ({} if output is None else {"output": output}))


def compact(body: dict[str, Any]) -> str:
    """Return `body` as JSON without spaces: receivers that re-serialise before they verify can only do it so."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def deliveries_body(job_id: str, state: DeliveryState, tries: Iterable[LogEntry]) -> dict[str, Any]:
    """Return a job's delivery log."""
    return {"jobId": job_id, "state": state.value, "tries": [_try(entry) for entry in tries]}


def _try(entry: LogEntry) -> dict[str, Any]:
    return {
        "attempt": entry.attempt,
        "at": _timestamp(entry.at),
        "status": entry.status,
        "reason": entry.reason,
        "durationMs": entry.duration_ms,
        "answer": entry.answer,
    }


def backlog_body(backlog: Backlog) -> dict[str, Any]:
    """Return how much is waiting."""
    return {
        "jobsWaiting": backlog.waiting,
        "jobsRunning": backlog.running,
        "oldestJobSeconds": round(backlog.oldest_s, 1),
    }


def receipt_body(receipt: Receipt) -> dict[str, Any]:
    """Return the receipt for a deleted job."""
    hashes = {"output": receipt.output_sha256, "media": receipt.media_sha256}
    removed = {name: sha256 for name, sha256 in hashes.items() if sha256 is not None}
    return {"jobId": receipt.job_id, "deletedAt": _timestamp(receipt.deleted_at), "removed": removed}


def failed_output(failure: JobFailure) -> dict[str, Any]:
    """Return the output of a job without result: the sentence where clients look for it, and our stable code."""
    return {"error": str(failure), "code": failure.code}


def voiceprint_output(result: VoiceprintResult) -> dict[str, Any]:
    """Return the output of a voiceprint job; all times in seconds."""
    seconds = result.diarization.seconds()
    output = {
        "voiceprint": result.voiceprint.encode(),
        "model": result.voiceprint.model_id,
        "dimension": len(result.voiceprint.vector),
        "audioSeconds": round(result.audio_s, 3),
        "speechSeconds": round(result.speech_s, 3),
        "netSpeechSeconds": round(seconds[result.dominant_speaker], 3),
        "dominantSpeaker": result.dominant_speaker,
        "segments": [_span(segment) for segment in result.diarization.segments(result.dominant_speaker)],
        "speakers": [{"speaker": speaker, "seconds": round(s, 3)} for speaker, s in seconds.items()],
        "diarization": [{"speaker": turn.speaker, **_span(turn.segment)} for turn in result.diarization.turns],
        "quality": _quality(result.quality),
        "calibrated": result.calibrated,
        "timings": _timings(result.timings_s),
    }
    return output | _warning(result.quality.warning)


def verification_output(result: VerificationResult) -> dict[str, Any]:
    """Return the output of a verify job."""
    comparison, voice = result.comparison, result.voice
    accepted = comparison.accepted(result.operating_point)
    output = {
        "score": round(comparison.score, 4),
        "confidence": comparison.confidence,
        "decision": None if accepted is None else "accept" if accepted else "reject",
        "operatingPoint": result.operating_point.value,
        "leastConfidence": result.operating_point.least_confidence,
        "calibrated": voice.calibrated,
        "model": voice.voiceprint.model_id,
        "netSpeechSeconds": round(voice.voiceprint.capture.net_speech_s, 3),
        "dominantSpeaker": voice.dominant_speaker,
        "quality": _quality(voice.quality),
        "timings": _timings(voice.timings_s),
    }
    return output | _warning(voice.quality.warning, None if voice.calibrated else _UNCALIBRATED)


def models_body(models: Sequence[ListedModel]) -> dict[str, Any]:
    """Return the list of models."""
    return {"models": [_model(model) for model in models]}


def _model(model: ListedModel) -> dict[str, Any]:
    return {
        "handle": model.handle,
        "version": model.version,
        "dimension": model.dimension,
        "sampleRate": model.sample_rate_hz,
        "minSpeechSeconds": model.min_speech_s,
        "licence": model.licence,
        "installed": model.installed,
        "calibrated": model.calibrated,
        "default": model.default,
    }


def media_body(page: MediaPage) -> dict[str, Any]:
    """Return a page of a client's stored recordings."""
    items = [
        {"url": MEDIA_SCHEME + upload.key, "bytes": upload.size_bytes, "storedAt": _timestamp(upload.stored_at)}
        for upload in page.uploads
    ]
    return {"items": items, "nextCursor": page.cursor}


def _quality(quality: Quality) -> dict[str, Any]:
    return {
        "snrDb": round(quality.capture.snr_db, 1),
        "narrowband": quality.capture.narrowband,
        "speakerCount": quality.num_speakers,
        "dominantShare": round(quality.share, 3),
        "consistency": round(quality.consistency, 3),
    }


def _timings(seconds: Mapping[str, float]) -> dict[str, float]:
    return {step: round(s, 4) for step, s in seconds.items()}


def _warning(*sentences: str | None) -> dict[str, str]:
    said = " ".join(filter(None, sentences))
    return {"warning": said} if said else {}


def _span(segment: Segment) -> dict[str, float]:
    return {"start": round(segment.start_s, 3), "end": round(segment.end_s, 3)}


def _timestamp(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")

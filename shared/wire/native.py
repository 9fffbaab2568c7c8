"""Jobs as JSON: the one place where their wire form is decided, since polling and webhooks must not drift apart."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.domain.audio import Segment
from shared.domain.commands import MEDIA_SCHEME, Diarize, Identify
from shared.domain.delivery import DeliveryState, LogEntry
from shared.domain.diarization import Diarization
from shared.domain.errors import JobFailure
from shared.domain.jobs import Backlog, Job, JobSummary, Receipt, Status
from shared.domain.media import MediaPage
from shared.domain.models import ListedModel
from shared.domain.quality import Quality
from shared.domain.results import FRAME_S, Identification, RecordingDiarization, VerificationResult, VoiceprintResult

_UNCALIBRATED = "The model is not calibrated: its scores mean nothing but an order, so there is no confidence."


def list_body(jobs: Iterable[JobSummary]) -> list[dict[str, Any]]:
    """Return jobs as lists show them."""
    return [{"id": job.id, "status": job.status.value, "createdAt": _timestamp(job.created_at)} for job in jobs]


def created_body(job: Job, warning: str | None = None) -> dict[str, Any]:
    """Return the answer to a job POST."""
    body = {"jobId": job.id, "status": job.status.value}
    return body | ({"warning": warning} if warning else {})


def job_body(job: Job) -> dict[str, Any]:
    """Return what polling a job gives: `step` and `progress` only while it runs, `output` only once it has ended."""
    body: dict[str, Any] = {
        "jobId": job.id,
        "status": job.status.value,
        "createdAt": _timestamp(job.created_at),
        "updatedAt": _timestamp(job.updated_at),
    }
    if job.step is not None:
        body["step"] = job.step
    if job.progress is not None:
        body["progress"] = job.progress
    if job.output is not None:
        body["output"] = job.output
    return body


def webhook_body(job_id: str, status: Status, output: dict[str, Any] | None = None) -> str:
    """Return what a webhook carries; without the output where only the status was asked for."""
    return compact({"jobId": job_id, "status": status.value} | ({} if output is None else {"output": output}))


def compact(body: dict[str, Any]) -> str:
    """Return `body` as JSON without spaces, in ASCII: receivers that re-serialise before they verify do it so.

    Raises TypeError or ValueError for what JSON does not know, such as NaN.
    """
    return json.dumps(body, allow_nan=False, separators=(",", ":"))


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
    output = {
        "voiceprint": result.voiceprint.encode(),
        "model": result.voiceprint.model_id,
        "dimension": len(result.voiceprint.vector),
        "audioSeconds": round(result.audio_s, 3),
        "speechSeconds": round(result.speech_s, 3),
        "netSpeechSeconds": round(result.voiceprint.capture.net_speech_s, 3),
        "dominantSpeaker": result.dominant_speaker,
        "segments": [_span(segment) for segment in result.diarization.segments(result.dominant_speaker)],
        "speakers": _speakers(result.diarization),
        "diarization": [{"speaker": turn.speaker, **_span(turn.segment)} for turn in result.diarization.turns],
        "quality": _quality(result.quality),
        "calibrated": result.calibrated,
        "timings": _timings(result.timings_s),
    }
    return output | _warning(result.quality.warning)


def diarization_output(result: RecordingDiarization, command: Diarize) -> dict[str, Any]:
    """Return the output of a diarize job, with what `command` asks for besides."""
    turns = [{"speaker": turn.speaker, **_span(turn.segment)} for turn in result.diarization.turns]
    output: dict[str, Any] = {"diarization": _with_confidence(turns, result, command.turn_confidence)}
    if command.exclusive:
        output["exclusiveDiarization"] = output["diarization"]
    if command.frame_confidence:
        output["confidence"] = {"score": result.frame_confidence.tolist(), "resolution": FRAME_S}
    output |= {
        "audioSeconds": round(result.audio_s, 3),
        "speechSeconds": round(result.speech_s, 3),
        "speakers": _speakers(result.diarization),
        "timings": _timings(result.timings_s),
    }
    return output | _warning(result.warning)


def identification_output(result: Identification, command: Identify) -> dict[str, Any]:
    """Return the output of an identify job: that of a diarize job, and who is whom."""
    recording = result.recording
    named = [
        {"speaker": result.matches[turn.speaker] or turn.speaker, **_span(turn.segment)}
        | {"diarizationSpeaker": turn.speaker, "match": result.matches[turn.speaker]}
        for turn in recording.diarization.turns
    ]
    output = diarization_output(recording, command) | {
        "identification": _with_confidence(named, recording, command.turn_confidence),
        "voiceprints": [_voice(speaker, result) for speaker in recording.diarization.speakers],
        "calibrated": result.calibrated,
    }
    return output | _warning(recording.warning, None if result.calibrated else _UNCALIBRATED)


def _voice(speaker: str, result: Identification) -> dict[str, Any]:
    comparisons = result.comparisons[speaker]
    return {
        "speaker": speaker,
        "match": result.matches[speaker],
        "confidence": {label: comparison.confidence for label, comparison in comparisons.items()},
        "score": {label: round(comparison.score, 4) for label, comparison in comparisons.items()},
    }


def _with_confidence(turns: list[dict[str, Any]], result: RecordingDiarization, wanted: bool) -> list[dict[str, Any]]:
    if not wanted:
        return turns
    return [turn | {"confidence": dict(sure)} for turn, sure in zip(turns, result.turn_confidence, strict=True)]


def _speakers(diarization: Diarization) -> list[dict[str, Any]]:
    return [{"speaker": speaker, "seconds": round(s, 3)} for speaker, s in diarization.seconds().items()]


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

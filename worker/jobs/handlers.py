"""Handlers: the work of each command, from the recording to a typed result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.domain.commands import (
    AddSample,
    Command,
    ComputeEnrolment,
    CreateVoiceprint,
    Diarize,
    EnrolVoice,
    Identify,
    Search,
    Verify,
    VerifyIdentity,
)
from shared.domain.diarization import SpeakerHints, Turn
from shared.domain.errors import JobFailure, ModelInstallError, ModelNotAvailable, Unavailable, WorkerUnavailable
from shared.domain.jobs import Claim
from shared.domain.limits import Limits
from shared.domain.results import RecordingDiarization, Result, VerificationResult, VoiceprintResult
from shared.domain.voiceprints import Voiceprint
from shared.networks import Recognisers
from worker.jobs.enrolments import EnrolmentHandlers
from worker.jobs.searches import SearchHandlers
from worker.jobs.sources import SourceReader
from worker.jobs.stores import IdentityStores
from worker.jobs.verifications import VerificationHandlers
from worker.jobs.voices import VoiceHandlers
from worker.voices.channels import diarize_channels
from worker.voices.diarization import diarize_recording
from worker.voices.excerpt import make_voiceprint_of_segments, read_excerpt
from worker.voices.identification import identify, require_calibration
from worker.voices.phrases import require_phrase
from worker.voices.progress import Steps
from worker.voices.transcription import transcribe_speaker
from worker.voices.verification import verify
from worker.voices.voiceprint import Nets, make_voiceprint


@dataclass(frozen=True, kw_only=True)
class Handlers:
    """Handlers of all commands."""

    reader: SourceReader
    nets: Nets
    recognisers: Recognisers
    voiceprint_limits: Limits
    diarize_limits: Limits
    stores: IdentityStores
    enrolments: EnrolmentHandlers
    voices: VoiceHandlers
    verifications: VerificationHandlers
    searches: SearchHandlers

    def handle(self, claim: Claim, command: Command, steps: Steps) -> Result:
        """Do the work of `command`, the job of `claim`.

        A failure is stored with the record that the job is about, unless the job is tried again.

        Raises
        ------
        JobFailure
        """
        try:
            return self._handle(claim, command, steps)
        except JobFailure as failure:
            self.stores.note_failure(claim, command, failure)
            raise

    def _handle(self, claim: Claim, command: Command, steps: Steps) -> Result:
        self._require_model(command.model)
        try:
            return _HANDLERS[type(command)](self)(claim, command, steps)
        except (Unavailable, ModelInstallError) as error:
            raise WorkerUnavailable(f"{error} Try again later.") from None

    def make_voiceprint(self, claim: Claim, command: CreateVoiceprint, steps: Steps) -> VoiceprintResult:
        """Make the voiceprint of the dominant speaker, of another one, or of who speaks in some segments."""
        if not command.segments:
            return self._hear(claim, command, steps, command.speaker)
        with self.reader.stream(claim.client_id, command.source, self.diarize_limits, steps, command.channel) as stream:
            excerpt = read_excerpt(stream, command.segments, steps)
        return make_voiceprint_of_segments(excerpt, command.segments, self.nets, steps)

    def diarize(self, claim: Claim, command: Diarize, steps: Steps) -> RecordingDiarization:
        """Diarize a recording."""
        if command.each_channel:
            return self._diarize_each(claim, command, steps)
        return self._diarize(claim, command, steps, voices=False)

    def identify(self, claim: Claim, command: Identify, steps: Steps) -> RecordingDiarization:
        """Diarize a recording and name its speakers."""
        calibration = self.nets.embedder.card.calibration
        require_calibration(calibration, command.threshold)
        for voiceprint in command.voiceprints.values():
            self._require_comparable(voiceprint)
        people = self.searches.enrolled(claim, command)
        recording = self._diarize(claim, command, steps, voices=True)
        people = self.searches.with_space(claim, command, people, recording, steps)
        return identify(
            recording, people, calibration, exclusive=command.exclusive_matching, threshold=command.threshold
        )

    def verify(self, claim: Claim, command: Verify, steps: Steps) -> VerificationResult:
        """Compare the dominant speaker with a voiceprint."""
        self._require_comparable(command.voiceprint)
        # A wrong phrase ends the job before the comparison: nobody learns how near a voice is by saying anything.
        voice = self._hear(claim, command, steps)
        return verify(voice, command.voiceprint, command.operating_point, self.nets.embedder.card.calibration)

    def _hear(
        self, claim: Claim, command: CreateVoiceprint | Verify, steps: Steps, speaker: str | None = None
    ) -> VoiceprintResult:
        """Hear the dominant speaker, or another one, and judge what they say if the command asks for it."""
        content = command.content
        recogniser = self.recognisers.find(content.language) if content else None
        waveform = self.reader.waveform(claim.client_id, command.source, self.voiceprint_limits, steps, command.channel)
        voice = make_voiceprint(waveform, self.nets, steps, speaker)
        if content is None or recogniser is None:
            return voice
        transcript = transcribe_speaker(waveform, voice.diarization, voice.speaker, recogniser, steps)
        require_phrase(transcript.text, content)
        return replace(voice, transcript=transcript if content.told else None)

    def _diarize(self, claim: Claim, command: Diarize, steps: Steps, *, voices: bool) -> RecordingDiarization:
        """Fetch a recording of any length and diarize it, block by block."""
        hints = SpeakerHints(command.min_speakers or 1, command.max_speakers)
        recogniser = self.recognisers.find(None) if command.transcription else None
        with self.reader.stream(claim.client_id, command.source, self.diarize_limits, steps, command.channel) as stream:
            found = diarize_recording(stream, self.nets, steps, hints, voices=voices, recogniser=recogniser)
        return _as_asked(found, command)

    def _diarize_each(self, claim: Claim, command: Diarize, steps: Steps) -> RecordingDiarization:
        """Fetch a recording of any length and take each channel for a speaker."""
        recogniser = self.recognisers.find(None) if command.transcription else None
        with self.reader.stream_each(claim.client_id, command.source, self.diarize_limits, steps) as stream:
            return _as_asked(diarize_channels(stream, self.nets.vad, steps, recogniser), command)

    def _require_model(self, model: str | None) -> None:
        card = self.nets.embedder.card
        if model not in (None, card.handle, card.model_id):
            raise ModelNotAvailable(f"Model {model} is not served here; leave `model` out or ask for {card.handle}.")

    def _require_comparable(self, voiceprint: Voiceprint) -> None:
        """Refuse a voiceprint of another model before any work is done that it would make useless."""
        card = self.nets.embedder.card
        voiceprint.require_model(card.model_id, card.dimension)


def _as_asked(found: RecordingDiarization, command: Diarize) -> RecordingDiarization:
    """Return a diarization with what `command` asks for, and nothing besides."""
    exclusive = found.exclusive if command.exclusive else None
    return replace(
        found,
        diarization=replace(found.diarization, turns=_turns_as_asked(found.diarization.turns, command)),
        exclusive=exclusive and _turns_as_asked(exclusive, command),
        frame_confidence=found.frame_confidence if command.frame_confidence else None,
    )


def _turns_as_asked(turns: Sequence[Turn], command: Diarize) -> Sequence[Turn]:
    return turns if command.turn_confidence else [replace(turn, confidence=None) for turn in turns]


_Handler = Callable[[Claim, Any, Steps], Result]
_HANDLERS: Mapping[type[Command], Callable[[Handlers], _Handler]] = {
    CreateVoiceprint: lambda handlers: handlers.make_voiceprint,
    Diarize: lambda handlers: handlers.diarize,
    Identify: lambda handlers: handlers.identify,
    Verify: lambda handlers: handlers.verify,
    AddSample: lambda handlers: handlers.enrolments.add_sample,
    ComputeEnrolment: lambda handlers: handlers.enrolments.compute,
    EnrolVoice: lambda handlers: handlers.voices.enrol,
    VerifyIdentity: lambda handlers: handlers.verifications.verify,
    Search: lambda handlers: handlers.searches.search,
}

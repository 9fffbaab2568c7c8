"""Handlers: the work of each command, from the recording to a typed result."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from shared.domain.audio import Waveform
from shared.domain.commands import Command, CreateVoiceprint, Diarize, Identify, Verify
from shared.domain.diarization import Diarization, SpeakerHints
from shared.domain.errors import ModelNotAvailable
from shared.domain.limits import Limits
from shared.domain.results import RecordingDiarization, Result, VerificationResult, VoiceprintResult
from shared.domain.sources import Source
from shared.domain.voiceprints import Voiceprint
from worker.ports import Decoder, Fetcher
from worker.voices.diarization import diarize_recording
from worker.voices.identification import identify, require_calibration
from worker.voices.progress import Steps
from worker.voices.verification import verify
from worker.voices.voiceprint import Nets, make_voiceprint


@dataclass(frozen=True, kw_only=True)
class Handlers:
    """Handlers of all commands."""

    fetcher: Fetcher
    decoder: Decoder
    nets: Nets
    voiceprint_limits: Limits
    diarize_limits: Limits

    def handle(self, client_id: str, command: Command, steps: Steps) -> Result:
        """Do the work of `command`.

        Raises
        ------
        JobFailure
        """
        card = self.nets.embedder.card
        if command.model not in (None, card.handle, card.model_id):
            raise ModelNotAvailable(
                f"Model {command.model} is not served here; leave `model` out or ask for {card.handle}."
            )
        return _HANDLERS[type(command)](self, client_id, command, steps)

    def make_voiceprint(self, client_id: str, command: CreateVoiceprint, steps: Steps) -> VoiceprintResult:
        """Make the voiceprint of the dominant speaker."""
        return make_voiceprint(self._waveform(client_id, command.source, steps), self.nets, steps)

    def diarize(self, client_id: str, command: Diarize, steps: Steps) -> RecordingDiarization:
        """Diarize a recording."""
        return self._diarize(client_id, command, steps, voices=False)

    def identify(self, client_id: str, command: Identify, steps: Steps) -> RecordingDiarization:
        """Diarize a recording and name its speakers."""
        calibration = self.nets.embedder.card.calibration
        require_calibration(calibration, command.threshold)
        for voiceprint in command.voiceprints.values():
            self._require_comparable(voiceprint)
        return identify(
            self._diarize(client_id, command, steps, voices=True),
            command.voiceprints,
            calibration,
            exclusive=command.exclusive_matching,
            threshold=command.threshold,
        )

    def verify(self, client_id: str, command: Verify, steps: Steps) -> VerificationResult:
        """Compare the dominant speaker with a voiceprint."""
        self._require_comparable(command.voiceprint)
        waveform = self._waveform(client_id, command.source, steps)
        return verify(waveform, command.voiceprint, command.operating_point, self.nets, steps)

    def _diarize(self, client_id: str, command: Diarize, steps: Steps, *, voices: bool) -> RecordingDiarization:
        """Fetch a recording of any length and diarize it, block by block."""
        with steps("download"):
            file = self.fetcher.fetch(client_id, command.source, self.diarize_limits)
        hints = SpeakerHints(command.min_speakers or 1, command.max_speakers)
        with file, self.decoder.stream(file, self.diarize_limits.max_audio_s) as stream:
            return _as_asked(diarize_recording(stream, self.nets, steps, hints, voices=voices), command)

    def _waveform(self, client_id: str, source: Source, steps: Steps) -> Waveform:
        """Fetch a short recording and decode it whole."""
        with steps("download"):
            file = self.fetcher.fetch(client_id, source, self.voiceprint_limits)
        with file, steps("decode"):
            return self.decoder.decode(file, self.voiceprint_limits.max_audio_s)

    def _require_comparable(self, voiceprint: Voiceprint) -> None:
        """Refuse a voiceprint of another model before any work is done that it would make useless."""
        card = self.nets.embedder.card
        voiceprint.require_model(card.model_id, card.dimension)


def _as_asked(found: RecordingDiarization, command: Diarize) -> RecordingDiarization:
    """Return a diarization with what `command` asks for, and nothing besides."""
    turns = found.diarization.turns
    if not command.turn_confidence:
        turns = [replace(turn, confidence=None) for turn in turns]
    return replace(
        found,
        diarization=Diarization(turns),
        exclusive=turns if command.exclusive else None,
        frame_confidence=found.frame_confidence if command.frame_confidence else None,
    )


_HANDLERS: dict[type[Command], Callable[..., Result]] = {
    CreateVoiceprint: Handlers.make_voiceprint,
    Diarize: Handlers.diarize,
    Identify: Handlers.identify,
    Verify: Handlers.verify,
}

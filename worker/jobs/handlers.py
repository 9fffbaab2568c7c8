"""What each command needs done, from the recording's address to the output on the wire."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.domain.audio import Waveform
from shared.domain.commands import Command, CreateVoiceprint, Diarize, Identify, Verify
from shared.domain.diarization import SpeakerHints
from shared.domain.errors import ModelNotAvailable
from shared.domain.limits import Limits
from shared.domain.results import RecordingDiarization
from shared.domain.voiceprints import Voiceprint
from shared.wire.native import diarization_output, identification_output, verification_output, voiceprint_output
from worker.ports import Decoder, Fetcher
from worker.voices.diarization import diarize_recording
from worker.voices.identification import identify, require_calibration
from worker.voices.progress import Steps
from worker.voices.verification import verify
from worker.voices.voiceprint import Nets, make_voiceprint


@dataclass(frozen=True, kw_only=True)
class Handlers:
    """Everything a worker can do with a recording."""

    fetcher: Fetcher
    decoder: Decoder
    nets: Nets
    voiceprint_limits: Limits
    diarize_limits: Limits

    def handle(self, client_id: str, command: Command, steps: Steps) -> dict[str, Any]:
        """Do what `command` asks for; returns the job's output in wire form.

        Raises
        ------
        JobFailure
        """
        self._require_model(command.model)
        return _HANDLERS[type(command)](self, client_id, command, steps)

    def make_voiceprint(self, client_id: str, command: CreateVoiceprint, steps: Steps) -> dict[str, Any]:
        """Make the voiceprint of whoever speaks most."""
        return voiceprint_output(make_voiceprint(self._hear(client_id, command.url, steps), self.nets, steps))

    def diarize(self, client_id: str, command: Diarize, steps: Steps) -> dict[str, Any]:
        """Tell who speaks when."""
        return diarization_output(self._diarize(client_id, command, steps, voices=False), command)

    def identify(self, client_id: str, command: Identify, steps: Steps) -> dict[str, Any]:
        """Tell who speaks when, by name."""
        calibration = self.nets.embedder.card.calibration
        require_calibration(calibration, command.threshold)
        voiceprints = {label: self._readable(text) for label, text in command.voiceprints.items()}
        recording = self._diarize(client_id, command, steps, voices=True)
        result = identify(
            recording, voiceprints, calibration, exclusive=command.exclusive_matching, threshold=command.threshold
        )
        return identification_output(result, command)

    def verify(self, client_id: str, command: Verify, steps: Steps) -> dict[str, Any]:
        """Compare whoever speaks most with a voiceprint."""
        voiceprint = self._readable(command.voiceprint)
        waveform = self._hear(client_id, command.url, steps)
        return verification_output(verify(waveform, voiceprint, command.operating_point, self.nets, steps))

    def _diarize(self, client_id: str, command: Diarize, steps: Steps, *, voices: bool) -> RecordingDiarization:
        """Get a recording of any length and diarize it, block by block."""
        with steps("download"):
            file = self.fetcher.fetch(client_id, command.url, self.diarize_limits)
        hints = SpeakerHints(command.min_speakers or 1, command.max_speakers)
        with file, self.decoder.stream(file, self.diarize_limits.max_audio_s) as stream:
            return diarize_recording(stream, self.nets, steps, hints, voices=voices)

    def _hear(self, client_id: str, url: str, steps: Steps) -> Waveform:
        """Get a short recording, whole."""
        with steps("download"):
            file = self.fetcher.fetch(client_id, url, self.voiceprint_limits)
        with file, steps("decode"):
            return self.decoder.decode(file, self.voiceprint_limits.max_audio_s)

    def _require_model(self, handle: str | None) -> None:
        card = self.nets.embedder.card
        if handle not in (None, card.handle, card.model_id):
            raise ModelNotAvailable(f"Model {handle} is not served here; leave `model` out or ask for {card.handle}.")

    def _readable(self, text: str) -> Voiceprint:
        """Read a voiceprint string, before any work is done that it would make useless."""
        voiceprint = Voiceprint.decode(text)
        card = self.nets.embedder.card
        voiceprint.require_model(card.model_id, card.dimension)
        return voiceprint


_HANDLERS: dict[type[Command], Callable[..., dict[str, Any]]] = {
    CreateVoiceprint: Handlers.make_voiceprint,
    Diarize: Handlers.diarize,
    Identify: Handlers.identify,
    Verify: Handlers.verify,
}

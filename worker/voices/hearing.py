"""Hearing of a recording of an identity: the dominant speaker's voice, and the traces by which a copy is recognised."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from shared.domain.audio import Waveform
from shared.domain.fingerprints import find_copy
from shared.domain.identities import Heard, KnownTrace, Replay, ReplayKind, Trace
from shared.domain.results import VoiceprintResult
from worker.voices.fingerprint import fingerprint, sound_digest
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets, make_voiceprint


@dataclass(frozen=True, kw_only=True, eq=False)
class Hearing:
    """Voice that was heard in a recording, and the recording's trace."""

    heard: Heard = field(repr=False)
    trace: Trace = field(repr=False)


def hear(waveform: Waveform, nets: Nets, steps: Steps) -> Hearing:
    """Hear the dominant speaker of `waveform`, and take the recording's trace.

    Raises
    ------
    NoSpeech, TooLittleSpeech
    """
    voice = make_voiceprint(waveform, nets, steps)
    with steps("fingerprint"):
        # An announcement that many recordings share is another speaker's.
        trace = Trace(digest=sound_digest(waveform), fingerprint=fingerprint(waveform, voice.segments))
    return Hearing(heard=_heard(voice), trace=trace)


def hear_voice(waveform: Waveform, nets: Nets, steps: Steps) -> Heard:
    """Hear the dominant speaker of `waveform` alone.

    Raises
    ------
    NoSpeech, TooLittleSpeech
    """
    return _heard(make_voiceprint(waveform, nets, steps))


def hear_again(waveform: Waveform, before: Heard, nets: Nets, steps: Steps) -> Heard:
    """Hear a kept recording by the model that runs now; what only its file told stays as it was.

    Raises
    ------
    NoSpeech, TooLittleSpeech
    """
    heard = hear_voice(waveform, nets, steps)
    clipped = before.quality is not None and before.quality.clipped
    quality = replace(heard.quality, clipped=clipped) if heard.quality else None
    return replace(heard, quality=quality, sample_rate_hz=before.sample_rate_hz)


def _heard(voice: VoiceprintResult) -> Heard:
    return Heard(
        voiceprint=voice.voiceprint,
        quality=voice.quality,
        audio_s=voice.audio_s,
        speech_s=voice.speech_s,
        sample_rate_hz=voice.track.sample_rate_hz,
        dominant_speaker=voice.dominant_speaker,
        channels=voice.track.channels,
        warning=voice.warning,
    )


def find_replay(trace: Trace, known: Sequence[KnownTrace]) -> Replay | None:
    """Return the recording heard before of which another is a copy: the same sound, or else one that shares speech."""
    same = [one for one in known if one.trace.digest == trace.digest]
    if same:
        return _replay(ReplayKind.SAME, min(same, key=lambda one: one.heard_at))
    copy = find_copy(trace.fingerprint, [one.trace.fingerprint for one in known])
    return _replay(ReplayKind.COPY, known[copy.index]) if copy else None


def _replay(kind: ReplayKind, known: KnownTrace) -> Replay:
    return Replay(kind=kind, of=known.of, id=known.id, heard_at=known.heard_at)

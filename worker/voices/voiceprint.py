"""Voiceprint of a recording's dominant speaker, from a waveform and the neural networks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Segment, Track, Waveform, total_s
from shared.domain.diarization import Diarization
from shared.domain.errors import NoSpeech, SpeakerNotFound, TooLittleSpeech
from shared.domain.quality import Capture, Quality, measure
from shared.domain.results import VoiceprintResult, sentences
from shared.domain.voiceprints import Voiceprint
from shared.networks import Embedder, Frames, OverlapDetector, SpeechDetector
from shared.sound.level import evened
from worker.voices.clustering import diarize_speech
from worker.voices.overlap import find_overlaps
from worker.voices.progress import Steps


@dataclass(frozen=True)
class Nets:
    """The neural networks of one worker."""

    vad: SpeechDetector
    embedder: Embedder
    #: None where no segmentation model is installed: then one person speaks at a time.
    segmentation: OverlapDetector | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Speech:
    """Speech of a short recording, encoded and diarized."""

    waveform: Waveform
    #: All speech in it, in order and disjoint.
    segments: Sequence[Segment]
    #: Features of the speech of the diarization's turns, joined.
    frames: Frames
    diarization: Diarization


def make_voiceprint(waveform: Waveform, nets: Nets, steps: Steps, speaker: str | None = None) -> VoiceprintResult:
    """Find the dominant speaker of `waveform`, or the one of that label, and embed their voice.

    The encoder runs once over the recording's speech. The windows for clustering are pooled from its frames. So is the
    voiceprint itself when there is only one speaker.

    Raises
    ------
    NoSpeech, TooLittleSpeech, SpeakerNotFound
    """
    with steps("vad"):
        speech = nets.vad.speech_segments(waveform.samples)
    if not speech:
        none = "Nobody speaks in the recording; send one in which a voice can be heard."
        raise NoSpeech(sentences(none, waveform.track.warning))
    with steps("encode"):
        frames = nets.embedder.encode(evened(waveform.join(speech)))
    overlaps = find_overlaps(waveform.samples, nets.segmentation, steps)
    with steps("diarize"):
        diarization = diarize_speech(frames, speech, nets.embedder, overlaps)
    heard = Speech(waveform=waveform, segments=speech, frames=frames, diarization=diarization)
    if speaker is None:
        return voiceprint_of(heard, diarization.dominant_speaker(), nets, steps)
    _require_speaker(speaker, diarization.speakers)
    voice = voiceprint_of(heard, speaker, nets, steps, who=speaker)
    return replace(voice, quality=replace(voice.quality, lead=1.0))


def voiceprint_of(
    heard: Speech, speaker: str, nets: Nets, steps: Steps, who: str = "The recording's main speaker"
) -> VoiceprintResult:
    """Embed the voice of a speaker.

    Parameters
    ----------
    who : begins the sentence that refuses too little speech.

    Raises
    ------
    TooLittleSpeech
    """
    waveform = heard.waveform
    capture = measure(waveform, heard.segments, heard.diarization.voice_segments(speaker))
    require_speech(capture.net_speech_s, nets.embedder.card.min_speech_s, waveform.track, who)
    with steps("embed"):
        vector = _embed(waveform, heard.diarization, speaker, heard.frames, nets.embedder)
    return VoiceprintResult(
        voiceprint=Voiceprint(nets.embedder.card.model_id, vector, capture),
        diarization=heard.diarization,
        speaker=speaker,
        quality=judge(capture, heard.diarization, speaker, waveform.track.clipped),
        calibrated=nets.embedder.card.calibration is not None,
        speech_s=total_s(heard.segments),
        audio_s=waveform.duration_s,
        track=waveform.track,
        timings_s=steps.seconds,
    )


def _require_speaker(speaker: str, speakers: Sequence[str]) -> None:
    if speaker not in speakers:
        raise SpeakerNotFound(f"There is no {speaker} in the recording; ask for one of these: {', '.join(speakers)}.")


def judge(capture: Capture, diarization: Diarization, speaker: str, clipped: bool) -> Quality:
    """Return the quality of the voiceprint of `speaker`."""
    seconds = diarization.seconds_alone()
    # Where nobody speaks alone there is no sum to divide by.
    total = sum(seconds.values()) or 1.0
    next_s = max((s for other, s in seconds.items() if other != speaker), default=0.0)
    return Quality(
        capture=capture,
        num_speakers=len(seconds),
        share=seconds[speaker] / total,
        lead=(seconds[speaker] - next_s) / total,
        consistency=diarization.consistency[speaker],
        clipped=clipped,
    )


def require_speech(net_s: float, least_s: float, track: Track, who: str) -> None:
    """Refuse to make a voiceprint of too little speech, and say what was odd about the track.

    Raises
    ------
    TooLittleSpeech
    """
    if net_s < least_s:
        little = f"{who} talks for {net_s:.1f} s; at least {least_s:g} s of speech are needed."
        raise TooLittleSpeech(sentences(little, track.warning), net_s)


def _embed(
    waveform: Waveform, diarization: Diarization, speaker: str, frames: Frames, embedder: Embedder
) -> NDArray[np.float32]:
    segments = diarization.voice_segments(speaker)
    if segments == [turn.segment for turn in diarization.turns]:
        return embedder.pool(frames, [Segment(0.0, total_s(segments))])[0]
    return embedder.embed(evened(waveform.join(segments)))

"""Sound of a file: surveyed as a whole, then conditioned and written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from shared.domain.audio import SAMPLE_RATE_HZ, Channels, Planar, Track
from shared.sound.conditioning import Conditioner, Mix, Survey
from worker.recordings.av_reader import Sound, open_sound
from worker.recordings.decoder_protocol import EACH, MIX, Refusal, Refused, pack_track
from worker.recordings.part import Notes

#: Most sound that is kept in memory, summed over its channels: 60 s of stereo. A longer recording is read twice.
_KEPT_SAMPLES = 120 * SAMPLE_RATE_HZ
#: Most tracks that are heard in search of one in which something sounds: each costs a reading of the whole file.
_MOST_TRACKS = 16


@dataclass(frozen=True, eq=False)
class _Heard:
    """Track that has been read once."""

    number: int
    num_samples: int
    survey: Survey
    #: Plans for the channels as one.
    mixes: Mapping[int, Mix]
    notes: Notes
    #: All its blocks; None if they are too many.
    kept: list[Planar] | None

    @property
    def mix(self) -> Mix:
        """Plan for the greatest part of the track."""
        return next(iter(self.mixes.values()))

    def plans(self, channel: int) -> Mapping[int, Mix]:
        """Return the plans for a channel, `MIX` or `EACH`."""
        if channel == MIX:
            return self.mixes
        return self.survey.each() if channel == EACH else self.survey.one(channel)

    def described(self, plans: Mapping[int, Mix], channel: int) -> Track:
        """Return the track as the worker is told; channels are mixed as in the greatest part, and counted in all."""
        number = next(iter(plans)) if channel == MIX else max(plans)
        told = [plans[number]] if channel == MIX else [*plans.values()]
        return Track(
            duration_s=self.num_samples / SAMPLE_RATE_HZ,
            sample_rate_hz=self.notes.sample_rate_hz,
            channels=Channels(number=number, used=_united(plan.used for plan in told)),
            voices=_united(plan.voices for plan in told),
            two_people=any(plan.two_people for plan in plans.values()),
            clipped=any(plan.clipped for plan in told),
            lost_s=self.notes.lost_s,
            unread_bytes=self.notes.unread_bytes,
            named_less=self.notes.named_less,
            clock_broken=self.notes.clock_broken,
        )


def write_sound(file: BinaryIO, pipe: BinaryIO, max_s: float, channel: int = MIX) -> None:
    """Write the track to `pipe`, then its samples, float32 at 16 kHz, conditioned.

    Of several tracks the default one is taken, or else the first in which more sounds than noise. `max_s` limits the
    length, whatever the file's header says.

    Parameters
    ----------
    channel : number of the channel that is heard, `MIX` or `EACH`.

    Raises
    ------
    Refused
    """
    sound = open_sound(file, max_s)
    heard = _heard(sound)
    plans = heard.plans(channel)
    track = heard.described(plans, channel)
    pipe.write(pack_track(track))
    if channel >= track.channels.number:
        pipe.flush()
        raise Refused(Refusal.NO_CHANNEL)
    conditioner = Conditioner(plans)
    for block in heard.kept or sound.blocks(heard.number, Notes()):
        # Samples of one time lie next to each other.
        pipe.write(conditioner(block).T.tobytes())
    pipe.flush()


def _united(channels: Iterable[Sequence[int]]) -> tuple[int, ...]:
    return tuple(sorted({channel for some in channels for channel in some}))


def _heard(sound: Sound) -> _Heard:
    """Return the first track with more than noise, or else with sound, or else the first one."""
    first, *others = sound.tracks[:_MOST_TRACKS]
    best = _survey(sound, first)
    for track in others:
        if best.mix.may_speak:
            break
        heard = _survey(sound, track)
        if heard.mix.may_speak or (heard.mix.sounds and not best.mix.sounds):
            best = heard
    return best


def _survey(sound: Sound, track: int) -> _Heard:
    notes = Notes()
    survey = Survey()
    num_samples = 0
    kept: list[Planar] = []
    for block in sound.blocks(track, notes):
        survey.add(block)
        num_samples += block.shape[1]
        if num_samples * len(block) <= _KEPT_SAMPLES:
            kept.append(block)
    whole = sum(block.shape[1] for block in kept) == num_samples
    return _Heard(track, num_samples, survey, survey.mixes(), notes, kept if whole else None)

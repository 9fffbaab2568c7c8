"""Hearing of a job's recordings of one voice, one after the other; those that are unfit are left out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from shared.domain.audio import Waveform
from shared.domain.commands import EnrolVoice, VerifyIdentity
from shared.domain.errors import JobFailure, SampleRefused
from shared.domain.identities import Failure
from shared.domain.jobs import Claim
from shared.domain.limits import Limits
from worker.jobs.sources import SourceReader
from worker.jobs.stores import error_of
from worker.voices.hearing import Hearing, hear
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets


@dataclass(frozen=True, kw_only=True, eq=False)
class Hearings:
    """Recordings that were heard, one at least, and reasons why others were not, by their number from 0."""

    heard: Mapping[int, Hearing] = field(repr=False)
    unheard: Mapping[int, Failure]


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Listener to recordings of an identity.

    Parameters
    ----------
    plain_limits : limits where only plain WAV files are accepted.
    """

    reader: SourceReader
    nets: Nets
    limits: Limits
    plain_limits: Limits

    def hear(
        self,
        claim: Claim,
        command: EnrolVoice | VerifyIdentity,
        steps: Steps,
        take: Callable[[int, Waveform], None] = lambda number, waveform: None,
    ) -> Hearings:
        """Hear the recordings of a command; `take` is given the number and the sound of each that is fit.

        Raises
        ------
        JobFailure
            None of them is fit, or it is no recording's fault and may pass.
        """
        heard: dict[int, Hearing] = {}
        unheard: dict[int, Failure] = {}
        for number in range(len(command.sources)):
            try:
                waveform = self.waveform(claim, command, number, steps)
                heard[number] = hear(waveform, self.nets, steps)
            except JobFailure as failure:
                if failure.passing:
                    raise
                unheard[number] = Failure.of(failure)
            else:
                take(number, waveform)
            steps.progress((number + 1) / len(command.sources))
        if not heard:
            raise unfit(unheard)
        return Hearings(heard=heard, unheard=unheard)

    def waveform(self, claim: Claim, command: EnrolVoice | VerifyIdentity, number: int, steps: Steps) -> Waveform:
        """Return the sound of one recording of a command; raises a JobFailure."""
        limits = self.plain_limits if command.plain_wav else self.limits
        return self.reader.waveform(claim.client_id, command.sources[number], limits, steps, command.channel)


def unfit(failures: Mapping[int, Failure]) -> JobFailure:
    """Return the failure of a job none of whose recordings is fit: theirs, where they all have the same one."""
    told = [f"Recording {number + 1}: {failure.message}" for number, failure in sorted(failures.items())]
    first, *others = failures.values()
    if not others:
        return error_of(first)
    code = first.code if all(other.code == first.code for other in others) else SampleRefused.code
    return error_of(Failure(code=code, message=" ".join(["No recording is fit.", *told])))

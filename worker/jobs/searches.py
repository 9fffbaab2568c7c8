"""Handler of searches in a space, and the people of it whom an identification may name."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shared.domain.commands import Identify, Search
from shared.domain.errors import IdentityDeleted
from shared.domain.identities import GalleryRow, Name, RecordKind
from shared.domain.jobs import Claim
from shared.domain.limits import Limits
from shared.domain.models import ModelCard
from shared.domain.results import Candidate, RecordingDiarization, SearchResult
from shared.domain.search import Candidate as Found
from shared.domain.search import SearchResult as Ranking
from shared.domain.voiceprints import Voiceprint
from worker.jobs.galleries import Galleries
from worker.jobs.sources import SourceReader
from worker.jobs.stores import IdentityStores, require_served, use_of
from worker.voices.hearing import hear_voice
from worker.voices.identification import People
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets

#: Most people of a space who may be named in one recording.
_MOST_LABELS = 50
#: Least confidence, 0 to 100, at which a person of a space is named: above it no other person, and nobody, is likelier.
_LEAST_CONFIDENCE = 50


@dataclass(frozen=True, kw_only=True)
class SearchHandlers:
    """Handler of `Search`."""

    reader: SourceReader
    nets: Nets
    limits: Limits
    stores: IdentityStores
    galleries: Galleries

    def search(self, claim: Claim, command: Search, steps: Steps) -> SearchResult:
        """Name the people of a space whose voice the recording's dominant speaker may have.

        Raises
        ------
        IdentityDeleted, NoSpeech, TooLittleSpeech
        """
        space = self.stores.space(command.space)
        waveform = self.reader.waveform(claim.client_id, command.source, self.limits, steps, command.channel)
        heard = hear_voice(waveform, self.nets, steps)
        with steps("search"):
            found = self.galleries.search(
                space.id, heard.voiceprint, limit=command.limit, least_confidence=command.least_confidence
            )
            skipped = self.stores.enrolments.gallery_skipped(space.id, self._card.model_id)
            candidates = self._named(claim, found.candidates)
        self._count(claim, space.id, heard.audio_s)
        return SearchResult(
            candidates=candidates,
            nobody=None if found.nobody is None else int(100 * found.nobody),
            num_searched=found.searched,
            num_skipped=skipped,
            space=space.handle,
            heard=heard,
            calibrated=self._card.calibration is not None,
            timings_s=steps.seconds,
        )

    def enrolled(self, claim: Claim, command: Identify) -> People:
        """Return the voiceprints that an identification names by itself or by enrolment.

        Raises
        ------
        IdentityDeleted, ModelChanged
        """
        if not command.enrolments:
            return People(given=_one_each(command.voiceprints))
        rows = {row.enrolment_id: row for row in self._rows(list(command.enrolments.values()))}
        if set(command.enrolments.values()) - rows.keys():
            raise IdentityDeleted
        for row in rows.values():
            require_served(row.voiceprint.model_id, self._card)
        self._note(claim, [row.identity for row in rows.values()])
        labelled = {label: rows[enrolment].voiceprint for label, enrolment in command.enrolments.items()}
        return People(given=_one_each({**labelled, **command.voiceprints}))

    def with_space(
        self, claim: Claim, command: Identify, people: People, recording: RecordingDiarization, steps: Steps
    ) -> People:
        """Add the people of a space who are likely to speak in a recording, by their handles."""
        if command.space is None:
            return people
        space = self.stores.space(command.space)
        with steps("search"):
            rankings = {
                speaker: self._likely(space.id, voice, command.threshold) for speaker, voice in recording.voices.items()
            }
            rows = self._rows(_best([one for ranking in rankings.values() for one in ranking.candidates]))
        self._note(claim, [row.identity for row in rows])
        self._count(claim, space.id, recording.audio_s)
        weights = {speaker: found.weight for speaker, found in rankings.items() if found.weight is not None}
        return replace(people, found=_by_handle(rows), weights=weights)

    @property
    def _card(self) -> ModelCard:
        return self.nets.embedder.card

    def _likely(self, space_id: str, voice: Voiceprint, threshold: float) -> Ranking:
        least = max(_LEAST_CONFIDENCE, math.ceil(threshold))
        return self.galleries.search(space_id, voice, limit=_MOST_LABELS, least_confidence=least)

    def _named(self, claim: Claim, found: Sequence[Found]) -> list[Candidate]:
        """Return candidates with their names; an identity that was deleted meanwhile is left out."""
        self.stores.spaces.note_job(claim.job_id, claim.client_id, [one.identity for one in found])
        # Read once the job is noted: whoever deletes an identity from now on takes the job along.
        names = {row.identity.id: row.identity for row in self._rows([one.key for one in found])}
        return [
            Candidate(identity=names[one.identity], score=one.score, confidence=one.confidence)
            for one in found
            if one.identity in names
        ]

    def _note(self, claim: Claim, identities: Sequence[Name]) -> None:
        self.stores.spaces.note_job(claim.job_id, claim.client_id, [one.id for one in identities])

    def _rows(self, enrolment_ids: Sequence[str]) -> Sequence[GalleryRow]:
        return self.stores.enrolments.gallery_rows(enrolment_ids)

    def _count(self, claim: Claim, space_id: str, seconds: float) -> None:
        use = use_of(claim, RecordKind.SEARCH, self._card.model_id, claim.job_id, space_id, seconds)
        self.stores.verifications.count(use, claim.job_id)


def _one_each(voiceprints: Mapping[str, Voiceprint]) -> dict[str, list[Voiceprint]]:
    return {label: [voiceprint] for label, voiceprint in voiceprints.items()}


def _by_handle(rows: Sequence[GalleryRow]) -> dict[str, list[Voiceprint]]:
    found: dict[str, list[Voiceprint]] = defaultdict(list)
    for row in rows:
        found[row.identity.handle].append(row.voiceprint)
    return found


def _best(found: Sequence[Found]) -> list[str]:
    """Return the enrolments of the best candidates of all speakers."""
    ranked = sorted(found, key=lambda one: one.score if one.llr is None else one.llr, reverse=True)
    return list(dict.fromkeys(one.key for one in ranked))[:_MOST_LABELS]

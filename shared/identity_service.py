"""Identity service: spaces and identities, and the removal of whatever is kept of a person."""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from shared.domain.errors import ConsentRequired, HandleTaken, IdentityDeleted, NotFound
from shared.domain.identities import (
    Action,
    Actor,
    Consent,
    Identity,
    NewIdentity,
    RecordKind,
    RecordPage,
    RecordQuery,
    Removal,
    Space,
    is_id,
    now,
)
from shared.job_service import JobService
from shared.ports import RecordingStore, SpaceStore

Record = TypeVar("Record")

#: Identities that are looked up at a time, to be removed.
_MOST_EXPIRED = 100


@dataclass(frozen=True, kw_only=True)
class IdentityService:
    """Spaces and identities, over the ports."""

    store: SpaceStore
    recordings: RecordingStore
    jobs: JobService
    #: Whether each identity needs consent, or a space with a legal basis of its own.
    consent_required: bool = False

    def space(self, by: Actor, handle: str) -> Space:
        """Return a space of the actor; raises NotFound."""
        return existing(self.store.find_space(by.client_id, handle), RecordKind.SPACE)

    def space_of(self, by: Actor, identity_id: str) -> Space | None:
        """Return the space of the actor that has an identity; None where there is none."""
        return self.store.find_space_of(by.client_id, identity_id)

    def ensure_space(self, by: Actor, handle: str) -> Space:
        """Return a space of the actor, made if it is new."""
        return self.store.find_space(by.client_id, handle) or self.store.ensure_space(by, handle)

    def add_space(self, by: Actor, handle: str, alias: str | None = None) -> Space:
        """Make a space; raises HandleTaken."""
        return self.store.add_space(by, handle, alias)

    def change_space(self, by: Actor, space: Space) -> Space:
        """Store a changed space; raises HandleTaken, NotFound."""
        return _changed(self.store.change_space(by, space), space, RecordKind.SPACE)

    def list_spaces(self, by: Actor, query: RecordQuery) -> RecordPage[Space]:
        """Return a page of the actor's spaces."""
        return self.store.list_spaces(by.client_id, query)

    def add_identity(self, by: Actor, space: Space, new: NewIdentity) -> Identity:
        """Make an identity.

        Raises
        ------
        ConsentRequired, HandleTaken, NotFound
        """
        self.require_consent(space, new.consent)
        if new.handle is not None:
            # One whose time is over holds its handle until it is removed.
            self._living(space, new.handle)
        return self.store.add_identity(by, space.id, new)

    def ensure_identity(self, by: Actor, space: Space, reference: str, new: NewIdentity) -> Identity:
        """Return the identity of a space with that id or handle, made under that handle if it is new.

        Consent that is given with it replaces the one before.

        Raises
        ------
        ConsentRequired
        NotFound
            The reference has the form of an id, and there is no such identity.
        """
        found = self._living(space, reference)
        if found is not None or is_id(reference):
            return self._agreed(by, space, existing(found, RecordKind.IDENTITY), new.consent)
        try:
            return self.add_identity(by, space, replace(new, handle=reference))
        except HandleTaken:
            # Another request was faster.
            return self._agreed(by, space, self.identity(space, reference), new.consent)

    def _agreed(self, by: Actor, space: Space, identity: Identity, consent: Consent | None) -> Identity:
        """Return an identity with the newest consent, stored; raises ConsentRequired."""
        self.require_consent(space, consent or identity.consent)
        if consent is None or consent == identity.consent:
            return identity
        return self.change_identity(by, replace(identity, consent=consent))

    def require_agreed(self, space: Space, identity_id: str) -> None:
        """Refuse to keep more of an identity made before the operator required consent; raises ConsentRequired."""
        if self.consent_required:
            self.require_consent(space, self.identity(space, identity_id).consent)

    def require_consent(self, space: Space, consent: Consent | None) -> None:
        """Refuse an identity without consent where the operator requires it; raises ConsentRequired."""
        if self.consent_required and consent is None and space.consent_basis is None:
            raise ConsentRequired(
                "Send `consent` with `givenAt` and `reference`: this service requires it (TIMBRE_REQUIRE_CONSENT). "
                "Or state the legal basis of the whole space: PATCH /v1/space with `consentBasis`."
            )

    def identity(self, space: Space, reference: str) -> Identity:
        """Return the identity of a space with that id or handle; raises NotFound."""
        return existing(self._living(space, reference), RecordKind.IDENTITY)

    def _living(self, space: Space, reference: str) -> Identity | None:
        """Return an identity whose time is not over; housekeeping may be late, so one whose time is over is removed."""
        found = self.store.find_identity(space.id, reference)
        if found is None or found.expires_at is None or found.expires_at > now():
            return found
        self._expire(space.client_id, found.id)
        return None

    def list_identities(self, space: Space, query: RecordQuery) -> RecordPage[Identity]:
        """Return a page of a space's identities."""
        return self.store.list_identities(space.id, query)

    def change_identity(self, by: Actor, identity: Identity) -> Identity:
        """Store a changed identity; raises HandleTaken, NotFound."""
        return _changed(self.store.change_identity(by, identity), identity, RecordKind.IDENTITY)

    def note_job(self, by: Actor, job_id: str, identity_ids: Iterable[str]) -> None:
        """Note that a job is about identities, so that it goes with them; before the job is there."""
        self.store.note_job(job_id, by.client_id, identity_ids)

    def delete_identity(self, by: Actor, identity_id: str) -> Removal:
        """Remove an identity and everything below it; raises NotFound."""
        return self._delete(by, RecordKind.IDENTITY, identity_id)

    def delete_space(self, by: Actor, space_id: str) -> Removal:
        """Remove a space and everything in it; raises NotFound."""
        return self._delete(by, RecordKind.SPACE, space_id)

    def delete_record(self, by: Actor, kind: RecordKind, record_id: str) -> Removal:
        """Remove a sample, an enrolment or a verification; raises NotFound."""
        return self._delete(by, kind, record_id)

    def delete_client(self, client_id: str) -> Removal:
        """Remove everything that is kept for a client in spaces, usage and audit log."""
        by = Actor(client_id=client_id)
        counts: Counter[RecordKind] = Counter()
        while spaces := self.store.list_spaces(client_id, RecordQuery(take=100)).items:
            for space in spaces:
                with suppress(NotFound):
                    counts.update(self._delete(by, RecordKind.SPACE, space.id).counts)
        return replace(self.store.remove_client(client_id), counts=counts)

    def _delete(self, by: Actor, kind: RecordKind, record_id: str, action: Action = Action.DELETE) -> Removal:
        """Remove a record, its jobs first: a deletion that broke off can be asked for again.

        Jobs that were made meanwhile go after it.
        """
        jobs = self.store.jobs_about(kind, record_id)
        self._drop_jobs(jobs)
        removal = existing(self.store.remove(by, kind, record_id, action), kind)
        # What was dropped has ended with its reason, which its client may still read.
        self._drop_jobs(set(removal.jobs).difference(jobs))
        for sample_id in removal.recordings:
            self.recordings.remove(by.client_id, sample_id)
        return removal

    def _drop_jobs(self, jobs: Iterable[tuple[str, str]]) -> None:
        for client_id, job_id in jobs:
            self.jobs.drop(client_id, job_id, IdentityDeleted())

    def expire(self) -> None:
        """Remove identities whose time is over."""
        while over := self.store.expired(now(), _MOST_EXPIRED):
            for client_id, identity_id in over:
                self._expire(client_id, identity_id)

    def _expire(self, client_id: str, identity_id: str) -> None:
        with suppress(NotFound):
            self._delete(Actor(client_id=client_id), RecordKind.IDENTITY, identity_id, Action.EXPIRE)


def existing(record: Record | None, kind: RecordKind) -> Record:
    """Return a record; raises NotFound for None."""
    if record is None:
        raise NotFound.of(kind)
    return record


def _changed(found: bool, record: Record, kind: RecordKind) -> Record:
    return existing(record if found else None, kind)

"""Stores of lasting identities against a plain model: any order of calls, calls twice, two clients, and threads."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select

from shared.adapters.sql.tables import Base
from shared.domain.errors import HandleTaken, NotEnrolled, NotFound, SampleRefused, WrongState
from shared.domain.identities import (
    EnrolmentKind,
    EnrolmentState,
    Failure,
    NewEnrolment,
    RecordKind,
    SampleState,
    VerificationState,
    new_id,
)
from tests.support.lasting import ALL, MODEL, heard, lasting, pooled, trace, verified, voice

CLIENTS = ("ann", "bob")
FAILURE = Failure(code="no_speech", message="Nobody speaks.")
HANDLES = ("x", "y")
HOLDING = ("spaces", "identities", "samples", "enrolments", "enrolment_parts", "verifications", "record_keys",
           "identity_jobs", "usage_records", "audit_log")  # fmt: skip


@dataclass(eq=False)
class Person:
    client: str
    handle: str


@dataclass(eq=False)
class Recording:
    client: str
    person: str | None
    state: SampleState = SampleState.PENDING
    seed: int = 0


@dataclass(eq=False)
class Model:
    """An enrolment."""

    client: str
    person: str
    handle: str
    kind: EnrolmentKind
    least: int
    parts: list[str] = field(default_factory=list)
    state: EnrolmentState = EnrolmentState.OPEN
    version: int = 0
    job: str | None = None
    #: Seeds of the voices that it was pooled of.
    voices: list[int] | None = None


@dataclass(eq=False)
class Trial:
    """A verification."""

    client: str
    person: str
    enrolment: str | None
    state: VerificationState = VerificationState.PERFORMING


class Identities(RuleBasedStateMachine):
    engine = None
    numbers = count()

    @initialize()
    def start(self):
        run = next(self.numbers)
        self.seeds = count(1)
        self.stores = {client: lasting(self.engine, f"{client}{run}") for client in CLIENTS}
        self.spaces = {client: stores.space() for client, stores in self.stores.items()}
        self.people: dict[str, Person] = {}
        self.samples: dict[str, Recording] = {}
        self.enrolments: dict[str, Model] = {}
        self.trials: dict[str, Trial] = {}
        self.used: dict[str, list[tuple[str, str]]] = {client: [] for client in CLIENTS}

    def draw(self, data, there):
        """Draw the id of a record; its client's stores come with it."""
        record_id = data.draw(st.sampled_from(sorted(there, key=list(there).index)))
        return record_id, there[record_id], self.stores[there[record_id].client]

    # Identities and samples

    @rule(client=st.sampled_from(CLIENTS), handle=st.sampled_from(HANDLES))
    def add_identity(self, client, handle):
        if any((one.client, one.handle) == (client, handle) for one in self.people.values()):
            with pytest.raises(HandleTaken):
                self.stores[client].identity(self.spaces[client], handle)
            return
        made = self.stores[client].identity(self.spaces[client], handle, alias="Alias")
        self.people[made.id] = Person(client, handle)

    @precondition(lambda self: self.people)
    @rule(data=st.data(), assigned=st.booleans())
    def add_sample(self, data, assigned):
        person_id, person, stores = self.draw(data, self.people)
        space = self.spaces[person.client]
        identity = stores.spaces.find_identity(space.id, person_id) if assigned else None
        made = stores.pending(space, identity)
        self.samples[made.id] = Recording(person.client, identity and person_id)

    @precondition(lambda self: self.samples)
    @rule(data=st.data(), twice=st.booleans())
    def hear(self, data, twice):
        sample_id, sample, stores = self.draw(data, self.samples)
        seed, found = next(self.seeds), stores.enrolments.sample(sample_id)
        for _ in range(1 + twice):
            assert stores.keep(found, seed) == (sample.state is not SampleState.FAILED)
        if sample.state is SampleState.PENDING:
            sample.state, sample.seed = SampleState.READY, seed
            self.used[sample.client].append(("sample", sample_id))

    @precondition(lambda self: self.samples)
    @rule(data=st.data())
    def fail_sample(self, data):
        sample_id, sample, stores = self.draw(data, self.samples)
        stores.enrolments.fail_sample(sample_id, FAILURE)
        unused = not any(sample_id in enrolment.parts for enrolment in self.enrolments.values())
        if sample.state in (SampleState.PENDING, SampleState.READY) and unused:
            sample.state = SampleState.FAILED

    @precondition(lambda self: self.samples and self.people)
    @rule(data=st.data())
    def assign(self, data):
        sample_id, sample, stores = self.draw(data, self.samples)
        person_id, person, _ = self.draw(data, self.people)
        may = sample.person is None and sample.client == person.client
        assert stores.enrolments.assign(stores.by, sample_id, person_id) == may
        if may:
            sample.person = person_id

    # Enrolments

    @precondition(lambda self: self.people)
    @rule(
        data=st.data(),
        handle=st.sampled_from(HANDLES),
        kind=st.sampled_from(EnrolmentKind),
        least=st.sampled_from([1, 1, 2]),
        full=st.booleans(),
    )
    def open_enrolment(self, data, handle, kind, least, full):
        person_id, person, stores = self.draw(data, self.people)
        given = [self.draw(data, self.samples)[0]] if full and self.samples else []
        new = NewEnrolment(identity_id=person_id, handle=handle, kind=kind, min_samples=least)
        made = Model(person.client, person_id, handle, kind, least)
        taken = any((one.person, one.handle) == (person_id, handle) for one in self.enrolments.values())
        refused = not all(self.fits(made, sample_id) for sample_id in given)
        if taken or refused:
            with pytest.raises((HandleTaken, WrongState) if refused else HandleTaken):
                stores.enrolments.add_enrolment(stores.by, self.spaces[person.client].id, new, given)
            return
        enrolment = stores.enrolments.add_enrolment(stores.by, self.spaces[person.client].id, new, given)
        self.enrolments[enrolment.id] = made
        for sample_id in given:
            self.take(made, sample_id)

    def fits(self, enrolment, sample_id):
        sample = self.samples[sample_id]
        mine = sample.person in (None, enrolment.person) and sample.client == enrolment.client
        return mine and sample.state is SampleState.READY

    def take(self, enrolment, sample_id):
        self.samples[sample_id].person = enrolment.person
        if sample_id not in enrolment.parts:
            enrolment.parts.append(sample_id)

    @precondition(lambda self: self.enrolments and self.samples)
    @rule(data=st.data())
    def add_part(self, data):
        enrolment_id, enrolment, stores = self.draw(data, self.enrolments)
        sample_id = self.draw(data, self.samples)[0]
        may = enrolment.state is EnrolmentState.OPEN and self.fits(enrolment, sample_id)
        assert stores.enrolments.add_part(stores.by, enrolment_id, sample_id) == may
        if may:
            self.take(enrolment, sample_id)

    @precondition(lambda self: self.enrolments and self.samples)
    @rule(data=st.data())
    def remove_part(self, data):
        enrolment_id, enrolment, stores = self.draw(data, self.enrolments)
        sample_id = self.draw(data, self.samples)[0]
        may = enrolment.state is EnrolmentState.OPEN
        assert stores.enrolments.remove_part(stores.by, enrolment_id, sample_id) == may
        if may and sample_id in enrolment.parts:
            enrolment.parts.remove(sample_id)

    @precondition(lambda self: self.enrolments)
    @rule(data=st.data(), anew=st.sampled_from([False, False, True]))
    def begin_computing(self, data, anew):
        enrolment_id, enrolment, stores = self.draw(data, self.enrolments)
        state = EnrolmentState.COMPUTED if anew else EnrolmentState.OPEN
        may = enrolment.state is state and len(enrolment.parts) >= enrolment.least
        jobs = [new_id(), new_id()]
        begun = [stores.enrolments.begin_computing(stores.by, enrolment_id, job, anew=anew) for job in jobs]
        assert begun == [may, False]
        if may:
            enrolment.state, enrolment.job = EnrolmentState.COMPUTING, jobs[0]

    @precondition(lambda self: self.enrolments)
    @rule(data=st.data(), mine=st.sampled_from([True, True, False]), again=st.booleans())
    def compute(self, data, mine, again):
        enrolment_id, enrolment, stores = self.draw(data, self.enrolments)
        job = (mine and enrolment.job) or new_id()
        anew = {sample_id: next(self.seeds) for sample_id in enrolment.parts} if again else {}
        use = stores.use(RecordKind.ENROLMENT, enrolment_id, self.spaces[enrolment.client])
        values = {sample_id: heard(seed) for sample_id, seed in anew.items()}
        for _ in range(2):
            right = job == enrolment.job and enrolment.state is not EnrolmentState.OPEN
            computing = right and enrolment.state is EnrolmentState.COMPUTING
            if computing and len(enrolment.parts) < enrolment.least:
                with pytest.raises(SampleRefused):
                    stores.enrolments.compute(enrolment_id, job, pooled, use, anew=values)
                return
            found = stores.enrolments.compute(enrolment_id, job, pooled, use, anew=values)
            assert (found is not None) == right
            if computing:
                for sample_id, seed in anew.items():
                    self.samples[sample_id].seed = seed
                enrolment.state = EnrolmentState.COMPUTED
                self.pool(enrolment)
                self.used[enrolment.client].append(("enrolment", enrolment_id))

    def pool(self, enrolment):
        enrolment.voices = [self.samples[sample_id].seed for sample_id in enrolment.parts]
        enrolment.version += 1

    @precondition(lambda self: self.enrolments)
    @rule(data=st.data(), mine=st.booleans())
    def fail_enrolment(self, data, mine):
        enrolment_id, enrolment, stores = self.draw(data, self.enrolments)
        stores.enrolments.fail_enrolment(enrolment_id, (mine and enrolment.job) or new_id(), FAILURE)
        if mine and enrolment.state is EnrolmentState.COMPUTING:
            enrolment.state = EnrolmentState.OPEN if enrolment.voices is None else EnrolmentState.COMPUTED

    @precondition(lambda self: self.enrolments and self.samples)
    @rule(data=st.data(), twice=st.booleans())
    def grow(self, data, twice):
        enrolment_id, enrolment, stores = self.draw(data, self.enrolments)
        sample_id = self.draw(data, self.samples)[0]
        use = stores.use(RecordKind.ENROLMENT, enrolment_id, self.spaces[enrolment.client])
        old = sample_id in enrolment.parts
        may = enrolment.kind is EnrolmentKind.GROWING and (old or self.fits(enrolment, sample_id))
        for _ in range(1 + twice):
            assert (stores.enrolments.grow(enrolment_id, sample_id, pooled, use) is not None) == may
        if may:
            self.take(enrolment, sample_id)
            opened = enrolment.state is EnrolmentState.OPEN and len(enrolment.parts) >= enrolment.least
            if opened:
                enrolment.state = EnrolmentState.COMPUTED
            if opened or (not old and enrolment.state is not EnrolmentState.OPEN):
                self.pool(enrolment)
                self.used[enrolment.client].append(("enrolment", enrolment_id))

    # Verifications

    @precondition(lambda self: self.enrolments)
    @rule(data=st.data(), stranger=st.booleans())
    def verify(self, data, stranger):
        enrolment_id, enrolment, stores = self.draw(data, self.enrolments)
        found = stores.enrolments.enrolment(enrolment_id)
        if stranger:
            other = next(client for client in CLIENTS if client != enrolment.client)
            with pytest.raises(NotFound):
                self.stores[other].performing(self.spaces[other], found)
        elif enrolment.voices is None:
            with pytest.raises(NotEnrolled):
                stores.performing(self.spaces[enrolment.client], found)
        else:
            made = stores.performing(self.spaces[enrolment.client], found)
            self.trials[made.id] = Trial(enrolment.client, enrolment.person, enrolment_id)

    @precondition(lambda self: self.trials)
    @rule(data=st.data(), twice=st.booleans())
    def settle(self, data, twice):
        trial_id, trial, stores = self.draw(data, self.trials)
        use = stores.use(RecordKind.VERIFICATION, trial_id, self.spaces[trial.client])
        for _ in range(1 + twice):
            stored = stores.verifications.settle_verification(trial_id, verified(1), [trace(1)], use)
            assert stored == (trial.state is not VerificationState.FAILED)
        if trial.state is VerificationState.PERFORMING:
            trial.state = VerificationState.PERFORMED
            self.used[trial.client].append(("verification", trial_id))

    @precondition(lambda self: self.trials)
    @rule(data=st.data())
    def fail_verification(self, data):
        trial_id, trial, stores = self.draw(data, self.trials)
        stores.verifications.fail_verification(trial_id, FAILURE)
        if trial.state is VerificationState.PERFORMING:
            trial.state = VerificationState.FAILED

    # Removal

    def remove(self, kind, record_id, record):
        stores = self.stores[record.client]
        assert stores.spaces.remove(stores.by, kind, record_id).counts[kind] == 1
        assert stores.spaces.remove(stores.by, kind, record_id) is None

    @precondition(lambda self: self.samples)
    @rule(data=st.data())
    def remove_sample(self, data):
        sample_id, sample, _ = self.draw(data, self.samples)
        self.remove(RecordKind.SAMPLE, sample_id, sample)
        del self.samples[sample_id]
        for enrolment in self.enrolments.values():
            if sample_id in enrolment.parts:
                enrolment.parts.remove(sample_id)
                if enrolment.kind is EnrolmentKind.GROWING and enrolment.voices is not None:
                    self.pool_again(enrolment)

    def pool_again(self, enrolment):
        if len(enrolment.parts) >= enrolment.least:
            self.pool(enrolment)
        else:
            enrolment.state, enrolment.voices = EnrolmentState.OPEN, None

    @precondition(lambda self: self.enrolments)
    @rule(data=st.data())
    def remove_enrolment(self, data):
        enrolment_id, enrolment, _ = self.draw(data, self.enrolments)
        self.remove(RecordKind.ENROLMENT, enrolment_id, enrolment)
        del self.enrolments[enrolment_id]
        for trial in self.trials.values():
            if trial.enrolment == enrolment_id:
                trial.enrolment = None

    @precondition(lambda self: self.trials)
    @rule(data=st.data())
    def remove_verification(self, data):
        trial_id, trial, _ = self.draw(data, self.trials)
        self.remove(RecordKind.VERIFICATION, trial_id, trial)
        del self.trials[trial_id]

    @precondition(lambda self: self.people)
    @rule(data=st.data())
    def remove_identity(self, data):
        person_id, person, _ = self.draw(data, self.people)
        self.remove(RecordKind.IDENTITY, person_id, person)
        del self.people[person_id]
        for name in ("samples", "enrolments", "trials"):
            setattr(self, name, {i: one for i, one in getattr(self, name).items() if one.person != person_id})

    @rule(client=st.sampled_from(CLIENTS))
    def remove_space(self, client):
        stores = self.stores[client]
        stores.spaces.remove(stores.by, RecordKind.SPACE, self.spaces[client].id)
        self.spaces[client] = stores.space()
        for name in ("people", "samples", "enrolments", "trials"):
            setattr(self, name, {i: one for i, one in getattr(self, name).items() if one.client != client})

    # What must hold

    def of(self, client, records):
        return {record_id: one for record_id, one in records.items() if one.client == client}

    @invariant()
    def the_stores_are_as_the_model_says(self):
        for client, stores in self.stores.items():
            space = self.spaces[client].id
            people = {one.id: one.handle for one in stores.spaces.list_identities(space, ALL).items}
            assert people == {i: one.handle for i, one in self.of(client, self.people).items()}
            samples = {
                one.id: (one.identity and one.identity.id, one.state)
                for one in stores.enrolments.list_samples(space, ALL).items
            }
            assert samples == {i: (one.person, one.state) for i, one in self.of(client, self.samples).items()}
            trials = {
                one.id: (one.state, one.enrolment and one.enrolment.id, one.result is not None)
                for one in stores.verifications.list_verifications(space, ALL).items
            }
            assert trials == {
                i: (one.state, one.enrolment, one.state is VerificationState.PERFORMED)
                for i, one in self.of(client, self.trials).items()
            }
            assert stores.usage() == sorted(self.used[client])

    @invariant()
    def enrolments_are_as_the_model_says(self):
        for client, stores in self.stores.items():
            space, mine = self.spaces[client].id, self.of(client, self.enrolments)
            found = {one.id: one for one in stores.enrolments.list_enrolments(space, ALL).items}
            assert {i: (one.state, one.version, one.num_samples) for i, one in found.items()} == {
                i: (one.state, one.version, len(one.parts)) for i, one in mine.items()
            }
            for enrolment_id, one in mine.items():
                self.voiceprint_is_the_pool(found[enrolment_id].voiceprint, one.voices)
            computed = {i: one.version for i, one in mine.items() if one.voices is not None}
            assert stores.enrolments.gallery_index(space, MODEL) == computed
            assert {row.enrolment_id for row in stores.enrolments.gallery_rows(list(mine))} == set(computed)

    def voiceprint_is_the_pool(self, voiceprint, seeds):
        assert (voiceprint is None) == (seeds is None)
        if seeds is not None:
            mean = np.mean([voice(seed).vector for seed in seeds], axis=0)
            np.testing.assert_allclose(voiceprint.vector, mean / np.linalg.norm(mean), atol=1e-5)

    @invariant()
    def there_is_a_key_for_each_record_and_for_nothing_else(self):
        records = len(self.people) + len(self.samples) + len(self.enrolments) + len(self.trials)
        assert count_rows(self.engine, "record_keys") == records
        assert count_rows(self.engine, "enrolment_parts") == sum(len(one.parts) for one in self.enrolments.values())

    def teardown(self):
        for stores in getattr(self, "stores", {}).values():
            stores.spaces.remove_client(stores.by.client_id)
        assert {name: count_rows(self.engine, name) for name in HOLDING} == dict.fromkeys(HOLDING, 0)


def count_rows(engine, name):
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(Base.metadata.tables[name]))


def test_no_order_of_calls_breaks_the_records(engine):
    Identities.engine = engine
    run_state_machine_as_test(
        Identities,
        settings=settings(
            max_examples=8, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


# Threads


def at_once(*calls):
    """Make calls at the same time; returns what each returned. What one raises is raised."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [made.result() for made in [pool.submit(run, call) for call in calls]]


@pytest.fixture
def space(acme):
    return acme.space()


ROUNDS = range(6)


def test_of_two_computations_at_once_one_begins(acme, space):
    ann = acme.identity(space, "ann")
    samples = [acme.ready(space, ann)]
    for number in ROUNDS:
        once = acme.open(ann, samples, handle=f"once{number}")
        begun = at_once(*[lambda once=once: acme.enrolments.begin_computing(acme.by, once.id, new_id())] * 4)
        assert sorted(begun) == [False, False, False, True]


def test_a_sample_that_is_added_while_computing_begins_is_in_it_or_refused(acme, space):
    ann = acme.identity(space, "ann")
    first, second = (acme.ready(space, ann) for _ in range(2))
    for number in ROUNDS:
        once, job = acme.open(ann, [first], handle=f"once{number}"), new_id()

        def begin_and_compute(once=once, job=job):
            assert acme.enrolments.begin_computing(acme.by, once.id, job)
            return acme.enrolments.compute(once.id, job, pooled, None)

        added, done = at_once(
            lambda once=once: acme.enrolments.add_part(acme.by, once.id, second.id), begin_and_compute
        )
        assert done.num_samples == 1 + added
        assert done.voiceprint.capture.net_speech_s == 5.0 * (1 + added)


def test_a_result_is_stored_and_counted_once_by_workers_at_once(acme, space):
    ann = acme.identity(space, "ann")
    sample = acme.pending(space, ann)
    assert at_once(*[lambda: acme.keep(sample, 1)] * 4) == [True] * 4
    main = acme.growing(space, ann)
    use = acme.use(RecordKind.ENROLMENT, main.id, space)
    grown = at_once(*[lambda: acme.enrolments.grow(main.id, sample.id, pooled, use)] * 4)
    assert [one.version for one in grown] == [1] * 4
    trial = acme.performing(space, acme.enrolments.enrolment(main.id))
    assert at_once(*[lambda: acme.settle(trial)] * 4) == [True] * 4
    search = acme.use(RecordKind.SEARCH, space.id, space)
    at_once(*[lambda: acme.verifications.count(search, "0" * 36)] * 4)
    assert acme.usage() == sorted(
        [("sample", sample.id), ("enrolment", main.id), ("verification", trial.id), ("search", space.id)]
    )


def test_a_verification_is_settled_and_counted_or_called_off(acme, space):
    ann = acme.identity(space, "ann")
    enrolment = acme.computed(ann, [acme.ready(space, ann)])
    settled = 0
    for _ in ROUNDS:
        trial = acme.performing(space, enrolment)
        *stored, called_off = at_once(
            *[lambda trial=trial: acme.settle(trial)] * 3,
            lambda trial=trial: acme.verifications.call_off_verification(trial.id, FAILURE),
        )
        assert stored == [not called_off] * 3
        settled += not called_off
    assert acme.spaces.find_identity(space.id, "ann").num_accepted == settled


def test_decisions_at_once_are_all_counted(acme, space):
    ann = acme.identity(space, "ann")
    enrolment = acme.computed(ann, [acme.ready(space, ann)])
    trials = [acme.performing(space, enrolment) for _ in range(8)]
    at_once(*[lambda one=one: acme.settle(one) for one in trials])
    assert acme.spaces.find_identity(space.id, "ann").num_accepted == 8


def test_what_is_made_by_everybody_at_once_is_made_once(acme, space):
    ann = acme.identity(space, "ann")
    made = at_once(*[lambda: acme.growing(space, ann)] * 4, *[lambda: acme.space("new")] * 4)
    assert len({one.id for one in made[:4]}) == len({one.id for one in made[4:]}) == 1
    at_once(*[lambda: acme.spaces.note_job("job", acme.by.client_id, [ann.id])] * 4)


def tolerant(call):
    """Return a call that may find nothing any more, but fails in no other way."""

    def run():
        try:
            return call()
        except (NotFound, NotEnrolled, WrongState, SampleRefused):
            return None

    return run


def remove_among_others(acme, kind, space):
    """Remove an identity or a space while others read it and write to it."""
    ann = acme.identity(space, "ann")
    ready, pending, loose = acme.ready(space, ann), acme.pending(space, ann), acme.ready(space)
    main, once = acme.growing(space, ann, [ready]), acme.open(ann, [ready])
    trial = acme.performing(space, main)
    record = space if kind is RecordKind.SPACE else ann
    others = (
        lambda: acme.settle(trial),
        lambda: acme.keep(pending),
        lambda: acme.enrolments.grow(main.id, loose.id, pooled, None),
        lambda: acme.enrolments.begin_computing(acme.by, once.id, "job"),
        lambda: acme.enrolments.add_part(acme.by, once.id, loose.id),
        lambda: acme.pending(space, ann),
        lambda: acme.performing(space, main),
        lambda: acme.spaces.change_identity(acme.by, ann),
        lambda: acme.spaces.note_job("job", acme.by.client_id, [ann.id]),
        lambda: acme.spaces.list_identities(space.id, ALL),
        lambda: acme.enrolments.list_enrolments(space.id, ALL),
        lambda: acme.verifications.list_verifications(space.id, ALL),
        lambda: acme.spaces.remove(acme.by, RecordKind.SAMPLE, ready.id),
    )
    removal, *_ = at_once(lambda: acme.spaces.remove(acme.by, kind, record.id), *map(tolerant, others))
    assert removal.counts[kind] == 1


@pytest.mark.parametrize("kind", [RecordKind.IDENTITY, RecordKind.SPACE])
def test_a_removal_among_writers_and_readers_leaves_nothing_and_fails_nobody(kind, acme, engine):
    for number in ROUNDS:
        space = acme.space(f"space{number}")
        remove_among_others(acme, kind, space)
        people = acme.spaces.list_identities(space.id, ALL)
        assert people.total == 0
        # What is not of the identity.
        acme.spaces.remove(acme.by, RecordKind.SPACE, space.id)
        left = {name: count_rows(engine, name) for name in HOLDING[1:-2]}
        assert left == dict.fromkeys(HOLDING[1:-2], 0)


def test_many_writers_at_once_all_write(acme, space):
    def write(number):
        ann = acme.identity(space, f"p{number}")
        acme.settle(acme.performing(space, acme.growing(space, ann, [acme.ready(space, ann)])))
        if number % 3 == 0:
            acme.spaces.remove(acme.by, RecordKind.IDENTITY, ann.id)
        return acme.spaces.list_identities(space.id, ALL).total

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(write, range(48)))
    assert acme.spaces.list_identities(space.id, ALL).total == 32

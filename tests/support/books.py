"""What became of identities' records, read from the database's own tables after everything is done."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Engine, text

#: States of records that wait for a job.
_WAITING = ("pending", "computing", "performing")


@dataclass(frozen=True)
class Grown:
    """Enrolment: how often it was computed, and of how many samples it is."""

    version: int
    samples: frozenset[str]


@dataclass(frozen=True)
class Books:
    """States of samples and verifications, enrolments, and uses that were counted, by id."""

    samples: dict[str, str]
    verifications: dict[str, str]
    enrolments: dict[str, Grown]
    #: By kind and id of the record.
    uses: Counter[tuple[str, str]]
    #: Records that wait for a job.
    waiting: int

    @classmethod
    def read(cls, engine: Engine) -> "Books":
        """Read the tables."""
        samples = _rows(engine, "SELECT id, state FROM samples")
        verifications = _rows(engine, "SELECT id, state FROM verifications")
        parts = _rows(engine, "SELECT enrolment_id, sample_id FROM enrolment_parts")
        versions = _rows(engine, "SELECT id, version, state FROM enrolments")
        states = [row[-1] for row in (*samples, *verifications, *versions)]
        return cls(
            samples=dict(samples),
            verifications=dict(verifications),
            enrolments={
                one: Grown(version, frozenset(sample for enrolment, sample in parts if enrolment == one))
                for one, version, _ in versions
            },
            uses=Counter(_rows(engine, "SELECT kind, subject_id FROM usage_records")),
            waiting=sum(state in _WAITING for state in states),
        )


def _rows(engine: Engine, query: str) -> list[tuple]:  # type: ignore[type-arg]
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]

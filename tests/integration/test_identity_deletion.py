"""What is kept of a person, searched for in every file: sealed before a deletion, and gone after it."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from shared.adapters.dir_media import DirMedia
from shared.adapters.media import open_recordings
from shared.adapters.redis_client import connect
from shared.adapters.redis_deliveries import RedisDeliveries
from shared.adapters.redis_file import RedisFile
from shared.adapters.sealing import Sealer
from shared.adapters.sql.database import open_database
from shared.adapters.sql.tables import Base
from shared.domain.errors import SealBroken
from shared.domain.identities import Consent, HeardSample, NewVoice, RecordKind, new_id, now
from shared.domain.jobs import Status
from shared.identity_service import IdentityService
from shared.local.stack import RedisServer
from shared.settings import Settings
from tests.support.client import eventually
from tests.support.lasting import ALL, SECRET, heard, lasting, pooled, trace, verified
from tests.support.records import ENVELOPE, HOOK, finish, job_service, job_store, submission

HANDLE, ALIAS, CONSENT = "handle-of-ann", "Ann of the Needles", "consent-of-ann"
#: Tables of identities; what each row is sealed in starts with `sealed`, and `sound` is a keyed hash.
SEALED = ("identities", "samples", "enrolments", "verifications", "verified_sounds", "record_keys")


@dataclass(frozen=True)
class Person:
    """A person of whom everything is kept, and another of whom the same stays."""

    stores: object
    space: object
    identity: object
    plain: list
    sealed: list


def values(engine, names=SEALED):
    """Return all sealed values of tables."""
    found = []
    with engine.connect() as connection:
        for name in names:
            table = Base.metadata.tables[name]
            columns = [column for column in table.columns if column.name.startswith(("sealed", "sound"))]
            found += [value for row in connection.execute(table.select().with_only_columns(*columns)) for value in row]
    return [bytes(value) for value in found if value is not None]


def person(engine, client="acme"):
    """Keep everything of a person; returns it with what must be found nowhere in clear, and with what is sealed."""
    before = set(values(engine))
    stores = lasting(engine, client)
    space = stores.space()
    consent = Consent(given_at=now(), reference=CONSENT, text=f"{CONSENT}: yes")
    identity = stores.identity(space, HANDLE, alias=ALIAS, consent=consent)
    sample = stores.pending(space, identity, alias=ALIAS)
    stores.keep(sample, 1)
    enrolment = stores.computed(identity, [sample], alias=ALIAS)
    stores.growing(space, identity, [sample])
    stores.settle(stores.performing(space, enrolment, alias=ALIAS), 2, result=verified(2))
    plain = [ALIAS.encode(), CONSENT.encode()]
    for seed in (1, 2):
        print_ = heard(seed).voiceprint
        plain += [print_.vector.tobytes()[40:80], print_.encode().encode()[60:120]]
        plain += [trace(seed).digest, trace(seed).fingerprint.words.tobytes()[40:80]]
    return Person(stores, space, identity, plain, sorted(set(values(engine)) - before))


def content(folder):
    """Return all bytes of the files of a folder."""
    found = []
    for path in sorted(Path(folder).rglob("*")):
        try:
            found.append(path.read_bytes() if path.is_file() else b"")
        except FileNotFoundError:
            continue
    return b"\n".join(found)


def hits(folder, needles):
    """Count the needles that are in any file of a folder."""
    hay = content(folder)
    return sum(needle in hay for needle in needles)


REMOVALS = {
    "identity": lambda one: one.stores.spaces.remove(one.stores.by, RecordKind.IDENTITY, one.identity.id),
    "space": lambda one: one.stores.spaces.remove(one.stores.by, RecordKind.SPACE, one.space.id),
    "client": lambda one: one.stores.spaces.remove_client(one.stores.by.client_id),
}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def sqlite(folder):
    engine = open_database(f"sqlite:///{folder / 'timbre.db'}")
    yield engine
    engine.dispose()


@pytest.mark.parametrize("what", REMOVALS)
def test_after_a_deletion_no_file_of_sqlite_holds_anything_of_the_person(what, sqlite, folder):
    ann, other = person(sqlite), person(sqlite, "other")
    wanted = [*ann.sealed, HANDLE.encode(), ann.identity.id.encode()]
    assert len(ann.sealed) > 10
    assert hits(folder, wanted) == len(wanted)
    assert hits(folder, ann.plain) == 0
    REMOVALS[what](ann)
    other.stores.spaces.remove(other.stores.by, RecordKind.IDENTITY, other.identity.id)
    assert hits(folder, [*ann.sealed, *ann.plain, *other.sealed, HANDLE.encode()]) == 0
    assert (folder / "timbre.db-wal").stat().st_size == 0


def test_no_file_of_sqlite_holds_anything_of_a_sample_that_newer_ones_replaced(sqlite, folder):
    stores = lasting(sqlite)
    space, identity_id, found = stores.space(), new_id(), []
    for seed in (1, 2):
        samples = [HeardSample(id=new_id(), heard=heard(seed), trace=trace(seed))]
        new = NewVoice(space_id=space.id, identity_id=identity_id, handle=None if found else HANDLE, samples=samples,
                       kept_until=None, most_samples=1)  # fmt: skip
        job_id = new_id()
        stores.enrolments.begin_voice(stores.by, space.id, job_id)
        assert stores.enrolments.enrol_voice(job_id, new, pooled, [])
        with sqlite.connect() as connection:
            key = connection.scalar(text("SELECT sealed FROM record_keys WHERE id = :id"), {"id": samples[0].id})
        found.append([*values(sqlite, ["samples"]), bytes(key)])
    assert [hits(folder, one) for one in found] == [0, len(found[1])]


def test_what_a_reader_holds_up_is_gone_after_the_next_housekeeping(sqlite, folder):
    ann = person(sqlite)
    with sqlite.connect() as reader:
        assert reader.scalar(text("SELECT count(*) FROM identities")) == 1
        REMOVALS["identity"](ann)
    long_ago = now().replace(year=2000)
    ann.stores.verifications.forget(verifications=long_ago, usage=long_ago, audit=long_ago, jobs=long_ago)
    assert hits(folder, [*ann.sealed, HANDLE.encode()]) == 0


def test_postgresql_holds_nothing_in_clear_and_its_tables_nothing_after_a_deletion(postgres_url):
    server = Settings(database_url=postgres_url).sql_url()
    cluster = Path(postgres_url.rpartition("host=")[2]) / "data"
    engine = _schema(server, "deletion")
    ann = person(engine)
    administrator = create_engine(server, isolation_level="AUTOCOMMIT")
    with administrator.connect() as connection:
        connection.execute(text("CHECKPOINT"))
        assert hits(cluster, ann.sealed) == len(ann.sealed)
        assert hits(cluster, ann.plain) == 0
        REMOVALS["space"](ann)
        assert values(engine) == []
        # Dead rows stay until they are overwritten. A table that is written anew has none, but for those that a
        # transaction may still read: one of the server's own, say.
        gone = [*ann.sealed, *ann.plain, HANDLE.encode()]
        eventually(lambda: _written_anew(connection, cluster / "base", gone), within_s=120)
    for one in (administrator, engine):
        one.dispose()
    assert hits(cluster, ann.plain) == 0


def _written_anew(connection, folder, gone):
    for name in SEALED:
        connection.execute(text(f"VACUUM FULL deletion.{name}"))
    connection.execute(text("CHECKPOINT"))
    return hits(folder, gone) == 0


def _schema(server, name):
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA IF EXISTS {name} CASCADE"))
        connection.execute(text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    return open_database(f"{server}&options=-csearch_path%3D{name}")


def test_a_copy_of_all_tables_but_the_keys_cannot_be_read(sqlite, folder, tmp_path):
    ann = person(sqlite)
    keys = set(values(sqlite, ["record_keys"]))
    with (
        closing(sqlite3.connect(folder / "timbre.db")) as source,
        closing(sqlite3.connect(tmp_path / "copy.db")) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        copy.execute("PRAGMA secure_delete=ON")
        copy.execute("DELETE FROM record_keys")
        copy.commit()
    there = (tmp_path / "copy.db").read_bytes()
    assert HANDLE.encode() in there
    rest = [value for value in ann.sealed if value not in keys]
    assert all(value in there for value in rest)
    assert not any(value in there for value in [*keys, *ann.plain])
    # The server secret opens the keys alone.
    for value in rest:
        for context in (ann.identity.id, f"{ann.identity.id}/sealed"):
            with pytest.raises(SealBroken):
                Sealer(SECRET, "record keys").unseal(value, context)


@pytest.fixture
def redis_alone(tmp_path):
    server = RedisServer(tmp_path / "redis", tmp_path / "redis.log")
    server.wait()
    with connect(server.url) as client:
        yield client
    server.stop()


def test_results_leave_redis_and_recordings_leave_the_folder_with_the_identity(sqlite, folder, redis_alone, tmp_path):
    redis = redis_alone
    jobs = job_store(redis, lambda: int(redis.time()[0] * 1000))
    media = DirMedia(folder / "media", ttl_s=3600, quota_bytes=10**9)
    ann = person(sqlite)
    client_id = ann.stores.by.client_id
    recordings = open_recordings(Settings(data_dir=folder), ann.stores.enrolments.recording_key)
    service = job_service(jobs, media=media, deliveries=RedisDeliveries(redis, ENVELOPE))
    identities = IdentityService(store=ann.stores.spaces, recordings=recordings, jobs=service)
    media.save(client_id, "a", [b"sound of ann"])
    sample = ann.stores.ready(ann.space, ann.identity, kept_until=now())
    recordings.keep(client_id, sample.id, b"recording of ann")
    assert hits(folder, [b"sound of ann", b"recording of ann"]) == 1
    kept = (folder / "recordings" / client_id / sample.id).read_bytes()
    job = jobs.create(sample.job_id, client_id, submission("media://a", HOOK))
    ann.stores.spaces.note_job(job.id, client_id, [ann.identity.id])
    finish(jobs, jobs.claim(), Status.SUCCEEDED, {"voiceprint": "x" * 300})
    result = redis.hget(f"timbre:job:{job.id}", "output").encode()
    eventually(lambda: hits(tmp_path / "redis", [result]) == 1)
    identities.delete_identity(ann.stores.by, ann.identity.id)
    file = RedisFile(redis, every_s=0.001)
    eventually(lambda: file.forget() or hits(tmp_path / "redis", [result]) == 0)
    assert hits(folder, [b"sound of ann", kept, *ann.sealed, HANDLE.encode()]) == 0


def test_the_command_line_deletes_a_client_with_all_that_is_kept_for_it(tmp_path, redis_alone):
    redis, folder = redis_alone, tmp_path / "data"
    address = f"unix://{redis.config_get('unixsocket')['unixsocket']}"
    settings = Settings(data_dir=folder, secret="s" * 32, redis_url=address)
    environment = os.environ | {
        "TIMBRE_DATA_DIR": str(folder), "TIMBRE_SECRET": "s" * 32, "TIMBRE_REDIS_URL": address,
    }  # fmt: skip

    def keys(*arguments, status=0):
        command = [sys.executable, "-m", "api.keys", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout.strip() or done.stderr.strip()

    engine = open_database(settings.sql_url())
    ann, other = (person(engine, client) for client in ("acme", "other"))
    client_id, media = ann.stores.by.client_id, DirMedia(folder / "media", ttl_s=3600, quota_bytes=10**9)
    jobs = job_store(redis, lambda: int(redis.time()[0] * 1000))
    for name in ("a", "b"):
        media.save(client_id, name, [b"sound of ann"])
    sample = ann.stores.ready(ann.space, ann.identity, kept_until=now())
    recordings = open_recordings(settings, ann.stores.enrolments.recording_key)
    recordings.keep(client_id, sample.id, b"sound")
    for number in range(3):
        jobs.create(f"{number}" * 36, client_id, submission("media://a", HOOK))
    finish(jobs, jobs.claim(), Status.SUCCEEDED, {"voiceprint": "x"})
    receipt = keys("delete-client", "acme")
    assert receipt.startswith(f"deleted acme  client {client_id}  at ")
    assert receipt.partition("Z")[2] == (
        "  jobs 3  space 1  identity 1  sample 2  enrolment 2  verification 1  uploads 1  keys 1  webhook secrets 1"
    )
    assert redis.keys("timbre:job:*") == []
    assert hits(folder, [b"sound of ann", client_id.encode(), *ann.sealed]) == 0
    assert [path for path in (folder / "recordings").rglob("*") if path.is_file()] == []
    assert other.stores.spaces.find_identity(other.space.id, HANDLE).alias == ALIAS
    assert "acme" not in keys("list")
    assert "no client called acme" in keys("delete-client", "acme", status=1)
    environment["TIMBRE_REDIS_URL"] = "redis://127.0.0.1:1/0"
    assert "TIMBRE_REDIS_URL" in keys("delete-client", "other", status=1)
    assert other.stores.spaces.list_identities(other.space.id, ALL).total == 1
    engine.dispose()

import itertools
import multiprocessing
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from click.testing import CliRunner
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from api.keys import main, make_first_key
from shared.adapters.sql.administration import Administration
from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import migrate, open_database, open_migrated
from shared.adapters.sql.spaces import SqlSpaces
from shared.adapters.sql.tables import Base
from shared.domain.errors import KeyEndedError, SealBroken, SecretRotating, UnknownNameError
from shared.domain.identities import Actor, RecordKind, RecordQuery
from shared.domain.keys import GROUP_PREFIX, key_hash, new_key
from shared.settings import Settings
from tests.support.client import eventually


@pytest.fixture
def administration(engine):
    return Administration(engine, b"pepper")


@pytest.fixture
def clients(engine):
    return SqlClients(engine, b"pepper")


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(engine):
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_key_leads_to_its_client(clients):
    key = clients.create_key("acme")
    assert clients.authenticate(key).name == "acme"
    assert clients.authenticate(new_key()) is None
    assert clients.authenticate("") is None


def test_two_keys_of_one_name_belong_to_one_client(clients):
    first, second = clients.create_key("acme"), clients.create_key("acme")
    assert clients.authenticate(first) == clients.authenticate(second)


def test_the_first_key_is_made_once(clients):
    kept = []
    for _ in range(2):
        clients.create_first_key(kept.append)
    (key,) = kept
    assert clients.authenticate(key).name == "default"


def test_a_first_key_that_could_not_be_kept_is_made_again(clients):
    def fail(_key):
        raise OSError

    with pytest.raises(OSError):
        clients.create_first_key(fail)
    assert clients.is_empty()
    kept = []
    clients.create_first_key(kept.append)
    assert clients.authenticate(kept[0])


def test_processes_that_start_together_make_one_first_key(clients):
    kept = []
    with ThreadPoolExecutor(4) as pool:
        for made in [pool.submit(clients.create_first_key, kept.append) for _ in range(4)]:
            made.result()
    assert len([key for key in kept if clients.authenticate(key)]) == 1


def test_a_key_is_worthless_under_another_pepper(clients, engine):
    key = clients.create_key("acme")
    assert SqlClients(engine, b"another").authenticate(key) is None


def test_the_database_holds_neither_the_key_nor_the_webhook_secret(clients, engine):
    key = clients.create_key("acme")
    (secret,) = clients.webhook_secrets(clients.authenticate(key).id)
    with engine.connect() as connection:
        rows = [row for table in Base.metadata.sorted_tables for row in connection.execute(table.select())]
    assert len(rows) == 3
    assert key not in repr(rows)
    assert secret not in repr(rows)
    assert secret.removeprefix("whsec_") not in repr(rows)


def test_a_database_in_a_folder_that_is_not_there_yet_is_made_with_it(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'data' / 'timbre.db'}")
    assert SqlClients(engine, b"pepper").create_key("acme")
    engine.dispose()
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_opening_again_keeps_what_is_there(url, clients):
    key = clients.create_key("acme")
    again = open_database(url)
    assert SqlClients(again, b"pepper").authenticate(key) is not None
    again.dispose()


def test_processes_that_start_together_migrate_once(url):
    engines, errors = [], []

    def start():
        try:
            engines.append(open_database(url))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for engine in engines:
        engine.dispose()


def test_engines_that_meet_on_a_new_file_all_open_it(tmp_path):
    """SQLite refuses one of them at once, in 1 to 3 of a hundred such meetings."""

    def connect(number, barrier):
        engine = open_migrated(f"sqlite:///{tmp_path}/{number}.db")
        barrier.wait()
        engine.connect().close()
        engine.dispose()

    with ThreadPoolExecutor(6) as pool:
        for number in range(300):
            barrier = threading.Barrier(6)
            for opened in [pool.submit(connect, number, barrier) for _ in range(6)]:
                opened.result()


def _start(folder, barrier, answers):
    """Start on a folder as an API process does; answers with the fault, or with None."""
    settings = Settings(data_dir=folder, secret="s" * 40)
    barrier.wait()
    try:
        make_first_key(settings)
        open_database(settings.sql_url()).dispose()
        answers.put(None)
    except BaseException as error:
        answers.put(repr(error))


def test_any_number_of_processes_may_start_at_once_on_an_empty_folder(tmp_path):
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    for i in range(8):
        barrier, answers = server.Barrier(8), server.Queue()
        processes = [server.Process(target=_start, args=(tmp_path / f"{i}", barrier, answers)) for _ in range(8)]
        for process in processes:
            process.start()
        assert [answers.get(timeout=60) for _ in processes] == [None] * 8
        for process in processes:
            process.join()
        engine = open_database(f"sqlite:///{tmp_path}/{i}/timbre.db")
        key = (tmp_path / f"{i}" / "first-api-key").read_text().strip()
        assert SqlClients(engine, b"s" * 40).authenticate(key)
        engine.dispose()


def test_migrations_that_break_off_anywhere_leave_nothing_half_made(tmp_path):
    url = f"sqlite:///{tmp_path}/timbre.db"
    for most in itertools.count(1):
        engine, seen = open_migrated(url), []

        @event.listens_for(engine, "before_cursor_execute")
        def break_off(_connection, _cursor, statement, *_, most=most, seen=seen):
            seen.append(statement)
            if len(seen) > most:
                raise InterruptedError

        try:
            migrate(engine)
            break
        except InterruptedError:
            engine.dispose()
    engine.dispose()
    assert most > 10
    # Now they are whole.
    open_database(url).dispose()


def test_an_ordinary_transaction_does_not_wait_as_long_as_a_migration(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path}/timbre.db")
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA busy_timeout")) == 5000
    engine.dispose()


def test_only_its_owner_may_read_the_database_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        engine = open_database(f"sqlite:///{tmp_path / 'timbre.db'}")
        SqlClients(engine, b"pepper").create_key("acme")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        engine.dispose()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("timbre.db", "timbre.db-wal", "timbre.db-shm"), 0o600)


def entries(administration, kind):
    return [entry for entry in administration.entries() if entry.kind == kind]


def live(administration):
    return [entry.id for entry in entries(administration, "key") if entry.live]


def test_a_revoked_key_is_dead_at_once_and_the_others_of_its_client_live(administration, clients):
    first = clients.create_key("acme")
    (entry,) = entries(administration, "key")
    second = clients.create_key("acme")
    administration.revoke_key(entry.id)
    assert clients.authenticate(first) is None
    assert clients.authenticate(second).name == "acme"
    assert sorted(entry.live for entry in entries(administration, "key")) == [False, True]


def test_a_rotated_key_works_until_its_overlap_is_over(administration, clients):
    old = clients.create_key("acme")
    (entry,) = entries(administration, "key")
    new = administration.rotate_key(entry.id, overlap_s=3600)
    assert clients.authenticate(old) == clients.authenticate(new)
    newest = administration.rotate_key(entries(administration, "key")[1].id, overlap_s=0.3)
    eventually(lambda: clients.authenticate(new) is None)
    assert clients.authenticate(old) == clients.authenticate(newest)


def test_a_key_that_was_seen_is_looked_up_again_in_a_while(administration, clients, engine):
    caching = SqlClients(engine, b"pepper", remember_s=0.5)
    key = administration.create_key("acme")
    assert caching.authenticate(key).weight == 1
    administration.weigh("acme", 3)
    eventually(lambda: caching.authenticate(key).weight == 3)
    administration.revoke_client("acme")
    eventually(lambda: caching.authenticate(key) is None)


def test_a_key_that_was_seen_is_not_looked_up_meanwhile(administration, engine):
    caching = SqlClients(engine, b"pepper", remember_s=3600)
    key = administration.create_key("acme")
    assert caching.authenticate(key)
    administration.revoke_client("acme")
    assert caching.authenticate(key)


def test_a_revoked_key_does_not_come_back_by_being_rotated(administration, clients):
    old = clients.create_key("acme")
    (entry,) = entries(administration, "key")
    administration.revoke_key(entry.id)
    with pytest.raises(KeyEndedError, match="new one for acme"):
        administration.rotate_key(entry.id, overlap_s=3600)
    assert clients.authenticate(old) is None
    assert [entry.live for entry in entries(administration, "key")] == [False]


def test_a_revoked_client_does_not_come_back_by_a_rotation_of_its_key(administration, clients):
    client_id = clients.authenticate(clients.create_key("acme")).id
    (entry,) = entries(administration, "key")
    administration.revoke_client("acme")
    with pytest.raises(KeyEndedError):
        administration.rotate_key(entry.id, overlap_s=3600)
    assert not clients.may_call(client_id)


def test_while_a_key_is_rotated_there_is_always_one_that_works(administration, clients):
    clients.create_key("acme")

    def rotate():
        for _ in range(50):
            (key_id,) = live(administration)
            administration.rotate_key(key_id, overlap_s=0)

    with ThreadPoolExecutor(1) as pool:
        rotating = pool.submit(rotate)
        while not rotating.done():
            assert len(live(administration)) == 1
        rotating.result()


def test_a_revoked_client_is_out_with_all_its_keys_until_it_gets_a_new_one(administration, clients):
    old = [clients.create_key("acme"), clients.create_key("acme")]
    other = clients.create_key("other")
    administration.revoke_client("acme")
    assert [clients.authenticate(key) for key in old] == [None, None]
    assert clients.authenticate(other) is not None
    new = administration.create_key("acme")
    assert clients.authenticate(new).name == "acme"
    assert [clients.authenticate(key) for key in old] == [None, None]


def test_webhook_secrets_overlap_when_rotated_and_do_not_when_revoked(administration, clients):
    client_id = clients.authenticate(clients.create_key("acme")).id
    first = administration.rotate_secret("acme", overlap_s=3600)
    second = administration.rotate_secret("acme", overlap_s=3600)
    assert clients.webhook_secrets(client_id) == [first, second]
    assert [entry.live for entry in entries(administration, "webhook secret")] == [True, True]
    third = administration.revoke_secrets("acme")
    assert clients.webhook_secrets(client_id) == [third]


def test_no_secret_signs_for_a_revoked_client_or_for_nobody(administration, clients):
    client_id = clients.authenticate(clients.create_key("acme")).id
    (secret,) = clients.webhook_secrets(client_id)
    administration.revoke_client("acme")
    assert clients.webhook_secrets(client_id) == clients.webhook_secrets("nobody") == []
    assert not clients.may_call(client_id)
    administration.create_key("acme")
    assert clients.webhook_secrets(client_id) == [secret]
    assert clients.may_call(client_id)


def test_while_secrets_are_revoked_there_is_always_one_that_signs(administration, clients):
    client_id = clients.authenticate(clients.create_key("acme")).id
    with ThreadPoolExecutor(1) as pool:
        revoking = pool.submit(lambda: [administration.revoke_secrets("acme") for _ in range(50)])
        while not revoking.done():
            assert len(clients.webhook_secrets(client_id)) == 1
        revoking.result()


@pytest.mark.parametrize("key_id", ["", "%", "0", "_" * 12, "f" * 64])
def test_what_does_not_exist_is_named(administration, clients, key_id):
    clients.create_key("acme")
    for action in (lambda: administration.revoke_key(key_id), lambda: administration.revoke_client("nobody")):
        with pytest.raises(UnknownNameError):
            action()


def test_every_entry_is_listed_and_no_secret_with_it(administration, clients):
    keys = [clients.create_key(name) for name in ("b", "a", "a")]
    listed = administration.entries()
    assert [(entry.client, entry.kind) for entry in listed] == [
        ("a", "key"), ("a", "key"), ("a", "webhook secret"), ("b", "key"), ("b", "webhook secret")
    ]  # fmt: skip
    assert all(entry.live for entry in listed)
    assert not any(key in repr(listed) for key in keys)


def test_a_group_key_is_good_for_its_space_alone_and_no_other_key_is_one(administration, clients, engine):
    key, plain = administration.create_group_key("acme", "team-1"), clients.create_key("acme")
    acme = clients.authenticate(plain)
    found = clients.authenticate_group(key)
    assert (found.id, found.name, found.key_id) == (acme.id, "acme", administration.key_id(key))
    assert (acme.space_id, clients.authenticate(key), clients.authenticate_group(plain)) == (None, None, None)
    assert clients.holder(key_hash(key, b"pepper")) is None
    assert clients.authenticate_group(new_key(GROUP_PREFIX)) is clients.authenticate_group("") is None
    space = SqlSpaces(engine, b"pepper").find_space(acme.id, "team-1")
    assert space.id == found.space_id
    assert clients.authenticate_group(administration.create_group_key("acme", "team-1")).space_id == space.id
    assert clients.authenticate_group(administration.create_group_key("acme", "team-2")).space_id != space.id
    other = clients.authenticate_group(administration.create_group_key("other", "team-1"))
    assert (other.name, other.space_id == space.id) == ("other", False)


def test_a_space_of_a_new_group_is_in_the_audit_log_once(administration, clients, engine):
    found = [clients.authenticate_group(administration.create_group_key("acme", "team")) for _ in range(2)]
    (entry,) = SqlSpaces(engine, b"pepper").list_audit(found[0].id, RecordQuery(take=9)).items
    assert (entry.action, entry.kind, entry.record_id) == ("create", "space", found[0].space_id)


def test_a_group_key_is_rotated_with_its_group_and_revoked(administration, clients):
    old = administration.create_group_key("acme", "team")
    before = clients.authenticate_group(old)
    new = administration.rotate_key(administration.key_id(old), overlap_s=0)
    assert clients.authenticate_group(old) is None
    assert (clients.authenticate_group(new), clients.authenticate(new)) == (before, None)
    assert [(entry.group, entry.live) for entry in entries(administration, "key")] == [("team", False), ("team", True)]
    administration.revoke_key(administration.key_id(new))
    assert clients.authenticate_group(new) is None


def test_group_keys_go_with_their_space_or_client(administration, clients, engine):
    keys = [administration.create_group_key("acme", group) for group in "abc"]
    plain = clients.create_key("acme")
    found = clients.authenticate_group(keys[0])
    stores = SqlSpaces(engine, b"pepper")
    stores.remove(Actor(client_id=found.id), RecordKind.SPACE, found.space_id)
    assert [clients.authenticate_group(key) is None for key in keys] == [True, False, False]
    assert [entry.group for entry in entries(administration, "key")].count(None) == 1
    administration.revoke_client("acme")
    assert [clients.authenticate_group(key) for key in keys] == [None] * 3
    stores.remove_client(found.id)
    administration.delete_client(found.id)
    assert administration.entries() == []
    assert clients.authenticate(plain) is None


def test_a_group_key_that_was_seen_is_not_looked_up_meanwhile(administration, engine):
    caching = SqlClients(engine, b"pepper", remember_s=3600)
    key = administration.create_group_key("acme", "team")
    assert caching.authenticate_group(key)
    administration.revoke_client("acme")
    assert caching.authenticate_group(key)


def test_group_keys_made_at_once_share_one_space(administration, clients, engine):
    client = clients.authenticate(clients.create_key("acme"))
    spaces = SqlSpaces(engine, b"pepper")
    with ThreadPoolExecutor(8) as pool:
        made = [pool.submit(administration.create_group_key, "acme", "team") for _ in range(6)]
        made += [pool.submit(spaces.ensure_space, Actor(client_id=client.id), "team") for _ in range(6)]
        keys = [one.result() for one in made[:6]]
    assert len({clients.authenticate_group(key).space_id for key in keys}) == 1


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_command_line_makes_lists_rotates_and_revokes(url, engine, tmp_path):
    environment = os.environ | {
        "TIMBRE_DATABASE_URL": url, "TIMBRE_DATA_DIR": str(tmp_path), "TIMBRE_SECRET": "pepper" * 8
    }  # fmt: skip
    known = SqlClients(engine, b"pepper" * 8)

    def keys(*arguments, status=0):
        command = ["python3", "-m", "shared.local", "keys", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        return done.stdout.strip() or done.stderr.strip()

    key = keys("create", "acme")
    assert known.authenticate(key).name == "acme"
    listed = keys("list")
    key_id = listed.split()[2]
    assert f"client {known.authenticate(key).id}" in listed
    new = keys("rotate", key_id, "--overlap", "0")
    assert known.authenticate(key) is None
    assert keys("rotate-secret", "acme").startswith("whsec_")
    keys("rotate-secret", "acme")
    assert "Two secrets sign until" in keys("rotate-secret", "acme", status=1)
    assert keys("rotate-secret", "acme", "--overlap", "0").startswith("whsec_")
    assert keys("revoke-secrets", "acme").startswith("whsec_")
    keys("weight", "acme", "4")
    assert known.authenticate(new).weight == 4
    assert "weight 4" in keys("list")
    keys("revoke-client", "acme")
    assert known.authenticate(new) is None
    assert "no API key with the id abc" in keys("revoke", "abc", status=1)


def complaint(folder):
    """Return what `api.keys list` says about a data folder that it cannot work with."""
    command, environment = [sys.executable, "-m", "api.keys", "list"], os.environ | {"TIMBRE_DATA_DIR": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_the_command_line_says_why_a_data_folder_cannot_be_used(tmp_path):
    (tmp_path / "timbre.db").write_bytes(b"no database" * 1000)
    assert "not a database" in complaint(tmp_path)
    assert "TIMBRE_DATA_DIR" in complaint(tmp_path / "timbre.db")
    assert "TIMBRE_DATA_DIR" in complaint(tmp_path / "timbre.db" / "inside")


@pytest.fixture
def console(tmp_path):
    environment = {"TIMBRE_DATA_DIR": str(tmp_path), "TIMBRE_DATABASE_URL": None, "TIMBRE_SECRET": "pepper" * 8}
    return lambda *arguments: CliRunner(env=environment).invoke(main, arguments)


@pytest.mark.parametrize("name", ["", " ", "x\ny", "x\x1b[2Jy", "x\x7f", "x\u2028y", "\u202eemca"])
def test_a_name_that_would_break_the_listing_is_refused(console, name):
    refused = console("create", name)
    assert refused.exit_code == 2
    assert "a character that can be seen" in refused.output
    assert console("list").output == ""


def test_a_new_key_stands_alone_on_stdout_and_its_id_on_stderr(console):
    made = console("create", "acme")
    assert re.fullmatch(r"sk_\w+\n", made.stdout)
    key_id = re.fullmatch(r"id: (\w{12})\n", made.stderr)[1]
    rotated = console("rotate", key_id, "--overlap", "0")
    assert re.fullmatch(r"sk_\w+\n", rotated.stdout)
    new_id = rotated.stderr.split()[1]
    assert [f"key {one}" in console("list").output for one in (key_id, new_id)] == [True, True]
    assert console("revoke", new_id).exit_code == 0
    assert console("list").output.count("ended") == 2


def test_a_group_key_is_made_listed_and_rotated_by_the_command_line(console):
    made = console("create", "acme", "--group", "team-1")
    assert re.fullmatch(r"gk_\w+\n", made.stdout)
    key_id = re.fullmatch(r"id: (\w{12})\n", made.stderr)[1]
    assert re.fullmatch(r"gk_\w+\n", console("rotate", key_id, "--overlap", "0").stdout)
    console("create", "acme")
    listed = [line for line in console("list").output.splitlines() if " key " in line]
    assert sorted(line.endswith("  group team-1") for line in listed) == [False, True, True]


@pytest.mark.parametrize("group", ["", "a b", "-a", "a/b", "a\nb", "ü", "x" * 129, str(uuid.UUID(int=1))])
def test_a_group_that_no_space_can_be_called_is_refused_and_nothing_is_made(console, group):
    refused = console("create", "acme", "--group", group)
    assert refused.exit_code == 2
    assert "1 to 128 letters, digits and ._@+-" in " ".join(refused.output.split())
    assert console("list").output == ""


@pytest.mark.parametrize("overlap_s", ["-1", "604801", "99999999999999", "nan", "x"])
def test_an_overlap_outside_its_bounds_is_refused_and_the_key_kept(console, overlap_s):
    assert console("create", "Zoë & Söhne").exit_code == 0
    before = console("list").output
    for command in (("rotate", before.split("key ")[1].split()[0]), ("rotate-secret", "Zoë & Söhne")):
        refused = console(*command, "--overlap", overlap_s)
        assert refused.exit_code == 2
        assert "'--overlap'" in refused.output
    assert console("list").output == before


def test_an_overlap_may_last_seven_days(console):
    console("create", "acme")
    key_id = console("list").output.split()[2]
    assert console("rotate", key_id, "--overlap", "604800").exit_code == 0
    assert console("list").output.count("live") == 3


def test_the_first_secret_a_client_sees_signs_at_once_and_alone(clients):
    client = clients.authenticate(clients.create_key("acme"))
    assert len(clients.webhook_secrets(client.id)) == 1
    shown = clients.rotate_webhook_secret(client.id, overlap_s=3600)
    assert clients.webhook_secrets(client.id) == [shown]


def test_after_a_change_of_the_server_secret_a_rotation_lets_webhooks_be_signed_again(engine, clients):
    client = clients.authenticate(clients.create_key("acme"))
    for overlap_s in (0, 3600):
        clients.rotate_webhook_secret(client.id, overlap_s=overlap_s)
    later = SqlClients(engine, b"another secret")
    with pytest.raises(SealBroken, match="another server secret"):
        later.webhook_secrets(client.id)
    shown = later.rotate_webhook_secret(client.id, overlap_s=3600)
    assert later.webhook_secrets(client.id) == [shown]


def test_a_client_is_made_although_another_process_writes_between_its_first_look_and_its_change(engine, clients):
    other = SqlClients(engine, b"s" * 32)
    writers = []

    def write(connection, _cursor, statement, *_rest):
        if not writers and "SELECT" in statement and "clients.name" in statement:
            writers.append(threading.Thread(target=other.create_key, args=["other"]))
            writers[0].start()
            # It has written by then, or waits for the lock.
            writers[0].join(1.0)

    event.listen(engine, "after_cursor_execute", write)
    key = clients.create_key("ours")
    writers[0].join()
    assert clients.authenticate(key).name == "ours"


def test_after_a_rotation_both_sign_the_oldest_first_until_the_overlap_ends(clients):
    client = clients.authenticate(clients.create_key("acme"))
    first = clients.rotate_webhook_secret(client.id, overlap_s=0)
    earliest = time.time() + 3600
    second = clients.rotate_webhook_secret(client.id, overlap_s=3600)
    latest = time.time() + 3600
    assert clients.webhook_secrets(client.id) == [first, second]
    with pytest.raises(SecretRotating) as refused:
        clients.rotate_webhook_secret(client.id, overlap_s=60)
    assert clients.webhook_secrets(client.id) == [first, second]
    (until,) = re.findall(r"until (\S+Z)\.", str(refused.value))
    # It is told in whole seconds, rounded up.
    assert earliest <= datetime.strptime(until, "%Y-%m-%dT%H:%M:%S%z").timestamp() <= latest + 1


def test_a_rotation_without_overlap_ends_all_earlier_secrets_at_any_time(administration, clients):
    client = clients.authenticate(clients.create_key("acme"))
    for overlap_s in (0, 3600, 0, 0, 3600):
        newest = clients.rotate_webhook_secret(client.id, overlap_s=overlap_s)
    assert clients.webhook_secrets(client.id)[1:] == [newest]
    alone = administration.rotate_secret("acme", overlap_s=0)
    assert clients.webhook_secrets(client.id) == [alone]


def test_parallel_rotations_without_overlap_all_succeed_and_leave_one_secret(administration, clients):
    client = clients.authenticate(clients.create_key("acme"))
    with ThreadPoolExecutor(6) as pool:
        made = [pool.submit(clients.rotate_webhook_secret, client.id, 0) for _ in range(12)]
        made += [pool.submit(administration.revoke_secrets, "acme") for _ in range(12)]
        secrets = {one.result() for one in made}
    assert len(secrets) == 24
    assert len(secrets.intersection(clients.webhook_secrets(client.id))) == 1


def test_parallel_rotations_leave_two_secrets_at_most(clients):
    client = clients.authenticate(clients.create_key("acme"))
    clients.rotate_webhook_secret(client.id, overlap_s=0)

    def rotate(_):
        with suppress(SecretRotating):
            return clients.rotate_webhook_secret(client.id, overlap_s=3600)

    with ThreadPoolExecutor(6) as pool:
        made = [secret for secret in pool.map(rotate, range(6)) if secret]
    assert len(made) == 1
    assert clients.webhook_secrets(client.id)[1:] == made


def test_a_database_that_says_nothing_is_away_soon():
    with ThreadPoolExecutor() as pool, socket.create_server(("127.0.0.1", 0)) as silent:
        url = Settings(database_url=f"postgresql://timbre@127.0.0.1:{silent.getsockname()[1]}/timbre").sql_url()
        reading = pool.submit(SqlClients(open_migrated(url), b"pepper").webhook_secrets, "client")
        assert isinstance(reading.exception(timeout=30), OperationalError)

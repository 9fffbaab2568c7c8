"""Backup, wipe, restore, and the move to PostgreSQL, by the documents' own lines, on the whole service."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import create_engine, text

from shared.dialects.signatures import vendor_signature
from shared.local.stack import Stack
from shared.settings import Settings
from tests.support.client import Client, Json
from tests.support.jobs import upload
from tests.support.postgres import postgres
from tests.support.readme import ROOT, block
from tests.support.receiver import receiving, wait_for
from tests.support.stacks import LOOPBACK, bugs, first_client, running

ANN = ("1688-142285-0005.flac", "1688-142285-0008.flac")
BOB = "2609-156975-0000.flac"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
BUCKET = "timbre"


@dataclass(frozen=True)
class Kept:
    """Things that a client holds on to."""

    key: str
    secret: str
    voiceprint: str


def shell(name: str, folder: Path, **variables: str) -> str:
    """Execute a code block of the document for operators."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "TIMBRE_DATA_DIR": str(folder)} | variables
    command = ["bash", "-eu", "-c", block("shared/README.md", name)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def work(client: Client, path: str, **body: Any) -> Json:
    """Run a job that must succeed; returns its output."""
    answer = client.post(path, **body)
    assert answer.status_code in (200, 202), answer.text
    job = client.wait(answer.json()["jobId"], 60)
    assert job["status"] == "succeeded", job
    output: Json = job["output"]
    return output


def remember(stack: Stack) -> Kept:
    """Let the service remember a person, and keep the recording."""
    client = first_client(stack)
    client.send("PATCH", "/v1/space", json={"keepRecordingsSeconds": 3600}).raise_for_status()
    url = upload(client, ANN[0])
    work(client, "/v1/enrol", identity="ann", url=url)
    secret = client.post("/v1/webhook-secret").json()["secret"]
    return Kept(client.key, secret, work(client, "/v1/voiceprint", url=url)["voiceprint"])


def check(stack: Stack, kept: Kept) -> None:
    """Check that the service knows all that it knew."""
    client = Client(stack.url, kept.key)
    url = upload(client, ANN[1])
    assert work(client, "/v1/verify", identity="ann", url=url)["decision"] == "accept"
    assert work(client, "/v1/verify", voiceprint=kept.voiceprint, url=url)["decision"] == "accept"
    assert work(client, "/v1/verify", identity="ann", url=upload(client, BOB))["decision"] == "reject"
    # The recording that is kept is heard again.
    work(client, "/v1/identities/ann/enrolments/main/recompute")
    with receiving("200") as receiver:
        work(client, "/v1/voiceprint", url=url, webhook=receiver.url)
        wait_for(receiver, 1)
    (post,) = receiver.posts
    timestamp = int(post.headers["X-Request-Timestamp"])
    assert post.headers["X-Signature"] == vendor_signature(kept.secret, timestamp, post.body, "hex")
    assert bugs(stack) == []


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


def new_database(server: str, name: str) -> str:
    """Make a database on a PostgreSQL server; returns its address."""
    engine = create_engine(Settings(database_url=server).sql_url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket of a server of its own."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    made = boto3.resource("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").Bucket(BUCKET)
    made.create()
    yield made
    server.stop()


def s3_settings(bucket: Any) -> dict[str, str]:
    return {"s3_bucket": BUCKET, "s3_endpoint_url": bucket.meta.client.meta.endpoint_url}


@contextmanager
def service(folder: Path, **settings: Any) -> Iterator[Stack]:
    """Run the service on a data folder."""
    with running(folder, worker_processes=1, **LOOPBACK, **settings) as stack:
        yield stack


def test_what_was_backed_up_and_wiped_is_there_again(tmp_path: Path) -> None:
    folder, backup, safe = tmp_path / "data", tmp_path / "backups" / "monday", tmp_path / "safe"
    safe.mkdir()
    variables = {"BACKUP": str(backup), "SAFE": str(safe)}
    with service(folder) as stack:
        kept = remember(stack)
        # The service runs on meanwhile.
        shell("back-up", folder, **variables)
    shutil.rmtree(folder)
    shell("restore", folder, **variables)
    with service(folder) as stack:
        assert stack.first_key() is None
        check(stack, kept)


def test_postgresql_and_a_bucket_are_backed_up_and_restored_likewise(tmp_path: Path, server: str, bucket: Any) -> None:
    folder, safe = tmp_path / "data", tmp_path / "safe"
    safe.mkdir()
    variables = {"BACKUP": str(tmp_path / "backup"), "SAFE": str(safe)}
    url = new_database(server, "before")
    with service(folder, database_url=url, **s3_settings(bucket)) as stack:
        kept = remember(stack)
        shell("back-up", folder, TIMBRE_DATABASE_URL=url, **variables)
        objects = {one.key: one.get()["Body"].read() for one in bucket.objects.filter(Prefix="recordings/")}
    assert len(objects) == 1
    shutil.rmtree(folder)
    bucket.objects.delete()
    url = new_database(server, "after")
    shell("restore", folder, TIMBRE_DATABASE_URL=url, **variables)
    for key, content in objects.items():
        bucket.put_object(Key=key, Body=content)
    with service(folder, database_url=url, **s3_settings(bucket)) as stack:
        check(stack, kept)


def test_the_small_installation_moves_to_postgresql(tmp_path: Path, server: str) -> None:
    folder = tmp_path / "data"
    with service(folder) as stack:
        kept = remember(stack)
    url = new_database(server, "moved")
    assert "identities  1\n" in shell("move", folder, NEW_DATABASE=url)
    with service(folder, database_url=url) as stack:
        check(stack, kept)
    assert "Nothing is lost." in shell("roll-back", folder, TIMBRE_DATABASE_URL=url)

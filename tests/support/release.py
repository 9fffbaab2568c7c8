"""Maker of the golden data of a release: all that it stores, in every form, as later releases find it.

It runs with the code of that release, from the root of a checkout of it:

    cd CHECKOUT && PYTHONPATH=. python THIS_FILE OUT

OUT gets `files.tar.gz` (data folder: database, uploads, kept recordings), `redis.json.gz` (key, type, value, time to
live) and `manifest.json.gz` (keys, ids and answers). See tests/data/last_release/README.md.
"""

import gzip
import json
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import requests
import soundfile
from sqlalchemy import insert

from shared.adapters.redis_client import connect
from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_migrated
from shared.adapters.sql.record_tables import LeftRecordingRow
from shared.domain.commands import CreateVoiceprint, EnrolVoice
from shared.domain.enrolling import pool_parts
from shared.domain.identities import Actor, EnrolmentKind, NewEnrolment
from shared.domain.jobs import JobSubmission, new_job_id
from shared.domain.sources import parse_source
from shared.enrolment_service import EnrolmentService
from shared.identity_service import IdentityService
from shared.local.stack import Stack
from tests.support.client import eventually
from tests.support.groups import make_group_key
from tests.support.sounds import DATA
from tests.support.stacks import LOOPBACK, first_client, make_client, running
from worker.bootstrap import make_service, make_stores

SECRET = "the secret of the golden data, for tests only"
#: Receiver of webhooks; no other program listens on that address of this machine.
HOOK = ("127.31.7.9", 18099)
RECORDINGS = {
    "ann1": "1688-142285-0005.flac",
    "ann2": "1688-142285-0008.flac",
    "bob1": "2609-156975-0000.flac",
    "bob2": "2609-156975-0009.flac",
}
FOREVER_S = 300_000_000
#: Recordings are cut to so many seconds: kept ones are WAV files.
MOST_S = 5.0
#: Keys that live no longer than this tell of what goes on, not of what is stored.
SOON_MS = 61_000


def opus(name: str) -> bytes:
    """Return a recording of the tests as a small file."""
    samples, rate_hz = soundfile.read(DATA / name)
    file = BytesIO()
    soundfile.write(
        file, samples[: round(MOST_S * rate_hz)], rate_hz, format="OGG", subtype="OPUS", compression_level=0.95
    )
    return file.getvalue()


@contextmanager
def collecting(address: tuple[str, int], status: int) -> Iterator[list[tuple[str, bytes]]]:
    """Answer webhooks to an address with a status; gives the signature and body of each."""
    posts: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posts.append((self.headers["X-Signature"], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"heard\n")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(address, Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield posts
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Maker:
    """Maker of records in every state, by requests where one makes them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = first_client(stack)
        self.acme = make_client(stack, "Acme")
        self.group_key = make_group_key(stack.settings, "Acme", "team")
        self.hook = f"http://{HOOK[0]}:{HOOK[1]}/hook"
        self.jobs: dict[str, str] = {}
        self.queued: dict[str, str] = {}
        self.media = {name: self.client.upload(f"{name}.opus", opus(file)) for name, file in RECORDINGS.items()}

    def post(self, path: str, **body: Any) -> Any:
        """Send a request that must be accepted."""
        answer = self.client.post(path, **body)
        assert answer.status_code < 300, (path, answer.text)
        return answer.json()

    def job(self, called: str, path: str, ends: str = "succeeded", **body: Any) -> Any:
        """Run a job to its end, and note its id under a name."""
        self.jobs[called] = self.post(path, **body)["jobId"]
        job = self.client.wait(self.jobs[called], 120)
        assert job["status"] == ends, job
        return job["output"]

    def queue(self, called: str, path: str, **body: Any) -> None:
        """Leave a job waiting."""
        self.queued[called] = self.post(path, **body)["jobId"]

    def fill(self) -> None:
        """Make what a running service makes."""
        media = self.media
        self._keep_recordings(FOREVER_S)
        consent = {"givenAt": "2026-05-04T09:30:00Z", "reference": "contract 17"}
        self.job("sample", "/v1/enrol", identity="ann", name="Ann Ä", consent=consent, url=media["ann1"])
        self._keep_recordings(None)
        self.job("sample of bob", "/v1/enrol", identity="bob", url=media["bob1"])
        self.job("verification", "/v1/verify", identity="ann", url=media["ann2"], operatingPoint="strict")
        self.job("replay", "/v1/verify", identity="ann", url=media["ann1"])
        self.job("search", "/v1/search", url=media["bob2"])
        self.job("diarize", "/v1/diarize", url=media["ann1"], confidence=True, transcription=True)
        self.job("identify", "/v1/identify", url=media["bob2"], identities=["ann", "bob"])
        key = {"Idempotency-Key": "golden"}
        made = self.client.send("POST", "/v1/voiceprint", json={"url": media["ann1"]}, headers=key).json()
        self.jobs["voiceprint"] = made["jobId"]
        self.voiceprint = self.client.wait(made["jobId"], 60)["output"]["voiceprint"]
        self.job("verify", "/v1/verify", voiceprint=self.voiceprint, url=media["ann2"])
        self.job("failed", "/v1/voiceprint", "failed", url="media://nothing")
        with collecting(HOOK, 200):
            self.job("delivered", "/v1/voiceprint", url=media["bob1"], webhook=self.hook)
            self._await_tries("delivered", "delivered")
        with collecting(HOOK, 503):
            self.job("pending", "/v1/voiceprint", url=media["bob1"], webhook=self.hook, webhookStatusOnly=True)
            self._await_tries("pending", "pending")
        self._register()
        self._make_open_records()

    def _register(self) -> None:
        """Register a voice biometrics user."""
        sound = BytesIO()
        soundfile.write(sound, *soundfile.read(DATA / RECORDINGS["bob1"]), format="WAV", subtype="PCM_16")
        url, auth = f"{self.client.url}/voice_biometrics/v1/user/register", ("1-2-0/golden@example.org", self.group_key)
        body = {"params": {"user_id": "eve"}, "data": sound.getvalue(), "auth": auth, "timeout": 60}
        requests.put(url, **body).raise_for_status()

    def _keep_recordings(self, seconds: int | None) -> None:
        self.client.send("PATCH", "/v1/space", json={"keepRecordingsSeconds": seconds}).raise_for_status()

    def _await_tries(self, name: str, state: str) -> None:
        def tried() -> bool:
            found = self.client.send("GET", f"/v1/jobs/{self.jobs[name]}/deliveries").json()
            return bool(found["state"] == state and found["tries"])

        eventually(tried)

    def _make_open_records(self) -> None:
        """Make an identity of an imported voiceprint, and deletions that leave their traces."""
        self.post("/v1/identities", handle="cec", name="Cec", expiresAt="2046-01-01T00:00:00Z")
        self.post("/v1/identities/cec/enrolments", handle="imported", voiceprints=[self.voiceprint])
        self.post("/v1/identities", handle="gone")
        self.client.send("DELETE", "/v1/identities/gone").raise_for_status()

    def leave(self) -> None:
        """Leave jobs of every kind and state to whoever comes after."""
        media = self.media
        self.queue("voiceprint", "/v1/voiceprint", url=media["ann1"], webhook=self.hook)
        self.queue("diarize", "/v1/diarize", url=media["ann1"], numSpeakers=1, transcription=True)
        whom = {"identities": ["ann"], "voiceprints": [{"label": "me", "voiceprint": self.voiceprint}]}
        self.queue("identify", "/v1/identify", url=media["ann2"], **whom)
        self.queue("verify", "/v1/verify", voiceprint=self.voiceprint, url=media["ann2"])
        self.queue("identity_verification", "/v1/verify", identity="ann", url=media["ann2"])
        self.queue("sample", "/v1/enrol", identity="bob", url=media["bob2"])
        self.queue("enrolment", "/v1/identities/ann/enrolments/main/recompute")
        self.queue("search", "/v1/search", url=media["bob2"])
        self.queue("canceled", "/v1/voiceprint", url=media["ann1"])
        canceled = self.queued.pop("canceled")
        self.client.send("POST", f"/v1/jobs/{canceled}/cancel").raise_for_status()
        self.jobs["canceled"] = canceled
        self._leave_inside()

    def _leave_inside(self) -> None:
        """Leave what no request leaves, or waits for."""
        settings = self.stack.settings
        service, stores = make_service(settings), make_stores(settings)
        engine = open_migrated(settings.sql_url())
        client = SqlClients(engine, settings.secret_bytes()).authenticate(self.client.key)
        assert client is not None
        by = Actor(client_id=client.id, key_id=client.key_id, request_id=str(uuid.uuid4()))
        identities = IdentityService(store=stores.spaces, recordings=stores.recordings, jobs=service)
        enrolments = EnrolmentService(
            store=stores.enrolments, identities=identities, jobs=service, pool=lambda parts: pool_parts(parts, None)
        )
        space = identities.ensure_space(by, "default")
        job_id = new_job_id()
        voice = EnrolVoice(
            source=parse_source(self.media["bob1"]), further=(parse_source(self.media["bob2"]),), space=space.id,
            identity=job_id, handle="dan",
        )  # fmt: skip
        enrolments.enrol_voice(by, space, JobSubmission(command=voice, dialect="pyannoteai"), job_id)
        self.queued["voice_enrolment"] = job_id
        command = CreateVoiceprint(source=parse_source(self.media["ann1"]))
        for name in ("enroll", "running", "resting", "withdrawn"):
            dialect = "enroll" if name == "enroll" else "pyannoteai"
            self.queued[name] = service.submit(client.id, JobSubmission(command=command, dialect=dialect)).id
            if name in ("running", "resting"):
                self._hold(service, name)
        self.withdrawn = self.queued.pop("withdrawn")
        service.jobs.withdraw(client.id, self.withdrawn)
        open_one = NewEnrolment(
            identity_id=identities.identity(space, "ann").id, handle="open", kind=EnrolmentKind.ONCE
        )
        stores.enrolments.add_enrolment(by, space.id, open_one)
        with engine.begin() as connection:
            connection.execute(insert(LeftRecordingRow).values(sample_id=new_job_id(), client_id=client.id))
        engine.dispose()

    def _hold(self, service: Any, name: str) -> None:
        """Claim the job of that name, as a worker does that dies, or that hands it back."""
        others = []
        while (claim := service.jobs.claim()).job_id != self.queued[name]:
            others.append(claim)
        if name == "resting":
            service.jobs.release(claim, rest_s=1.0, counted=True)
        for other in others:
            service.jobs.release(other)

    def answers(self) -> dict[str, Any]:
        """Return what the API answers about the records, by path."""
        paths = [f"/v1/jobs/{job_id}" for job_id in self.jobs.values()]
        paths += [f"/v1/jobs/{self.jobs[name]}/deliveries" for name in ("delivered", "pending")]
        paths += ["/v1/identities", "/v1/usage", "/v1/audit", "/v1/space", "/v1/media", "/v1/jobs"]
        for who in ("ann", "bob", "cec"):
            paths += [f"/v1/identities/{who}", f"/v1/identities/{who}/enrolments", f"/v1/identities/{who}/samples"]
        paths += ["/v1/identities/ann/verifications"]
        found = {path: self.client.send("GET", path) for path in paths}
        assert all(answer.status_code == 200 for answer in found.values()), found
        return {path: answer.json() for path, answer in found.items()}


def dump(redis: Any) -> list[Any]:
    """Return the lasting keys of the service in Redis: name, type, value, milliseconds to live."""
    found = []
    for key in sorted(redis.scan_iter("timbre:*")):
        kind = redis.type(key)
        value = {
            "string": lambda key: redis.get(key),
            "hash": lambda key: redis.hgetall(key),
            "set": lambda key: sorted(redis.smembers(key)),
            "zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
            "list": lambda key: redis.lrange(key, 0, -1),
        }[kind](key)
        lives_ms = redis.pttl(key)
        if not 0 <= lives_ms < SOON_MS:
            found.append([key, kind, value, lives_ms])
    return found


def main(out: Path) -> None:
    """Make the golden data."""
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp())
    kept = {f"{name}_ttl_s": FOREVER_S for name in ("result", "media", "verification", "usage", "audit")}
    with running(folder, secret=SECRET, worker_processes=1, lease_s=1.0, **LOOPBACK, **kept) as stack:
        maker = Maker(stack)
        maker.fill()
        for process in stack.processes[2:]:
            process.stop()
        maker.leave()
        redis = connect(stack.settings.redis_url)
        answers = maker.answers()
        with gzip.open(out / "redis.json.gz", "wt") as file:
            json.dump(dump(redis), file)
        redis.close()
        # Their end is no bug here.
        stack.processes[2:] = []
    manifest = {
        "secret": SECRET, "key": maker.client.key, "acme": maker.acme.key, "group": maker.group_key,
        "hook": HOOK, "voiceprint": maker.voiceprint, "jobs": maker.jobs, "queued": maker.queued,
        "withdrawn": maker.withdrawn, "answers": answers,
    }  # fmt: skip
    with gzip.open(out / "manifest.json.gz", "wt") as file:
        json.dump(manifest, file, indent=1)
    with tarfile.open(out / "files.tar.gz", "w:gz") as archive:
        for name in ("timbre.db", "media", "recordings"):
            archive.add(folder / name, name)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())

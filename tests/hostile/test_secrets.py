"""A whole run, and then every byte that it left behind, searched for what nobody may find there."""

import base64
import json
import subprocess
import sys
import uuid

import numpy as np
import pytest
from redis import Redis

from shared.domain.voiceprints import Voiceprint
from tests.support.client import put, voiceprint
from tests.support.origins import ok, origin, redirects_to, says
from tests.support.receiver import receiving, wait_for
from tests.support.sounds import DATA
from tests.support.stacks import LOOPBACK, first_client, running

CLIP = (DATA / "1688-142285-0005.flac").read_bytes()
CANARY = f"canary{uuid.uuid4().hex}"


def traces(vector):
    """Return an embedding as it might be written: binary, and the decimals of some of its numbers."""
    raw = vector.astype("<f4").tobytes()
    middle = raw[100 * 4 : 140 * 4]
    return [middle, *(base64.b64encode(raw[start:-2])[4:-4] for start in (300, 301, 302))]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with every kind of secret in it; gives the folder, the Redis dump, error bodies, and the secrets."""
    folder = tmp_path_factory.mktemp("secrets") / "data"
    with running(folder, worker_processes=1, **LOOPBACK) as stack, receiving("echo") as hook:
        client = first_client(stack)
        bodies, secrets = [], {client.key, CANARY}
        secrets.add(client.post("/v1/webhook-secret", overlapSeconds=0).json()["secret"])
        query = f"?X-Amz-Signature={CANARY}&X-Amz-Credential=x"
        with origin(says(ok(CLIP))) as good, origin(redirects_to(f"http://127.0.0.1:{good.port}/b{query}")) as moved:
            answers = [
                client.run(f"http://127.0.0.1:{host.port}/a{query}", webhook=f"{hook.url}{query}")
                for host in (good, moved)
            ]
        with origin(says(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")) as broken:
            bodies.append(client.run(f"http://127.0.0.1:{broken.port}/a{query}", webhook=f"{hook.url}{query}"))
        quoted = f"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n{CANARY}, no header\r\n{CANARY}: y\r\n\r\nbody".encode()
        with origin(says(quoted)) as odd:
            client.run(f"http://127.0.0.1:{odd.port}/a{query}")
        bodies += [client.run(f"https://no-such-host.invalid/a{query}"), client.run(f"http://127.0.0.1:1/a{query}")]
        # A job that nobody is left to finish: its command stays in Redis.
        wait_for(hook, 3)
        upload = client.address("media://u")
        secrets.add(upload.rpartition("/")[2])
        put(upload, b"not audio")
        secrets.add(client.post("/v1/media/output", url="media://u").json()["url"].rpartition("/")[2])
        bodies.append(client.run("media://u"))
        bodies.append(client.post("/v1/voiceprint", url=f"ftp://x/{query}").json())
        bodies.append(client.send("GET", "/v1/test", headers={"Authorization": f"Bearer {CANARY}"}).json())
        given = answers[0]["output"]["voiceprint"]
        bodies.append(client.post("/v1/verify", url="media://u", voiceprint=given[:-9]).json())
        verified = client.post("/v1/verify", url="media://u", voiceprint=given)
        bodies.append(client.wait(verified.json()["jobId"]))
        stack.processes[2].stop()
        client.submit(f"http://127.0.0.1:1/a{query}", webhook=f"{hook.url}{query}")
        assert client.post("/v1/verify", url="media://u", voiceprint=given).status_code == 200
        dump = dumped(stack.settings.redis_url)
        printed = [voiceprint(answer) for answer in answers]
    return folder, dump, json.dumps(bodies), secrets, printed


def dumped(url):
    redis = Redis.from_url(url)
    return b"".join(key + (redis.dump(key) or b"") + everything(redis, key) for key in redis.scan_iter("*"))


def everything(redis, key):
    """Return what a key holds, as it is: a dump may be compressed."""
    kind = redis.type(key)
    if kind == b"hash":
        return b"".join(part for pair in redis.hgetall(key).items() for part in pair)
    return redis.get(key) if kind == b"string" else b""


def test_the_secrets_of_a_run_are_found_nowhere_that_it_wrote(run):
    folder, dump, bodies, secrets, printed = run
    needles = [secret.encode() for secret in secrets]
    needles += [print.encode().encode()[40:100] for print in printed] + [t for p in printed for t in traces(p.vector)]
    places = {"the Redis dump": dump, "error bodies": bodies.encode()}
    for path in folder.rglob("*"):
        # What is kept on purpose, for the operator alone.
        if path.is_file() and path.name not in ("first-api-key", "secret"):
            places[str(path.relative_to(folder))] = path.read_bytes()
    assert any("appendonly" in name for name in places)
    assert sum(name.startswith("logs/") for name in places) >= 4
    hits = [(name, needle[:20]) for name, content in places.items() for needle in needles if needle in content]
    assert hits == []


def test_the_search_would_find_them(run):
    *_, printed = run
    assert isinstance(printed[0], Voiceprint)
    raw = base64.b64decode(printed[0].encode())
    assert traces(printed[0].vector)[0] in raw
    assert np.isfinite(printed[0].vector).all()


def test_the_server_secret_is_made_at_the_first_start_for_its_owner_alone(run):
    folder = run[0]
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in ("secret", "first-api-key"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600


def test_what_is_sealed_cannot_be_read_under_another_secret(run):
    code = (
        "from shared.adapters.sealing import Envelope; e = Envelope(b'a' * 32); s = e.seal('voice', 'job');"
        "print(e.unseal(s, 'job'), s != e.seal('voice', 'job'))\n"
        "for other, context in ((b'b' * 32, 'job'), (b'a' * 32, 'other job')):\n"
        "    try: Envelope(other).unseal(s, context); print('opened')\n"
        "    except Exception as error: print(type(error).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["voice", "True", "SealBroken", "SealBroken"]

"""Forms of voice biometrics users that are cut, mixed up and made up: each gets an answer, and none is a 500."""

import json
import random
import socket
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from shared.local.stack import RedisServer
from shared.settings import Settings
from tests.support.apis import api
from tests.support.client import Client
from tests.support.groups import make_group_key

#: One thread, of which none may wait: whatever gets so far is called off at once.
AT_ONCE = {"api_threads": 1, "posts_per_minute": 10**6, "reads_per_minute": 10**6}
BASE = "/voice_biometrics/v1/user"
NUM_FORMS = 400
SEED = 13
PIECES = (
    b"--b", b"--b--", b"\r\n", b"\n", b"\r", b"\0", b'"', b";", b":", b"=", b"%", b"\xff\xfe", b"\xed\xa0\x80", b"--",
    b"\\",
    b"Content-Disposition: form-data; name=\"Source1\"; filename=\"1.wav\"\r\n\r\n",
    b"Content-Disposition: form-data; name=\"user_id\"\r\n\r\nBob",
    b"Content-Disposition: form-data; name=\"wav_file_url\"\r\n\r\nmy.wav.files.com/get",
    b"Content-Disposition: form-data; name*=UTF-8''Source1; filename*=''x\r\n\r\n",
    b"Content-Disposition: form-data\r\n\r\n", b"Content-Type: text/plain; charset=utf-7\r\n",
    b"Content-Transfer-Encoding: base64\r\n", b"Content-Length: -1\r\n", b"RIFF\x24\x00\x00\x00WAVEfmt ", b"x" * 70_000,
)  # fmt: skip
TYPES = (
    "multipart/form-data; boundary=b", "multipart/form-data", "multipart/form-data; boundary=",
    "multipart/mixed; boundary=b",
    'multipart/form-data; boundary="b',
    "multipart/form-data; boundary=" + "b" * 300, "application/x-www-form-urlencoded",
    "application/json", "", "multipart/form-data; boundary=b; charset=utf-16",
)  # fmt: skip
QUERIES = (
    "user_id=Bill", "", "user_id=Bill&text_dependent=false", "user_id=%00", "user_id=%ff%fe", "user_id=a&user_id=b",
    "user_id=Bill&sensitivity=1e999", "user_id=Bill&wav_file_url=%ed%a0%80", "user_id=Bill&wav_file_url=http://[",
    "user_id=Bill&sensitivity=%D9%A1&enable_pad=", "user_id=Bill&wav_file_url=//x&wav_file_url=http://a:b@c/",
)  # fmt: skip


def form(rng: random.Random) -> bytes:
    """Return a whole form, of which something is cut out, put in or moved."""
    part = b'--b\r\nContent-Disposition: form-data; name="Source%d"; filename="%d.wav"\r\n\r\n%s\r\n'
    body = b"".join(part % (i, i, rng.randbytes(rng.randrange(2000))) for i in range(rng.randrange(15))) + b"--b--\r\n"
    for _ in range(rng.randrange(5)):
        at = rng.randrange(len(body))
        until = rng.randrange(at, len(body) + 1) if rng.random() < 0.5 else at
        body = body[:at] + rng.choice((b"", *PIECES)) + body[until:]
    return body


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[tuple[Client, str]]:
    folder = tmp_path_factory.mktemp("forms")
    with api(folder, redis_server.url, **AT_ONCE) as client:
        yield client, make_group_key(Settings(data_dir=folder), "default", "group")
        logs = "\n".join(path.read_text() for path in folder.glob("api-*.log"))
        assert "Traceback" not in logs and "unhandled error" not in logs
        # What a form leaves on the disk has no name there.
        assert list((folder / "scratch").iterdir()) == []


def check(answer: requests.Response) -> int:
    body = json.loads(answer.text)
    if "/voisentry/" in answer.url:
        assert set(body) == {"status", "result"}
    elif answer.status_code >= 400:
        assert set(body) == {"error", "request"}
        assert body["error"]["code"] in (f"HTTP {answer.status_code}", "422")
    return answer.status_code


def test_no_form_gets_an_error_of_the_server_or_an_answer_of_another_form(served: tuple[Client, str]) -> None:
    client, key = served
    rng = random.Random(SEED)
    found: Counter[int] = Counter()
    with requests.Session() as session:
        for _ in range(NUM_FORMS):
            kind = rng.choice(TYPES) if rng.random() < 0.3 else TYPES[0]
            query = rng.choice(QUERIES) if rng.random() < 0.3 else QUERIES[0]
            path = f"{BASE}/{rng.choice(('register', 'update', 'verify', 'stats'))}?{query}"
            if rng.random() < 0.2:
                path = f"/voisentry/{rng.choice(('enrol', 'update', 'verify'))}?key={key}&enrolid=Bill"
            body = form(rng)
            data = iter([body[:100], body[100:]]) if rng.random() < 0.2 else body
            answer = session.post(
                client.url + path, data=data, auth=("bob", key), headers={"Content-Type": kind}, timeout=60
            )
            found[check(answer)] += 1
    assert max(found) <= 503 and 500 not in found, found
    # Some got as far as the job that nobody works on.
    assert found[400] and found[503], found
    assert client.send("GET", "/v1/media").json()["items"] == []
    assert client.send("GET", "/v1/jobs?status=pending").json()["items"] == []


def test_many_parts_and_long_fields_are_refused(served: tuple[Client, str]) -> None:
    client, key = served
    part = b'--b\r\nContent-Disposition: form-data; name="x"; filename="x"\r\n\r\n\r\n'
    field = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + b"x" * 300_000 + b"\r\n"
    heads = b"--b\r\n" + b"X: " + b"x" * 300_000
    for body in (part * 65 + b"--b--\r\n", field + b"--b--\r\n", heads, b"x" * 300_000):
        answer = requests.post(
            f"{client.url}{BASE}/register?user_id=Bob", data=body, auth=("bob", key),
            headers={"Content-Type": TYPES[0]}, timeout=60,
        )  # fmt: skip
        assert check(answer) in (400, 413), answer.text


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_client_that_hangs_up_leaves_nothing(served: tuple[Client, str], method: str) -> None:
    client, key = served
    address = urlsplit(client.url)
    token = requests.auth._basic_auth_str("bob", key)  # type: ignore[attr-defined]
    head = (
        f"{method} {BASE}/register?user_id=Bob HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
        f"Content-Type: {TYPES[0]}\r\nContent-Length: 1000000\r\n\r\n"
    )
    for _ in range(5):
        with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
            connection.sendall(
                head.encode() + b'--b\r\nContent-Disposition: form-data; name="Source1"' + b"x" * 100_000
            )
    assert client.send("GET", "/healthz").status_code == 200
    assert client.send("GET", "/v1/media").json()["items"] == []

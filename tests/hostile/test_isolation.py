"""What belongs to another client looks like what does not exist, on every route and with every method."""

import itertools
import re
import subprocess
import sys
import uuid

import pytest
import requests

from shared.adapters.redis_client import connect
from shared.adapters.redis_jobs import open_jobs
from shared.domain.jobs import Status
from shared.settings import Settings
from tests.hostile import fuzz_api
from tests.support.apis import api
from tests.support.client import Client, eventually, put
from tests.support.people import People
from tests.support.records import claim, finish

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")
UNLIMITED = {"posts_per_minute": 10**6, "reads_per_minute": 10**6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("isolation")


@pytest.fixture(scope="module")
def owner(folder, redis_server):
    with api(folder, redis_server.url, **UNLIMITED) as client:
        yield client


@pytest.fixture(scope="module")
def keys(folder):
    def run(*arguments):
        command = [sys.executable, "-m", "api.keys", *arguments]
        environment = Settings(data_dir=folder).environment()
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    return run


@pytest.fixture(scope="module")
def stranger(owner, keys):
    return Client(owner.url, keys("create", "stranger"))


def ended(redis_server, folder, job_id):
    jobs = open_jobs(connect(redis_server.url), Settings(data_dir=folder))
    assert finish(jobs, claim(jobs, job_id), Status.SUCCEEDED, {"voiceprint": "of the owner"})


@pytest.fixture(scope="module")
def names(owner, redis_server, folder):
    """What the owner has, by the name that routes have for it: two jobs, an upload, and a person with all there is."""
    waiting, done = (owner.submit("media://voice.wav", webhook="https://host.invalid/hook") for _ in range(2))
    ended(redis_server, folder, done)
    owner.upload("voice.wav", b"the owner's voice")
    people = People(folder, owner.key)
    ann = people.identity("ann")
    enrolment = people.enrolment(ann)
    person = {"identity": ann, "sample": people.sample(ann), "enrolment": enrolment}
    person["verification"] = people.verification(enrolment)
    return {"job_id": [waiting, done], "key": ["voice.wav"]} | {what: [one.id] for what, one in person.items()}


def paths(client):
    described = requests.get(f"{client.url}/openapi.json", timeout=5).json()["paths"]
    return [path for path in described if path.startswith("/v") and "{token}" not in path]


def fitting(method, path):
    """Return a body that whatever takes one there takes, so that it looks for what the path names."""
    # Turns refuse the fields of others.
    if method != "POST" or path.endswith("/turns"):
        return b"{}"
    return b'{"url": "media://voice.wav", "samples": "all"}'


def seen(client, method, path, name, body=b"{}"):
    """Return status and body, without what must differ: the request's id, and the name that was asked for."""
    body = body.replace(b"NAME", name.encode())
    answer = client.send(method, path.replace("NAME", name), data=body, headers={"Content-Type": "application/json"})
    request_id = answer.headers.get("X-Request-Id", "-")
    return answer.status_code, answer.text.replace(request_id, "ID").replace(name, "NAME")


def test_a_foreign_thing_is_answered_as_an_unknown_one_on_every_route_with_every_method(owner, stranger, names):
    tried = 0
    for path, (what, known), method in itertools.product(paths(owner), names.items(), METHODS):
        if f"{{{what}}}" not in path:
            continue
        unknown = "other.wav" if what == "key" else str(uuid.uuid4())
        # All else that the path names is there.
        named = path.replace(f"{{{what}}}", "NAME").format(**{other: found[0] for other, found in names.items()})
        for name in known:
            foreign, never_was = (seen(stranger, method, named, n, fitting(method, path)) for n in (name, unknown))
            assert foreign == never_was, (method, path)
            assert foreign[0] in (404, 405) or method == "OPTIONS", (method, path)
            tried += 1
    assert tried >= 6 * len(METHODS)
    # Nothing of the owner's was touched.
    assert owner.send("GET", "/v1/identities/ann/samples").json()["total"] == 2
    assert [owner.job(job_id)["status"] for job_id in names["job_id"]] == ["created", "succeeded"]


def test_a_foreign_recording_cannot_be_downloaded_either(stranger, names):
    body = b'{"url": "media://NAME"}'
    foreign, unknown = (seen(stranger, "POST", "/v1/media/output", key, body) for key in ("voice.wav", "other.wav"))
    assert foreign == unknown
    assert foreign[0] == 404


def test_lists_show_ones_own_things_only(owner, stranger, names):
    for path in paths(owner):
        if "{" not in path and stranger.send("GET", path).status_code == 200:
            assert not any(name in stranger.send("GET", path).text for name in itertools.chain(*names.values()))


@pytest.mark.parametrize("arguments", [(), ("create", "stranger", "--group", "team")], ids=["nobody", "group"])
def test_every_route_under_a_version_asks_for_a_key_that_is_not_of_one_group(arguments, owner, keys):
    nobody = Client(owner.url, keys(*arguments) if arguments else "")
    for path, method in itertools.product(paths(owner), ("GET", "POST", "PUT", "PATCH", "DELETE")):
        status, body = seen(nobody, method, re.sub(r"{\w+}", "NAME", path), str(uuid.uuid4()))
        assert status in (401, 405), (method, path)
        assert '"unauthorized"' in body or '"method_not_allowed"' in body


@pytest.mark.parametrize("path", ["/v1/user", "/audiointel/eu/v1/spaces/grouped"])
def test_a_key_of_one_group_is_none_of_the_spaces_api(path, owner, keys):
    group, client = (Client(owner.url, keys("create", "grouped", *more)) for more in (("--group", "team"), ()))
    assert group.send("GET", path).status_code == 401
    assert client.send("GET", path).status_code != 401


def test_a_revoked_key_is_refused_within_seconds(owner, keys):
    doomed = Client(owner.url, keys("create", "doomed"))
    assert doomed.send("GET", "/v1/test").status_code == 200
    keys("revoke-client", "doomed")
    eventually(lambda: doomed.send("GET", "/v1/test").status_code == 401)


def test_the_signed_addresses_of_a_revoked_client_are_good_for_nothing_until_it_is_back(owner, keys):
    doomed = Client(owner.url, keys("create", "signing"))
    url = doomed.upload("voice.wav", b"the doomed one's voice")
    there, new = doomed.post("/v1/media/output", url=url).json()["url"], doomed.address(url)
    keys("revoke-client", "signing")
    for answer in (requests.get(there, timeout=5), put(new, b"a forged voice")):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert requests.get(there[:-1], timeout=5).json()["message"] == answer.json()["message"]
    keys("create", "signing")
    assert requests.get(there, timeout=5).content == b"the doomed one's voice"


def test_nothing_made_from_the_apis_own_description_breaks_it(owner, redis_server, folder):
    report = fuzz_api.run(owner, redis_server.url, folder, 5)
    assert report.passed, report
    assert not report.never_succeeded(), report

"""Uploads and sources in S3, spoken over real HTTP to an S3 server of the tests' own."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

from shared.adapters.media import open_check, open_media, open_recordings, open_sources
from shared.adapters.s3 import S3Check, s3_client
from shared.domain.errors import (
    DownloadFailed,
    FileTooLarge,
    MediaNotFound,
    MediaQuotaExceeded,
    SettingsError,
    Unavailable,
    UrlNotAllowed,
    WorkerUnavailable,
)
from shared.domain.sources import S3Url, parse_source
from shared.settings import Settings
from tests.support.client import eventually, put, voiceprint
from tests.support.disks import ROOM_BYTES, small_disk
from tests.support.origins import origin, says
from tests.support.readme import ROOT, block
from tests.support.receiver import receiving, wait_for
from tests.support.sounds import DATA
from tests.support.stacks import first_client, running
from worker.egress import Egress
from worker.recordings.fetch import SourceFetcher

CLIP = (DATA / "1688-142285-0005.flac").read_bytes()
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "canary-secret-of-s3"}


@pytest.fixture(scope="module")
def endpoint():
    # Where the SDK looks, in this process and in those that it starts.
    before = dict(os.environ)
    os.environ.update(CREDENTIALS)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def s3(endpoint):
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    for bucket in ("uploads", "calls", "private"):
        client.create_bucket(Bucket=bucket)
    return client


@pytest.fixture
def settings(endpoint, s3, tmp_path):
    return Settings(
        data_dir=tmp_path,
        s3_endpoint_url=endpoint,
        s3_bucket="uploads",
        s3_source_buckets="calls",
        max_file_bytes=10**6,
        max_diarize_bytes=10**6,
    )


@pytest.fixture
def media(settings):
    return open_media(settings)


def content(media, client_id, key):
    with media.open_upload(client_id, key) as file:
        return file.read()


def test_what_is_put_to_a_presigned_address_can_be_read_listed_downloaded_and_removed(media):
    assert put(media.put_address("a", "x/../y.wav"), b"one").status_code == 200
    assert put(media.put_address("a", "x/../y.wav"), b"two", Content_Type="audio/wav").status_code == 200
    assert content(media, "a", "x/../y.wav") == b"two"
    (upload,) = media.list("a", "", 10).uploads
    assert (upload.key, upload.size_bytes) == ("x/../y.wav", 3)
    assert requests.get(media.get_address("a", "x/../y.wav"), timeout=5).content == b"two"
    assert media.contains("a", "x/../y.wav")
    assert media.remove("a", "x/../y.wav") == hashlib.sha256(b"two").hexdigest()
    assert not media.contains("a", "x/../y.wav")
    assert media.remove("a", "x/../y.wav") is None


@pytest.mark.parametrize("key", ["../b/k", "/k", "....//k", ".", "..", "b/k"])
def test_no_key_leaves_its_clients_prefix(key, media, s3):
    put(media.put_address("a", key), b"x")
    names = [o["Key"] for o in s3.list_objects_v2(Bucket="uploads")["Contents"]]
    assert all(name.startswith("timbre/a/") and name.count("/") == 2 for name in names)
    with pytest.raises(MediaNotFound):
        media.open_upload("b", "k")
    media.remove("a", key)


def test_presigned_addresses_expire_within_an_hour_and_carry_no_secret(media):
    for address in (media.put_address("a", "k"), media.get_address("a", "k")):
        query = parse_qs(urlsplit(address).query)
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
        assert int(query["X-Amz-Expires"][0]) <= 3600
        assert "canary" not in address


def test_uploads_are_listed_page_by_page(media):
    keys = {f"page/{i}" for i in range(5)}
    for key in keys:
        put(media.put_address("pages", key), b"x")
    seen, cursor = set(), ""
    while cursor is not None:
        page = media.list("pages", cursor, 2)
        seen |= {upload.key for upload in page.uploads}
        cursor = page.cursor
    assert seen == keys


def test_an_upload_over_the_limit_is_not_read_and_swept_away(settings, media):
    put(media.put_address("a", "big"), b"x" * (10**6 + 1))
    put(media.put_address("a", "limit"), b"x" * 10**6)
    with pytest.raises(FileTooLarge):
        media.open_upload("a", "big")
    assert open_media(settings).sweep() == 1
    assert not media.contains("a", "big")
    assert media.remove("a", "limit")


def test_a_client_whose_uploads_have_reached_the_quota_gets_no_address_until_some_are_removed(settings):
    media = open_media(replace(settings, max_media_bytes=1000))
    for i in range(4):
        put(media.put_address("quota", f"{i}"), b"x" * 300)
    counts_anew = open_media(replace(settings, max_media_bytes=1000))
    with pytest.raises(MediaQuotaExceeded, match="hold 1200 of 1000 bytes"):
        counts_anew.put_address("quota", "next")
    with pytest.raises(MediaQuotaExceeded):
        counts_anew.save("quota", "next", [b"x"])
    assert counts_anew.put_address("another", "next")
    assert counts_anew.remove("quota", "0")
    assert put(counts_anew.put_address("quota", "next"), b"x").status_code == 200


def test_what_does_not_fit_into_the_quota_is_swept_the_latest_first(settings, media, s3):
    for i, size in enumerate((300, 300, 300, 300, 100, 100)):
        put(media.put_address("swept", f"{i}"), b"x" * size)
        put(media.put_address("swept too", f"{i}"), b"x")
        # S3 tells whole seconds.
        put_at = int(time.time())
        eventually(lambda put_at=put_at: time.time() >= put_at + 1)
    assert open_media(replace(settings, max_media_bytes=1000)).sweep() == 2
    left = {upload.key for upload in media.list("swept", "", 10).uploads}
    assert left == {"0", "1", "2", "4"}
    assert len(media.list("swept too", "", 10).uploads) == 6
    assert media.sweep() == 0


def test_an_upload_over_the_limit_is_removed_unread_and_without_a_receipt(media):
    put(media.put_address("a", "big"), b"x" * (10**6 + 1))
    assert media.remove("a", "big") is None
    assert not media.contains("a", "big")


def test_not_a_byte_of_what_is_too_large_is_waited_for(settings):
    # A store that announces what it then does not send: whoever reads on waits for ten seconds.
    with origin(says(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n")) as store:
        media = open_media(replace(settings, s3_endpoint_url=f"http://127.0.0.1:{store.port}"))
        with pytest.raises(FileTooLarge):
            media.open_upload("a", "big")
        assert media.remove("a", "big") is None
        assert [request.split(b" ")[0] for request in store.requests] == [b"GET", b"GET", b"DELETE"]


def test_clients_are_sent_to_the_address_at_which_they_see_the_server(settings, s3):
    public = settings.s3_endpoint_url.replace("127.0.0.1", "localhost")
    media = open_media(replace(settings, s3_public_url=public))
    assert media.put_address("a", "seen").startswith(f"{public}/uploads/timbre/a/")
    assert put(media.put_address("a", "seen"), b"x").status_code == 200
    assert requests.get(media.get_address("a", "seen"), timeout=5).content == b"x"
    # The service itself stays with its own address.
    away = replace(settings, s3_public_url="http://127.0.0.1:9")
    assert open_media(away).remove("a", "seen") == hashlib.sha256(b"x").hexdigest()


def test_uploads_past_their_time_are_swept(settings, media):
    put(media.put_address("a", "old"), b"x")
    assert media.sweep() == 0
    hasty = open_media(replace(settings, media_ttl_s=-5))
    assert hasty.sweep() >= 1
    assert not media.contains("a", "old")


def actions(media):
    """Return what reads, lists, removes, finds and addresses uploads."""
    return [
        lambda: media.open_upload("a", "k"),
        lambda: media.list("a", "", 1),
        lambda: media.remove("a", "k"),
        lambda: media.contains("a", "k"),
        lambda: media.save("a", "k", [b"x"]),
        lambda: media.put_address("a", "k"),
    ]


def assert_said(settings, sentence):
    """Assert that every use of the bucket, and its check, says what is wrong, and no more than that."""
    keys = {"sample": b"k" * 32}
    recordings = open_recordings(settings, keys.get)
    uses = [
        *actions(open_media(settings)),
        open_check(settings),
        lambda: open_media(settings).sweep(),
        lambda: recordings.keep("a", "sample", b"x"),
        lambda: recordings.load("a", "sample"),
    ]
    for use in uses:
        with pytest.raises(Unavailable, match=sentence) as caught:
            use()
        assert settings.s3_bucket not in str(caught.value)
        assert "127.0.0.1" not in str(caught.value)


@pytest.fixture
def users(endpoint):
    """A server that demands credentials, and those of a user with all rights, and of one who may only read."""
    iam = boto3.client("iam", endpoint_url=endpoint, region_name="us-east-1")
    found = {name: user(iam, name, rights) for name, rights in (("all", "s3:*"), ("reads", ["s3:Get*", "s3:List*"]))}
    requests.post(f"{endpoint}/moto-api/reset-auth", data=b"0", timeout=5)
    yield found
    requests.post(f"{endpoint}/moto-api/reset-auth", data=b"inf", timeout=5)
    for name in found:
        for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
            iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        iam.delete_user_policy(UserName=name, PolicyName="rights")
        iam.delete_user(UserName=name)


def user(iam, name, rights):
    """Make a user with a policy; returns the access key."""
    iam.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": rights, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


@pytest.fixture
def identify_as(monkeypatch):
    """Set the credentials that the SDK finds."""

    def identify_as(key_id, secret):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)

    return identify_as


def test_a_store_that_is_away_is_said_to_be_so(settings):
    assert_said(replace(settings, s3_endpoint_url="http://127.0.0.1:9"), r"^The object store does not answer\.$")


def test_a_store_that_hangs_is_said_to_be_so_within_seconds(settings):
    over = threading.Event()
    with origin(lambda *_: over.wait(30)) as store:
        check = open_check(replace(settings, s3_endpoint_url=f"http://127.0.0.1:{store.port}"))
        began_at = time.monotonic()
        with pytest.raises(Unavailable, match="does not answer"):
            check()
        assert time.monotonic() - began_at < 4
        over.set()


def test_a_server_that_is_no_object_store_is_not_taken_for_an_empty_one(settings):
    with origin(says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")) as store:
        assert_said(replace(settings, s3_endpoint_url=f"http://127.0.0.1:{store.port}"), "answered with 404")


def test_a_bucket_that_does_not_exist_is_said_to_be_so(settings):
    assert_said(replace(settings, s3_bucket="nowhere"), "bucket for recordings does not exist.*TIMBRE_S3_BUCKET")


def test_missing_credentials_are_said_to_be_missing(settings, identify_as):
    identify_as("", "")
    assert_said(settings, "has no AWS credentials; its operator must set AWS_ACCESS_KEY_ID")
    with pytest.raises(Unavailable, match="has no AWS credentials"):
        open_sources(settings).open_object(S3Url("calls", "k"))


def test_half_of_the_credentials_end_the_start(settings, identify_as):
    identify_as("testing", "")
    with pytest.raises(SettingsError, match="AWS_SECRET_ACCESS_KEY"):
        open_media(settings)


def test_wrong_credentials_and_lacking_rights_are_told_apart(settings, users, identify_as):
    identify_as(*users["all"])
    open_check(settings)()
    refused = "refuses the service's AWS credentials"
    identify_as(users["all"][0], "wrong")
    assert_said(settings, refused)
    identify_as("AKIAUNKNOWN", "wrong")
    assert_said(settings, refused)
    with pytest.raises(Unavailable, match=refused):
        open_sources(settings).open_object(S3Url("calls", "k"))
    identify_as(*users["reads"])
    denied = "denies the service access; its operator must give .* list, get, put and delete in TIMBRE_S3_BUCKET"
    for use in (open_check(settings), lambda: open_media(settings).save("a", "k", [b"x"])):
        with pytest.raises(Unavailable, match=denied):
            use()


def test_a_check_leaves_nothing_and_later_costs_one_request(settings, s3):
    with origin(says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")) as store:
        check = open_check(replace(settings, s3_endpoint_url=f"http://127.0.0.1:{store.port}"))
        check()
        check()
        assert [request.split(b" ")[0] for request in store.requests] == [b"GET", b"PUT", b"GET", b"DELETE", b"GET"]
    open_check(settings)()
    names = [o["Key"] for o in s3.list_objects_v2(Bucket="uploads").get("Contents", [])]
    assert "timbre-check" not in names


@pytest.mark.parametrize("action", ["PutObject", "GetObject", "DeleteObject"])
def test_processes_that_check_a_bucket_at_once_find_nothing_wrong(action, settings, s3):
    client = s3_client(settings)
    other = open_check(settings)
    client.meta.events.register(f"before-call.s3.{action}", lambda **_: other())
    S3Check(client, "uploads")()
    names = [o["Key"] for o in s3.list_objects_v2(Bucket="uploads").get("Contents", [])]
    assert "timbre-check" not in names


@pytest.mark.parametrize("url", ["media://k", "s3://calls/k"])
def test_a_job_whose_store_is_away_may_be_handed_back(url, settings, tmp_path):
    away = replace(settings, s3_endpoint_url="http://127.0.0.1:9")
    fetcher = SourceFetcher(Egress(), open_media(away), open_sources(away), tmp_path)
    with pytest.raises(WorkerUnavailable, match=r"does not answer\. Try again later") as caught:
        fetcher.fetch("a", parse_source(url), settings.voiceprint_limits())
    assert caught.value.passing


def test_what_is_read_from_a_bucket_leaves_the_reserve_of_the_disk_free(settings, s3, tmp_path):
    s3.put_object(Bucket="calls", Key="large.wav", Body=bytes(ROOM_BYTES + (1 << 20)))
    with small_disk(tmp_path / "small") as folder:
        sources = open_sources(replace(settings, data_dir=folder, max_file_bytes=10**8))
        with pytest.raises(Unavailable, match="TIMBRE_DATA_DIR"):
            sources.open_object(S3Url("calls", "large.wav"))
        s3.put_object(Bucket="calls", Key="small.wav", Body=b"a call")
        with sources.open_object(S3Url("calls", "small.wav")) as file:
            assert file.read() == b"a call"


def test_a_source_is_read_from_a_listed_bucket_and_from_no_other(settings, s3):
    s3.put_object(Bucket="calls", Key="2026/a b?ü.wav", Body=b"a call")
    s3.put_object(Bucket="private", Key="k", Body=b"not yours")
    sources = open_sources(settings)
    with sources.open_object(S3Url("calls", "2026/a b?ü.wav")) as file:
        assert file.read() == b"a call"
    for bucket in ("private", "", "calls.private", "uploads"):
        with pytest.raises(UrlNotAllowed):
            sources.open_object(S3Url(bucket, "timbre/a/k"))
    with pytest.raises(DownloadFailed, match="NoSuchKey"):
        sources.open_object(S3Url("calls", "missing"))


@pytest.fixture(scope="module")
def stack(endpoint, s3, tmp_path_factory):
    """The whole service on S3, allowed to fetch from and to call this machine."""
    settings = {
        "s3_endpoint_url": endpoint, "s3_bucket": "uploads", "s3_source_buckets": "calls", "worker_processes": 1,
        "allowed_hosts": "127.0.0.0/8", "allowed_ports": "1-65535", "allow_http_webhooks": True,
    }  # fmt: skip
    with running(tmp_path_factory.mktemp("s3"), **settings) as stack:
        yield stack


def test_a_job_takes_its_recording_from_an_upload_to_s3(stack):
    client = first_client(stack)
    url = client.upload("hello.flac", CLIP)
    assert urlsplit(client.address(url)).path.startswith("/uploads/timbre/")
    voiceprint(client.run(url))
    (item,) = client.send("GET", "/v1/media").json()["items"]
    assert (item["url"], item["bytes"]) == (url, len(CLIP))
    assert requests.get(client.post("/v1/media/output", url=url).json()["url"], timeout=5).content == CLIP
    assert client.send("DELETE", "/v1/media/hello.flac").json()["sha256"] == hashlib.sha256(CLIP).hexdigest()
    assert client.post("/v1/media/output", url=url).status_code == 404


def test_a_job_takes_its_recording_from_a_listed_bucket_and_no_other(stack, s3):
    client = first_client(stack)
    s3.put_object(Bucket="calls", Key="in/hello.flac", Body=CLIP)
    voiceprint(client.run("s3://calls/in/hello.flac"))
    refused = client.post("/v1/voiceprint", url="s3://private/k")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "url")


def test_the_readmes_lines_lead_from_a_private_bucket_to_a_webhook(stack, endpoint):
    program = block("api/README.md", "s3-to-webhook")
    client = first_client(stack)
    with receiving("200") as receiver:
        environment = os.environ | {
            "SERVICE_URL": client.url, "SERVICE_KEY": client.key, "WEBHOOK": receiver.url,
            "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
        command = [sys.executable, "-W", "ignore", "-c", program]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        wait_for(receiver, 1)
    body = json.loads(receiver.posts[0].body)
    assert (body["jobId"], body["status"]) == (done.stdout.strip(), "succeeded")
    assert body["output"]["voiceprint"]


def test_nothing_of_the_credentials_is_in_the_logs(stack):
    text = "".join(path.read_text(errors="replace") for path in stack.logs.iterdir())
    assert "canary-secret-of-s3" not in text
    assert "X-Amz-Signature" not in text


def test_what_the_server_received_itself_is_saved_whole_or_not_at_all(media):
    def broken():
        yield b"half"
        raise ConnectionError

    media.save("a", "k", [b"one ", b"file"])
    assert content(media, "a", "k") == b"one file"
    with pytest.raises(ConnectionError):
        media.save("a", "k", broken())
    assert content(media, "a", "k") == b"one file"


def test_kept_recordings_lie_sealed_under_a_prefix_of_their_own(settings, s3):
    keys = {"sample": b"k" * 32}
    recordings = open_recordings(settings, keys.get)
    assert recordings.load("client", "sample") is None
    recordings.keep("client", "sample", b"RIFF of a voice")
    stored = s3.get_object(Bucket="uploads", Key="recordings/client/sample")["Body"].read()
    assert b"RIFF" not in stored
    assert recordings.load("client", "sample") == b"RIFF of a voice"
    open_media(replace(settings, media_ttl_s=1)).sweep()
    assert recordings.load("client", "sample") == b"RIFF of a voice"
    recordings.remove("client", "sample")
    recordings.remove("client", "sample")
    assert recordings.load("client", "sample") is None


def test_a_bucket_that_does_not_answer_keeps_no_recording(settings):
    recordings = open_recordings(replace(settings, s3_endpoint_url="http://127.0.0.1:9"), {"sample": b"k" * 32}.get)
    with pytest.raises(Unavailable):
        recordings.keep("client", "sample", b"sound")

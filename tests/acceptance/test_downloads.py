"""Recordings are fetched from wherever clients say, within limits of bytes, seconds and addresses."""

from collections.abc import Iterator

import pytest

from shared.local.stack import free_port
from tests.support.answers import failure
from tests.support.client import Client, voiceprint
from tests.support.origins import ok, origin, says
from tests.support.servers import AudioHost
from tests.support.sounds import DATA
from tests.support.stacks import LOOPBACK, first_client, running

NAME = "1688-142285-0005.flac"


@pytest.fixture
def recording(host: AudioHost) -> str:
    """Serve a good recording; returns its name there."""
    host.serve(NAME, (DATA / NAME).read_bytes())
    return NAME


@pytest.mark.parametrize("path", ["file", "redirect/1", "redirect/5"])
def test_a_recording_is_fetched_also_by_way_of_redirects(
    path: str, client: Client, host: AudioHost, recording: str
) -> None:
    voiceprint(client.run(host.url(f"{path}/{recording}")))


def test_a_presigned_address_is_asked_for_once_with_its_query(client: Client, host: AudioHost, recording: str) -> None:
    voiceprint(client.run(host.url(f"file/{recording}?X-Amz-Signature=abc%2Fdef%3D&X-Amz-Expires=3600")))
    assert host.hits == {f"/file/{recording}": 1}


def test_a_signed_address_arrives_as_the_client_wrote_it(client: Client) -> None:
    target = "/calls/2026/../a//./%2fb%2F%c3%a9|.flac?X-Amz-Signature=%2b%2F0f"
    with origin(says(ok((DATA / NAME).read_bytes()))) as host:
        voiceprint(client.run(f"http://127.0.0.1:{host.port}{target}"))
        assert host.requests[0].startswith(f"GET {target} HTTP/1.1\r\n".encode())


def test_a_page_in_place_of_a_recording_is_told_by_name(client: Client) -> None:
    page = b"<!doctype html><title>Sign in</title>"
    with origin(says(ok(page, "Content-Type: text/html; charset=utf-8"))) as host:
        job = client.run(f"http://127.0.0.1:{host.port}/share?dl=0")
    failure(job, "not_audio", "The address gave a web page, text/html, not a recording;", "direct link")


@pytest.mark.parametrize("status", [204, 206, 304, 403, 404, 410, 500, 503])
def test_a_refusal_is_told_with_its_status(status: int, client: Client, host: AudioHost) -> None:
    failure(client.run(host.url(f"status/{status}")), "download_failed", str(status))


def test_a_host_that_does_not_exist_is_named(client: Client) -> None:
    failure(client.run("http://no-such-host.invalid/a.wav?token=secret"), "download_failed", "no-such-host.invalid")


def test_a_refused_connection_is_not_called_slow(client: Client) -> None:
    failure(client.run(f"http://127.0.0.1:{free_port()}/a.wav"), "download_failed", "onnect")


@pytest.mark.parametrize("path", ["redirect-loop", f"redirect/6/{NAME}"])
def test_too_many_redirects_end(path: str, client: Client, host: AudioHost, recording: str) -> None:
    failure(client.run(host.url(path)), "download_failed", "redirects")
    assert host.hits.total() == 6


@pytest.mark.parametrize(
    "target", ["file:///etc/hostname", "ftp://127.0.0.1/a.wav", "http://user:pass@127.0.0.1/a.wav"]
)
def test_a_redirect_passes_the_same_door_as_an_address(target: str, client: Client, host: AudioHost) -> None:
    failure(client.run(host.url(f"elsewhere/{target}")), "url_not_allowed")


def test_a_compressed_transfer_is_refused(client: Client, host: AudioHost, recording: str) -> None:
    failure(client.run(host.url(f"gzip/{recording}")), "download_failed", "compressed")


def test_a_transfer_that_breaks_off_is_not_taken_for_a_recording(
    client: Client, host: AudioHost, recording: str
) -> None:
    failure(client.run(host.url(f"truncated/{recording}")), "download_failed", "broke off")


def test_a_host_that_hangs_up_is_told(client: Client, host: AudioHost) -> None:
    failure(client.run(host.url("hang-up")), "download_failed")


@pytest.mark.parametrize("path", ["declared/200001", "declared/99999999999999999999", "endless"])
def test_a_file_that_is_too_large_is_not_fetched_to_its_end(path: str, small: Client, host: AudioHost) -> None:
    failure(small.run(host.url(path)), "file_too_large")


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a service that has little patience with hosts."""
    settings = LOOPBACK | {"download_timeout_s": 1.5, "worker_processes": 1}
    with running(tmp_path_factory.mktemp("hasty"), **settings) as stack:
        yield first_client(stack)


@pytest.mark.parametrize("path", ["drip", "drip-close", "drip-headers"])
def test_a_download_ends_in_time_however_it_drips(path: str, hasty: Client, host: AudioHost) -> None:
    failure(hasty.run(host.url(path)), "download_timeout", "1.5 seconds")


HIDDEN_LOOPBACKS = [
    "127.0.0.1",
    "localhost",
    "[::1]",
    "0.0.0.0",
    "127.1",
    "2130706433",
    "0x7f000001",
    "[::ffff:127.0.0.1]",
]


@pytest.mark.parametrize("name", HIDDEN_LOOPBACKS)
def test_a_private_address_is_never_opened_whatever_it_looks_like(name: str, strict: Client, host: AudioHost) -> None:
    failure(strict.run(f"http://{name}:{host.server_port}/a"), "url_not_allowed", "TIMBRE_ALLOWED_PORTS")
    told = ("not on the public internet", "TIMBRE_ALLOWED_HOSTS")
    failure(strict.run(f"http://{name}/file/{NAME}"), "url_not_allowed", *told)
    assert not host.hits


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "[fe80::1]", "[fd00::1]"]
)
def test_addresses_of_inner_networks_are_refused(address: str, strict: Client) -> None:
    failure(strict.run(f"http://{address}/latest/meta-data"), "url_not_allowed", "not on the public internet")


def test_a_production_service_still_takes_uploads(strict: Client) -> None:
    voiceprint(strict.run(strict.upload(NAME, (DATA / NAME).read_bytes())))

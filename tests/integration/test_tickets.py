"""Tickets of sockets: each opens one socket, once, within a minute, while its key works."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest
from flask import Flask

from api.dialects.voisentry import tickets
from api.dialects.voisentry.calls import Call
from api.dialects.voisentry.tickets import issue, redeem
from api.services import Services
from shared.adapters.sql.administration import Administration
from shared.dialects.voisentry import Operation, Refused, SocketCode
from shared.domain.identities import Actor, RecordKind, VerificationMode
from shared.settings import Settings

AT_ONCE = 16


@pytest.fixture
def settings(tmp_path, redis_server):
    return Settings(data_dir=tmp_path, redis_url=redis_server.url, stream_bind="127.0.0.1:9001")


@pytest.fixture
def services(settings):
    found = Services.from_settings(settings)
    yield found
    found.engine.dispose()


@pytest.fixture
def call(services):
    client = services.clients.authenticate(services.clients.create_key("acme"))
    space = services.identities.add_space(Actor(client_id=client.id, key_id=client.key_id), "group")
    return Call(
        client=client,
        space=space,
        operation=Operation.VERIFY,
        user_id="Bob.1-x",
        sensitivity=-2.5,
        text_dependent=False,
        enable_pad=True,
    )


def token_of(url):
    return url.partition("?auth_token=")[2]


def code_of(services, operation, token):
    with pytest.raises(Refused) as refused:
        redeem(services, operation, token)
    return refused.value.socket_code


def test_a_ticket_gives_the_call_that_it_was_made_for_once(services, call):
    token = token_of(issue(services, call))
    found = redeem(services, Operation.VERIFY, token)
    assert replace(found, request_id="", mode=VerificationMode.REST) == call
    assert found.mode is VerificationMode.WEBSOCKET
    assert found.client.key_id == call.client.key_id
    assert code_of(services, Operation.VERIFY, token) == SocketCode.BAD_REQUEST


def test_of_processes_that_redeem_a_ticket_at_the_same_moment_one_does(services, settings, call):
    other = Services.from_settings(settings)
    for _ in range(5):
        call = replace(call, job_id=Call.__dataclass_fields__["job_id"].default_factory())
        token = token_of(issue(services, call))

        def won(process, token=token):
            with suppress(Refused):
                return redeem(process, Operation.VERIFY, token) is not None
            return False

        with ThreadPoolExecutor(AT_ONCE) as threads:
            assert sum(threads.map(won, [services, other] * (AT_ONCE // 2))) == 1
    other.engine.dispose()


@pytest.mark.parametrize("operation", [Operation.REGISTER, Operation.UPDATE])
def test_a_ticket_is_good_for_its_operation_alone_and_is_not_used_up_by_another(services, call, operation):
    token = token_of(issue(services, call))
    assert code_of(services, operation, token) == SocketCode.BAD_REQUEST
    assert redeem(services, Operation.VERIFY, token)


def test_a_ticket_that_was_changed_or_never_made_is_good_for_nothing(services, call):
    token = token_of(issue(services, call))
    flipped = token[:20] + ("a" if token[20] != "a" else "b") + token[21:]
    for bad in ("", "x", ".", "..", token[:-1], token + "a", flipped, "\0", "ä", "." * 10_000):
        assert code_of(services, Operation.VERIFY, bad) == SocketCode.BAD_REQUEST
    assert redeem(services, Operation.VERIFY, token)


def test_a_ticket_of_another_server_is_good_for_nothing(services, call, settings):
    other = replace(services, settings=replace(settings, secret="another secret, of 32 characters"))
    assert code_of(services, Operation.VERIFY, token_of(issue(other, call))) == SocketCode.BAD_REQUEST


def test_a_ticket_ends(services, call, monkeypatch):
    token = token_of(issue(services, call))
    monkeypatch.setattr(tickets, "TICKET_S", -1)
    assert code_of(services, Operation.VERIFY, token) == SocketCode.BAD_REQUEST


def test_a_used_ticket_is_remembered_for_longer_than_any_is_good(services, call):
    redeem(services, Operation.VERIFY, token_of(issue(services, call)))
    (key,) = services.redis.keys(f"*{call.job_id}*")
    assert services.redis.ttl(key) > tickets.TICKET_S


def test_a_ticket_ends_at_once_with_its_key_its_client_and_its_group(services, call):
    administration = Administration(services.engine, services.settings.secret_bytes())
    by = Actor(client_id=call.client.id, key_id=call.client.key_id)
    urls = [issue(services, replace(call, job_id=Call.__dataclass_fields__["job_id"].default_factory())) for _ in "abc"]
    assert redeem(services, Operation.VERIFY, token_of(urls[0]))
    administration.revoke_key(call.client.key_id)
    assert code_of(services, Operation.VERIFY, token_of(urls[1])) == SocketCode.DISABLED
    services.identities.delete_record(by, RecordKind.SPACE, call.space.id)
    assert code_of(services, Operation.VERIFY, token_of(urls[2])) == SocketCode.DISABLED


@pytest.mark.parametrize(
    ("changes", "base"),
    [
        ({}, "ws://127.0.0.1:9001"),
        ({"stream_bind": "0.0.0.0:9001"}, "ws://voice.lan:9001"),
        ({"stream_bind": "[::]:9001"}, "ws://voice.lan:9001"),
        ({"public_url": "https://voice.example.org/"}, "wss://voice.example.org"),
        ({"public_url": "http://localhost:8000"}, "ws://localhost:8000"),
        ({"public_url": "https://a.example", "stream_url": "wss://b.example:8443/x/"}, "wss://b.example:8443/x"),
        ({"stream_bind": None, "stream_url": "wss://b.example"}, "wss://b.example"),
    ],
    ids=str,
)
def test_the_address_is_that_of_the_stream_as_clients_see_it(services, call, settings, changes, base):
    with Flask("test").test_request_context(base_url="http://voice.lan:8000"):
        url = issue(replace(services, settings=replace(settings, **changes)), call)
    assert url.startswith(f"{base}/wss/verify?auth_token=")


def test_without_a_stream_the_settings_are_named(services, call, settings):
    with pytest.raises(Refused) as refused:
        issue(replace(services, settings=replace(settings, stream_bind=None)), call)
    assert refused.value.status == 503
    assert "TIMBRE_STREAM_BIND" in refused.value.text and "TIMBRE_STREAM_URL" in refused.value.text

"""Webhooks against a receiver that plays scripts, over real connections, on a clock that the test moves."""

import json
import math
import ssl
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from sqlalchemy.exc import OperationalError

from shared.adapters.redis_deliveries import (
    LOG_LENGTH,
    PATIENCE_S,
    PER_CLIENT,
    PER_CLIENT_SLOW,
    PER_HOST,
    SEND_S,
    SILENCE_S,
    SLOW_S,
    RedisDeliveries,
)
from shared.adapters.redis_file import RedisFile
from shared.adapters.sealing import Envelope
from shared.adapters.sql.administration import Administration
from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_database, open_migrated
from shared.dialects.signatures import new_secret, vendor_signature
from shared.domain.addresses import NAME_REFUSED, AddressRules
from shared.domain.delivery import SENDERS, DeliveryLog, DeliveryState, LogEntry, Next, Senders
from shared.domain.errors import DeliveryPending, NoWebhook, ResultGone
from shared.domain.jobs import Status, new_job_id
from tests.support.clock import Clock
from tests.support.receiver import receiving
from tests.support.records import DIALECTS, ENVELOPE, cancel, finish, job_store, submission
from worker.egress import Egress
from worker.webhooks.sender import PUT_OFF_S, TIMEOUT_S, Deliverer

OUTPUT = {"voiceprint": "VE1C", "note": "é"}
LOOPBACK = AddressRules.parse("1-65535", "127.0.0.0/8")
SECRET = new_secret()


class Outbox:
    """Jobs that end, and a courier's work done step by step."""

    def __init__(self, redis, **deliverer):
        self.redis, self.clock = redis, Clock()
        self.jobs = job_store(redis, self.clock, ttl_s=86_400)
        self.deliveries = RedisDeliveries(redis, ENVELOPE, clock=self.clock)
        options = {"egress": Egress(rules=LOOPBACK), "https_only": False, "timeout_s": 30.0, "dialects": DIALECTS}
        self.deliverer = Deliverer(deliveries=self.deliveries, secrets=lambda _: [SECRET], **options | deliverer)

    def end_job(self, url, *, client="client", status=Status.SUCCEEDED, status_only=False):
        job = self.jobs.create(new_job_id(), client, submission("https://x", url, status_only=status_only))
        if status is Status.CANCELED:
            assert cancel(self.jobs, job.id, OUTPUT, status_only=status_only)
        else:
            assert finish(self.jobs, self.jobs.claim(), status, OUTPUT)
        return job.id

    def due_in_s(self):
        """Seconds until the next try; None when there is none."""
        queues = self.redis.scan_iter("timbre:due:*:*")
        due = [at for queue in queues for _, at in self.redis.zrange(queue, 0, 0, withscores=True)]
        return (min(due) - self.clock.now) / 1000 if due else None

    def wait_s(self, seconds):
        """Let time pass in which a courier lives, though none that is free: it looks all the time."""
        for _ in range(math.ceil(seconds / SILENCE_S)):
            step_s = min(SILENCE_S, seconds)
            self.clock.pass_s(step_s)
            self.deliveries.take(0)
            seconds -= step_s

    def send_due(self):
        for delivery in self.deliveries.take(10):
            self.deliverer.deliver(delivery)

    def send_all(self):
        """Send until nothing is due ever again; returns the seconds waited before each try."""
        waits = []
        while (wait := self.due_in_s()) is not None:
            waits.append(wait)
            self.clock.pass_s(max(0.0, wait))
            self.send_due()
        return waits


@pytest.fixture
def outbox(redis):
    return Outbox(redis)


@pytest.fixture
def hasty(redis):
    """An outbox with no patience, for receivers that never come to an end."""
    return Outbox(redis, timeout_s=0.4)


SCHEDULE = [0, 0, 60, 300]
HTTP, TIMEOUT, CONNECTION, UNKNOWN = "http_error", "http_timeout", "connection_failed", "unknown_error"
REFUSED = "address_not_allowed"
NO_HOST = NAME_REFUSED.format("no-such-host.invalid")
SCRIPTS = {
    "well": (["200"], [(200, None)], "delivered", [0]),
    "no content": (["204"], [(204, None)], "delivered", [0]),
    "third time lucky": (
        ["500", "500", "200"], [(500, HTTP), (500, HTTP), (200, None)], "delivered", SCHEDULE[:3]
    ),
    "never": (["500"], [(500, HTTP)] * 4, "exhausted", SCHEDULE),
    "hangs": (["hang"], [(None, TIMEOUT)] * 4, "exhausted", SCHEDULE),
    "drips its body": (["drip"], [(None, TIMEOUT)] * 4, "exhausted", SCHEDULE),
    "drips its headers": (["drip_headers"], [(None, TIMEOUT)] * 4, "exhausted", SCHEDULE),
    "closes in mid-answer": (["cut", "200"], [(None, CONNECTION), (200, None)], "delivered", [0, 0]),
    "resets": (["reset", "200"], [(None, CONNECTION), (200, None)], "delivered", [0, 0]),
    "found elsewhere": (["302 Location: /other", "200"], [(302, HTTP), (200, None)], "delivered", [0, 0]),
    "two redirects": (
        ["307 Location: /a", "308 Location: /b", "200"], [(200, None)], "delivered", [0]
    ),
    "three redirects": (
        ["307 Location: /a", "308 Location: /b", "307 Location: /c", "200"],
        [(None, "too_many_redirects"), (200, None)], "delivered", [0, 0],
    ),
    "redirect to the inside": (
        ["307 Location: http://10.0.0.1/", "200"], [(None, REFUSED)], "refused", [0]
    ),
    "gone": (["410"], [(410, HTTP)], "refused", [0]),
    "gone at last": (["500", "410"], [(500, HTTP), (410, HTTP)], "refused", [0, 0]),
    "asks for patience": (
        ["429 Retry-After: 120", "503 Retry-After: 7", "200"],
        [(429, HTTP), (503, HTTP), (200, None)], "delivered", [0, 120, 60],
    ),
    "asks for too much": (["429 Retry-After: 999999", "200"], [(429, HTTP), (200, None)], "delivered", [0, 3600]),
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_tries_reasons_and_spacing_are_those_of_the_table(request, name):
    script, tries, state, schedule = SCRIPTS[name]
    outbox = request.getfixturevalue("hasty" if (None, TIMEOUT) in tries else "outbox")
    with receiving(*script) as receiver:
        job_id = outbox.end_job(receiver.url)
        waits = outbox.send_all()
    log = outbox.deliveries.log("client", job_id)
    assert [(entry.status, entry.reason) for entry in log.tries] == tries
    assert [entry.attempt for entry in log.tries] == list(range(1, len(tries) + 1))
    assert log.state == state
    assert waits == pytest.approx(schedule, rel=0.1, abs=0.01)
    assert len({post.headers["webhook-id"] for post in receiver.posts}) == 1
    assert len({post.body for post in receiver.posts}) == 1


def test_every_retry_says_which_it_is_and_why(outbox):
    with receiving("500", "cut", "200") as receiver:
        outbox.end_job(receiver.url)
        outbox.send_all()
    told = [(post.headers["x-retry-num"], post.headers["x-retry-reason"]) for post in receiver.posts]
    assert told == [(None, None), ("1", HTTP), ("2", CONNECTION)]


def test_a_retry_after_a_timeout_says_so(hasty):
    with receiving("hang") as receiver:
        hasty.end_job(receiver.url)
        hasty.send_all()
    assert {post.headers["x-retry-reason"] for post in receiver.posts[1:]} == {TIMEOUT}


def test_a_closed_port_is_a_failed_connection(outbox):
    with receiving("200") as receiver:
        url = receiver.url
    job_id = outbox.end_job(url)
    outbox.send_all()
    assert [entry.reason for entry in outbox.deliveries.log("client", job_id).tries] == [CONNECTION] * 4


@pytest.mark.parametrize(("trusted", "name"), [(False, "127.0.0.1"), (True, "another.example"), (True, "127.0.0.1")])
def test_only_a_valid_certificate_is_accepted(redis, tmp_path, trusted, name):
    authority, stranger = trustme.CA(), trustme.CA()
    (authority if trusted else stranger).cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    outbox = Outbox(redis, egress=Egress(rules=LOOPBACK, ca_file=str(tmp_path / "ca.pem")), https_only=True)
    with receiving("200", tls=context) as receiver:
        job_id = outbox.end_job(receiver.url)
        outbox.send_due()
    good = trusted and name == "127.0.0.1"
    assert [entry.reason for entry in outbox.deliveries.log("client", job_id).tries] == [None if good else "ssl_error"]
    assert len(receiver.posts) == int(good)


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"https_only": True}, "TIMBRE_ALLOW_HTTP_WEBHOOKS"),
        ({"egress": Egress(rules=AddressRules.parse("1-65535", None))}, "TIMBRE_ALLOWED_HOSTS"),
        ({"egress": Egress(rules=AddressRules.parse("443", "127.0.0.0/8"))}, "TIMBRE_ALLOWED_PORTS"),
    ],
    ids=["http", "host", "port"],
)
def test_an_address_that_is_not_allowed_ends_the_delivery_and_names_the_setting_that_allows_it(redis, options, setting):
    strict = Outbox(redis, **options)
    with receiving("200") as receiver:
        job_id = strict.end_job(receiver.url)
        assert strict.send_all() == [0]
        assert receiver.posts == []
        log = strict.deliveries.log("client", job_id)
        (entry,) = log.tries
        assert (log.state, entry.status, entry.reason) == (DeliveryState.REFUSED, None, REFUSED)
        assert setting in entry.answer
        # Once the address is allowed, the webhook can be asked for again.
        Outbox(redis).deliveries.redeliver("client", job_id)
        Outbox(redis).send_all()
    assert [post.headers["x-retry-reason"] for post in receiver.posts] == [None]
    assert strict.deliveries.log("client", job_id).state is DeliveryState.DELIVERED


def test_the_log_says_what_went_wrong_where_no_answer_came(outbox):
    job_id = outbox.end_job("https://no-such-host.invalid/hook?token=canary")
    outbox.send_due()
    (entry,) = outbox.deliveries.log("client", job_id).tries
    assert (entry.reason, entry.answer) == (CONNECTION, NO_HOST)


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED])
@pytest.mark.parametrize("status_only", [False, True])
def test_the_body_is_what_polling_returns_and_compact(outbox, status, status_only):
    with receiving("200") as receiver:
        job_id = outbox.end_job(receiver.url, status=status, status_only=status_only)
        outbox.send_all()
    output = {} if status_only else {"output": json.loads(outbox.jobs.find("client", job_id).output)}
    expected = json.dumps({"jobId": job_id, "status": status.value} | output, separators=(",", ":"))
    post = receiver.posts[0]
    assert post.body == expected.encode()
    assert post.headers["Content-Type"] == "application/json"
    timestamp = int(post.headers["X-Request-Timestamp"])
    assert post.headers["X-Signature"] == vendor_signature(SECRET, timestamp, post.body, "hex")


def test_a_courier_that_dies_costs_a_try_and_repeats_no_number(outbox):
    with receiving("200") as receiver:
        job_id = outbox.end_job(receiver.url)
        lost = outbox.deliveries.take(1)
        assert outbox.deliveries.take(1) == []
        assert outbox.due_in_s() == SEND_S
        outbox.wait_s(SEND_S)
        outbox.send_due()
        found = outbox.deliveries.log("client", job_id)
        state = found.state
        log = found.tries
        assert [(entry.attempt, entry.reason) for entry in log] == [(1, UNKNOWN), (2, None)]
        outbox.deliverer.deliver(lost[0])  # back from the dead, it sends after all
    assert state is DeliveryState.DELIVERED
    log = outbox.deliveries.log("client", job_id).tries
    assert [(entry.attempt, entry.reason) for entry in log] == [(1, None), (2, None)]
    assert [post.headers["x-retry-num"] for post in receiver.posts] == ["1", None]
    assert outbox.due_in_s() is None


def test_the_try_after_one_that_was_lost_does_not_know_why(outbox, cut_off):
    with receiving("500", "200") as receiver:
        outbox.end_job(receiver.url)
        outbox.send_due()
        with pytest.raises(OperationalError):
            cut_off.deliver(outbox.deliveries.take(1)[0])
        outbox.clock.pass_s(PUT_OFF_S)
        assert outbox.deliveries.take(1)[0].reason == HTTP
        outbox.wait_s(SEND_S)
        outbox.send_due()
    assert receiver.posts[1].headers["x-retry-reason"] == UNKNOWN


def test_a_log_keeps_its_last_hundred_tries(outbox, redis):
    job_id = outbox.end_job("https://killer.example/")
    for _ in range(LOG_LENGTH + 2):
        redis.hset(f"timbre:delivery:{job_id}", "try", 0)
        assert outbox.deliveries.take(1)
        outbox.wait_s(SEND_S)
    assert len(outbox.deliveries.log("client", job_id).tries) == LOG_LENGTH


@pytest.fixture
def cut_off(outbox):
    """A courier whose database is away."""
    clients = SqlClients(open_migrated("sqlite:////nowhere/timbre.db"), b"s" * 32)
    return replace(outbox.deliverer, secrets=clients.webhook_secrets)


def test_while_the_database_is_away_no_try_is_lost(outbox, cut_off):
    with receiving("200") as receiver:
        job_id = outbox.end_job(receiver.url)
        for _ in range(10):
            with pytest.raises(OperationalError):
                cut_off.deliver(outbox.deliveries.take(1)[0])
            assert outbox.deliveries.log("client", job_id) == DeliveryLog(job_id, DeliveryState.PENDING, [])
            assert outbox.due_in_s() == PUT_OFF_S
            outbox.clock.pass_s(PUT_OFF_S)
        outbox.send_due()
    assert [entry.attempt for entry in outbox.deliveries.log("client", job_id).tries] == [1]
    assert [post.headers["x-retry-num"] for post in receiver.posts] == [None]


def test_a_webhook_that_is_put_off_makes_room_for_the_next_at_once(outbox, cut_off):
    for _ in range(PER_HOST + 1):
        outbox.end_job("https://receiver.example/")
    taken = outbox.deliveries.take(10)
    with pytest.raises(OperationalError):
        cut_off.deliver(taken[0])
    assert len(outbox.deliveries.take(10)) == 1


def test_a_try_is_given_back_once_however_often_it_is_said(outbox):
    outbox.end_job("https://receiver.example/")
    outbox.deliverer.deliver(outbox.deliveries.take(1)[0])
    second = outbox.deliveries.take(1)[0]
    for _ in range(2):
        outbox.deliveries.put_off(second, 0.0)
    assert outbox.deliveries.take(1)[0].attempt == 2


def test_a_courier_that_was_taken_for_dead_gives_no_try_back(outbox, cut_off):
    outbox.end_job("https://receiver.example/")
    slow = outbox.deliveries.take(1)[0]
    outbox.wait_s(SEND_S)
    assert outbox.deliveries.take(1)[0].attempt == 2
    with pytest.raises(OperationalError):
        cut_off.deliver(slow)
    assert outbox.due_in_s() == SEND_S
    outbox.wait_s(SEND_S)
    assert outbox.deliveries.take(1)[0].attempt == 3


def test_no_more_than_four_are_on_their_way_to_one_host_and_others_do_not_wait(outbox):
    for _ in range(PER_HOST + 2):
        outbox.end_job("https://slow.example/hook")
    outbox.end_job("https://other.example/hook")
    urls = [delivery.url.text for delivery in outbox.deliveries.take(10)]
    assert urls.count("https://slow.example/hook") == PER_HOST
    assert urls.count("https://other.example/hook") == 1
    assert outbox.deliveries.take(10) == []


def test_a_host_with_much_to_come_hides_nobody_however_few_are_taken_at_a_time(outbox):
    for _ in range(50):
        outbox.end_job("https://slow.example/hook")
    outbox.end_job("https://other.example/hook")
    taken = [delivery.url.receiver for _ in range(10) for delivery in outbox.deliveries.take(1)]
    assert sorted(taken) == ["other.example:443"] + PER_HOST * ["slow.example:443"]


def test_a_client_with_much_to_come_hides_nobody_however_few_are_taken_at_a_time(outbox):
    for n in range(300):
        outbox.end_job(f"https://slow{n % 150}.example/hook", client="hog")
    outbox.end_job("https://other.example/hook", client="other")
    taken = [delivery.client_id for _ in range(PER_CLIENT + 1) for delivery in outbox.deliveries.take(1)]
    assert taken == PER_CLIENT * ["hog"] + ["other"]
    assert outbox.deliveries.take(10) == []


def test_who_shares_a_host_with_a_client_that_has_much_to_come_does_not_wait(outbox):
    for _ in range(50):
        outbox.end_job("https://shared.example/hook", client="hog")
    outbox.end_job("https://shared.example/hook", client="other")
    taken = [delivery.client_id for delivery in outbox.deliveries.take(10)]
    assert sorted(taken) == PER_HOST * ["hog"] + ["other"]


def test_a_client_has_room_again_as_soon_as_a_try_lands_or_its_courier_is_taken_for_dead(outbox):
    with receiving("200") as receiver:
        outbox.end_job(receiver.url)
        for n in range(PER_CLIENT + 1):
            outbox.end_job(f"https://slow{n}.example/hook")
        taken = outbox.deliveries.take(100)
        outbox.deliverer.deliver(next(delivery for delivery in taken if delivery.url.text == receiver.url))
    assert (len(taken), len(outbox.deliveries.take(100))) == (PER_CLIENT, 1)
    outbox.wait_s(SEND_S)
    assert outbox.deliveries.take(100)


def test_nothing_is_sent_for_a_client_that_was_revoked_until_it_is_back_and_asks(outbox, tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'timbre.db'}")
    clients, administration = SqlClients(engine, b"s" * 32), Administration(engine, b"s" * 32)
    client = clients.authenticate(clients.create_key("acme")).id
    outbox.deliverer = replace(outbox.deliverer, secrets=clients.webhook_secrets)
    with receiving("500", "200") as receiver:
        job_id = outbox.end_job(receiver.url, client=client)
        outbox.send_due()
        administration.revoke_client("acme")
        outbox.send_all()
        assert len(receiver.posts) == 1
        found = outbox.deliveries.log(client, job_id)
        state = found.state
        log = found.tries
        assert (state, [entry.reason for entry in log]) == (DeliveryState.REFUSED, [HTTP, "client_revoked"])
        administration.create_key("acme")
        assert outbox.due_in_s() is None
        outbox.deliveries.redeliver(client, job_id)
        outbox.send_all()
    assert len(receiver.posts) == 2
    engine.dispose()


def test_however_a_host_is_spelled_it_is_the_same(outbox):
    for host in ("slow.example", "SLOW.example", "slow.example:443", "slow.example.", "slow.EXAMPLE:443"):
        outbox.end_job(f"https://{host}/hook")
    assert len(outbox.deliveries.take(10)) == PER_HOST


def test_a_settled_try_makes_room_for_the_next_at_once(outbox):
    with receiving("200") as receiver:
        for _ in range(PER_HOST + 1):
            outbox.end_job(receiver.url)
        taken = outbox.deliveries.take(10)
        outbox.deliverer.deliver(taken[0])
        assert len(outbox.deliveries.take(10)) == 1


def test_while_tries_are_to_come_nothing_is_sent_again(outbox):
    job_id = outbox.end_job("https://receiver.example/")
    with pytest.raises(DeliveryPending):
        outbox.deliveries.redeliver("client", job_id)
    taken = outbox.deliveries.take(1)
    with pytest.raises(DeliveryPending):
        outbox.deliveries.redeliver("client", job_id)
    assert len(taken) == 1


def test_a_webhook_that_kills_its_couriers_ends_too(outbox):
    job_id, start_ms = outbox.end_job("https://killer.example/"), outbox.clock.now
    for _ in range(4):
        assert len(outbox.deliveries.take(1)) == 1
        outbox.wait_s(SEND_S)
    assert outbox.deliveries.take(1) == []
    found = outbox.deliveries.log("client", job_id)
    state = found.state
    log = found.tries
    assert state is DeliveryState.EXHAUSTED
    assert [(entry.attempt, entry.status, entry.reason) for entry in log] == [(n, None, UNKNOWN) for n in (1, 2, 3, 4)]
    assert log[1].at - log[0].at == timedelta(seconds=SEND_S)
    assert log[0].at.timestamp() == start_ms / 1000
    assert outbox.due_in_s() is None


def test_a_try_that_is_noted_twice_stands_once_in_the_log(outbox):
    with receiving("500") as receiver:
        job_id = outbox.end_job(receiver.url)
        delivery = outbox.deliveries.take(1)[0]
        for _ in range(2):
            outbox.deliverer.deliver(delivery)
    assert len(outbox.deliveries.log("client", job_id).tries) == 1


def test_a_job_without_a_webhook_has_no_delivery(outbox):
    job = outbox.jobs.create(new_job_id(), "client", submission("https://x"))
    finish(outbox.jobs, outbox.jobs.claim(), Status.SUCCEEDED, OUTPUT)
    assert outbox.due_in_s() is None
    with pytest.raises(NoWebhook):
        outbox.deliveries.log("client", job.id)


def test_a_webhook_can_be_sent_again_with_the_same_id_and_bytes(outbox):
    with receiving("500", "500", "500", "500", "500", "200") as receiver:
        job_id = outbox.end_job(receiver.url)
        outbox.send_all()
        outbox.deliveries.redeliver("client", job_id)
        assert outbox.send_all() == [0, 0]
    found = outbox.deliveries.log("client", job_id)
    state = found.state
    log = found.tries
    assert state is DeliveryState.DELIVERED
    assert [entry.attempt for entry in log] == [1, 2, 3, 4, 1, 2]
    assert len({post.headers["webhook-id"] for post in receiver.posts}) == 1
    assert len({post.body for post in receiver.posts}) == 1


def test_the_log_outlives_the_result_but_the_result_cannot_be_sent_again(outbox, redis):
    with receiving("200") as receiver:
        job_id = outbox.end_job(receiver.url)
        outbox.send_all()
    assert redis.ttl(f"timbre:delivery:{job_id}:body") <= 86_400
    assert redis.ttl(f"timbre:delivery:{job_id}") > 6 * 86_400
    redis.delete(f"timbre:job:{job_id}", f"timbre:delivery:{job_id}:body")  # as a day later
    assert outbox.deliveries.log("client", job_id).state is DeliveryState.DELIVERED
    with pytest.raises(ResultGone):
        outbox.deliveries.redeliver("client", job_id)


def test_an_undelivered_webhook_ends_when_its_result_does(outbox, redis):
    job_id = outbox.end_job("https://receiver.example/")
    redis.delete(f"timbre:delivery:{job_id}:body")
    assert outbox.deliveries.take(1) == []
    assert outbox.deliveries.log("client", job_id) == DeliveryLog(job_id, DeliveryState.EXPIRED, [])
    assert outbox.due_in_s() is None


def test_another_clients_webhook_is_neither_shown_nor_sent(outbox):
    job_id = outbox.end_job("https://receiver.example/")
    with pytest.raises(NoWebhook):
        outbox.deliveries.log("stranger", job_id)
    with pytest.raises(NoWebhook):
        outbox.deliveries.redeliver("stranger", job_id)


def test_an_answer_is_kept_by_its_first_bytes_only(outbox):
    with receiving("200") as receiver:
        job_id = outbox.end_job(receiver.url)
        outbox.send_all()
    entry = outbox.deliveries.log("client", job_id).tries[0]
    assert entry.answer == "the receiver's answer"
    assert entry.duration_ms >= 0


def test_deleting_a_job_deletes_its_webhook(outbox):
    job_id = outbox.end_job("https://receiver.example/")
    outbox.jobs.delete(outbox.jobs.withdraw("client", job_id))
    assert outbox.due_in_s() is None
    assert outbox.redis.keys(f"*{job_id}*") == []


def test_an_exchange_may_last_ten_seconds():
    assert TIMEOUT_S == 10.0


def settle(outbox, delivery, seconds=0.005):
    """Note a try that went well and took so long."""
    entry = LogEntry(
        attempt=1, at=datetime.now(UTC), duration_ms=round(1000 * seconds), status=200, reason=None, answer=""
    )
    outbox.deliveries.settle(delivery, entry, Next(state=DeliveryState.DELIVERED))


def test_a_receiver_that_was_slow_gets_the_slow_lane_until_it_is_quick_again(outbox):
    lanes = []
    for seconds in (0.1, SLOW_S + 1, 0.1, 0.1):
        outbox.end_job("https://receiver.example/")
        (delivery,) = outbox.deliveries.take(1)
        lanes.append(delivery.slow)
        settle(outbox, delivery, seconds)
    assert lanes == [False, False, True, False]


def test_a_host_never_heard_of_is_as_slow_as_its_client_whose_tries_hang(outbox):
    for number in range(PER_CLIENT_SLOW):
        outbox.end_job(f"https://hangs{number}.example/")
    assert len(outbox.deliveries.take(100)) == PER_CLIENT_SLOW
    outbox.clock.pass_s(SLOW_S + 0.1)
    outbox.end_job("https://new.example/")
    outbox.end_job("https://new.example/", client="other")
    outbox.end_job("https://newer.example/")
    taken = [(delivery.client_id, delivery.url.host, delivery.slow) for delivery in outbox.deliveries.take(100)]
    assert taken == [("other", "new.example", False)]


def free(on_their_way):
    """Return a courier's free senders, when so many of each lane are not."""
    return Senders(quick=SENDERS.quick - on_their_way[False], slow=SENDERS.slow - on_their_way[True])


@pytest.mark.parametrize("hosts", [1, 20], ids=["one host", "twenty hosts"])
def test_however_many_clients_hang_another_finds_a_free_sender_at_once(outbox, hosts):
    clients = 250
    for client in range(clients):
        for number in range(8):
            outbox.end_job(f"https://{client}-{number % hosts}.example/", client=f"hangs{client}")
    on_their_way = Counter()
    for turn in range(3):
        while taken := outbox.deliveries.take(50, free(on_their_way)):
            on_their_way.update(delivery.slow for delivery in taken)
        outbox.end_job("https://well.example/", client=f"other{turn}")
        (delivery,) = outbox.deliveries.take(50, free(on_their_way))
        assert (delivery.url.host, delivery.slow) == ("well.example", False)
        settle(outbox, delivery)
        outbox.wait_s(SLOW_S + 0.1)
    assert clients < on_their_way[False] < SENDERS.quick


@pytest.mark.parametrize("names", [["hog", "other"], ["other", "hog"]])
def test_clients_take_turns_however_much_one_has_to_come(outbox, names):
    hog, other = names
    for number in range(50):
        outbox.end_job(f"https://well{number % 3}.example/", client=hog)
    outbox.clock.pass_s(1)
    outbox.end_job("https://well.example/", client=other)
    taken = []
    for _ in range(3):
        outbox.clock.pass_s(0.01)
        (delivery,) = outbox.deliveries.take(1)
        settle(outbox, delivery)
        taken.append(delivery.client_id)
    assert taken == [hog, other, hog]


def test_a_client_that_is_slow_keeps_room_for_its_receivers_that_are_not(outbox):
    pace = {"slow.example:443": "slow", "": "slow", "well.example:443": "quick"}
    outbox.redis.hset("timbre:pace:client", mapping=pace)
    for number in range(50):
        outbox.end_job("https://slow.example/")
        outbox.end_job(f"https://slow{number}.example/")
    slow = outbox.deliveries.take(50)
    outbox.end_job("https://well.example/")
    assert (len(slow), {delivery.slow for delivery in slow}) == (PER_CLIENT_SLOW, {True})
    assert [delivery.url.host for delivery in outbox.deliveries.take(50)] == ["well.example"]


def test_the_pace_of_receivers_is_forgotten_and_takes_little_room(outbox):
    for number in range(300):
        outbox.end_job(f"https://host{number}.example/")
    while taken := outbox.deliveries.take(50):
        for delivery in taken:
            settle(outbox, delivery, 2 * SLOW_S)
    assert 0 < outbox.redis.hlen("timbre:pace:client") <= 102
    assert 0 < outbox.redis.ttl("timbre:pace:client") <= 86_400
    assert [key for name in ("due", "slow", "inflight") for key in outbox.redis.keys(f"timbre:{name}*")] == []


def test_after_redis_was_away_no_try_is_taken_for_lost_for_a_while(outbox):
    held_id = outbox.end_job("https://receiver.example/")
    (held,) = outbox.deliveries.take(1)
    outbox.clock.pass_s(SEND_S)
    outbox.end_job("https://another.example/")
    assert [delivery.url.host for delivery in outbox.deliveries.take(10)] == ["another.example"]
    settle(outbox, held)
    outbox.wait_s(PATIENCE_S + SEND_S)
    assert [delivery.url.host for delivery in outbox.deliveries.take(10)] == ["another.example"]
    assert outbox.deliveries.log("client", held_id).state is DeliveryState.DELIVERED


def test_a_try_whose_courier_died_while_redis_was_away_is_made_again_after_that(outbox):
    outbox.end_job("https://receiver.example/")
    assert outbox.deliveries.take(1)
    outbox.clock.pass_s(SEND_S)
    assert outbox.deliveries.take(1) == []
    outbox.wait_s(PATIENCE_S)
    assert outbox.deliveries.take(1)[0].attempt == 2


@pytest.mark.parametrize("sealed", [Envelope(b"t" * 32).seal("https://broken.example/", "job"), "?", "", "QUJD"])
def test_a_webhook_that_cannot_be_read_keeps_no_other_back(outbox, redis, sealed):
    broken = outbox.end_job("https://broken.example/")
    redis.hset(f"timbre:delivery:{broken}", "url", sealed)
    outbox.end_job("https://receiver.example/")
    assert [delivery.url.host for delivery in outbox.deliveries.take(10)] == ["receiver.example"]


def let_results_end(outbox):
    """Let the time of all results pass, as housekeeping sees it."""
    outbox.clock.pass_s(86_401)
    RedisFile(outbox.redis, clock=outbox.clock).forget()


@pytest.mark.parametrize("script", [["200"], ["204"], ["500", "cut", "500", "200"]])
def test_little_is_kept_of_a_webhook_when_its_result_is_over_and_nothing_that_is_sealed(outbox, redis, script):
    client = "c" * 32
    with receiving(*script) as receiver:
        job_id = outbox.end_job(receiver.url, client=client)
        outbox.send_all()
    before = outbox.deliveries.log(client, job_id)
    let_results_end(outbox)
    (key,) = redis.keys(f"*{job_id}*")
    kept_bytes = redis.memory_usage(key)
    print(f"{kept_bytes} bytes are kept of {len(script)} tries")
    assert kept_bytes <= 350
    assert redis.ttl(key) > 5 * 86_400
    assert max(map(len, redis.hvals(key))) < 60
    after = outbox.deliveries.log(client, job_id)
    assert after == replace(before, tries=[replace(entry, answer="") for entry in before.tries])
    assert len(after.tries) == len(script)
    with pytest.raises(ResultGone):
        outbox.deliveries.redeliver(client, job_id)


def test_a_try_that_ends_after_its_result_is_logged_without_its_answer(outbox):
    with receiving("200") as receiver:
        job_id = outbox.end_job(receiver.url)
        (delivery,) = outbox.deliveries.take(1)
        let_results_end(outbox)
        outbox.deliverer.deliver(delivery)
    log = outbox.deliveries.log("client", job_id)
    assert (log.state, [(entry.status, entry.answer) for entry in log.tries]) == (DeliveryState.DELIVERED, [(200, "")])
    assert outbox.due_in_s() is None


def test_a_webhook_that_waits_when_its_result_is_over_expires(outbox):
    job_id = outbox.end_job("https://receiver.example/")
    let_results_end(outbox)
    assert outbox.deliveries.take(10) == []
    assert outbox.deliveries.log("client", job_id).state is DeliveryState.EXPIRED
    assert outbox.due_in_s() is None


def test_the_log_of_an_earlier_release_is_read_and_goes_on(outbox, redis):
    first = {"attempt": 1, "at": "2026-01-02T03:04:05.678901+00:00", "duration_ms": 5, "status": 500, "reason": HTTP}
    with receiving("200") as receiver:
        job_id = outbox.end_job(receiver.url)
        redis.hset(f"timbre:delivery:{job_id}", mapping={"try": 2, "sent": 2})
        lines = {"1": ENVELOPE.seal(json.dumps(first | {"answer": "no"}), job_id), "2": "2:1767323045678"}
        redis.hset(f"timbre:delivery:{job_id}:log", mapping=lines)
        outbox.send_all()
    tries = outbox.deliveries.log("client", job_id).tries
    assert [(entry.attempt, entry.status, entry.reason, entry.answer) for entry in tries] == [
        (1, 500, HTTP, "no"),
        (2, None, UNKNOWN, ""),
        (3, 200, None, "the receiver's answer"),
    ]

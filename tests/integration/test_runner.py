"""A job in a worker, with the record in a real Redis and toys for sound and networks."""

import errno
import io
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from shared.domain.audio import Segment, Waveform
from shared.domain.errors import MediaNotFound, WorkerLost
from shared.domain.jobs import Status, new_job_id
from shared.domain.limits import Limits
from shared.domain.voiceprints import Voiceprint
from tests.support.client import eventually
from tests.support.records import LEASE_S, finish, job_service, output, submission
from tests.support.toys import ToyEmbedder, voices
from worker.jobs.handlers import Handlers
from worker.jobs.heartbeat import Hand
from worker.jobs.runner import Runner
from worker.jobs.sources import SourceReader
from worker.jobs.stores import IdentityStores
from worker.voices.voiceprint import Nets

LIMITS = Limits(max_audio_s=30.0, max_bytes=10**6, download_timeout_s=10.0)


class ToyFetcher:
    def fetch(self, client_id, source, limits):
        if source.key == "gone":
            raise MediaNotFound("It is gone.")
        if source.key == "bug":
            raise ZeroDivisionError
        if source.key == "disk":
            raise OSError(errno.ENOSPC, "No space left on device")
        if source.key == "memory":
            raise MemoryError
        if source.key == "decoder":
            raise WorkerLost("The process that decodes was killed.")
        return io.BytesIO()


@dataclass
class ToyDecoder:
    entered: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def decode(self, file, max_s, channel):
        self.entered.set()
        assert self.go_on.wait(60)
        return Waveform(np.zeros(10 * 16_000, np.float32), 16_000)


class ToyVad:
    def speech_segments(self, samples, **_):
        return [Segment(0.0, 10.0)]


class OneVoice(ToyEmbedder):
    def encode(self, samples):
        return np.zeros(10, int)

    def embed(self, samples):
        return voices(0)[0]


@pytest.fixture
def decoder():
    decoder = ToyDecoder()
    decoder.go_on.set()
    return decoder


@pytest.fixture
def runner(jobs, decoder):
    handlers = Handlers(
        reader=SourceReader(fetcher=ToyFetcher(), decoder=decoder),
        nets=Nets(ToyVad(), OneVoice()),
        recognisers=None,
        voiceprint_limits=LIMITS,
        diarize_limits=LIMITS,
        stores=IdentityStores(spaces=None, enrolments=None, verifications=None, recordings=None),
        enrolments=None,
        verifications=None,
        voices=None,
        searches=None,
    )
    return Runner(service=job_service(jobs), handle=handlers.handle, beat_s=0.02)


def submit(jobs, url="media://a", model=None):
    return jobs.create(new_job_id(), "c", submission(url, model=model)).id


def handing_back(runner, decoder, interrupted):
    """Return a runner that is told to hand back the job that has come to its decoder, and to take no more."""
    told = decoder.entered.is_set
    return replace(runner, stopping=told, handing_back=told, hand=Hand(interrupted.set))


def held_up(runner, job_id, decoder):
    """Return the thread in which the job waits in its decoder until the test says `go_on`."""
    decoder.go_on.clear()
    thread = threading.Thread(target=runner.run_all)
    thread.start()
    return thread


def test_a_job_ends_with_its_voiceprint(jobs, runner):
    job_id = submit(jobs)
    runner.run_all()
    job = jobs.find("c", job_id)
    assert job.status is Status.SUCCEEDED
    assert Voiceprint.decode(output(job)["voiceprint"]).model_id == "toy@1"
    assert list(output(job)["timings"]) == ["download", "decode", "vad", "encode", "diarize", "embed"]


@pytest.mark.parametrize(
    ("url", "model", "code"),
    [
        ("media://gone", None, "media_not_found"),
        ("media://bug", None, "internal_error"),
        ("media://a", "other", "model_not_available"),
    ],
)
def test_every_failure_ends_the_job_with_its_code(jobs, runner, url, model, code):
    job_id = submit(jobs, url, model)
    runner.run_all()
    job = jobs.find("c", job_id)
    assert (job.status, output(job)["code"]) == (Status.FAILED, code)
    assert output(job)["error"].endswith(".")


def test_a_result_that_cannot_be_written_ends_the_job_and_stays_out_of_the_log(jobs, runner, capsys):
    job_id = submit(jobs)

    def spoilt(*given):
        return replace(runner.handle(*given), audio_s=float("nan"), speaker="secret")

    replace(runner, handle=spoilt).run_all()
    job = jobs.find("c", job_id)
    assert (job.status, output(job)["code"]) == (Status.FAILED, "internal_error")
    assert "ValueError" in (said := capsys.readouterr().out)
    assert "secret" not in said


def test_a_second_doorbell_finds_nothing_to_do(jobs, runner):
    job_id = submit(jobs)
    runner.run_all()
    before = jobs.find("c", job_id)
    runner.run_all()
    assert jobs.find("c", job_id) == before


def test_a_step_longer_than_the_lease_keeps_its_job(jobs, runner, decoder, redis, clock):
    job_id = submit(jobs)
    thread = held_up(runner, job_id, decoder)
    assert decoder.entered.wait(30)
    for _ in range(10):
        clock.pass_s(LEASE_S - 1)
        eventually(lambda: redis.zscore("timbre:running", job_id) == clock.now + LEASE_S * 1000)
        assert jobs.reap().rings == 0
    assert jobs.find("c", job_id).step == "decode"
    decoder.go_on.set()
    thread.join()
    assert jobs.find("c", job_id).status is Status.SUCCEEDED


def test_a_worker_that_must_stop_hands_its_job_back_uncounted(jobs, runner, decoder):
    interrupted = threading.Event()
    stopping = handing_back(runner, decoder, interrupted)
    job_id = submit(jobs)
    thread = held_up(stopping, job_id, decoder)
    assert interrupted.wait(30)
    assert jobs.find("c", job_id).status is Status.CREATED
    decoder.go_on.set()
    thread.join()
    assert jobs.find("c", job_id).status is Status.CREATED
    claim = jobs.claim()
    assert (claim.attempt, claim.fence) == (1, 2)


def test_a_worker_that_must_stop_stops_even_if_the_job_is_gone(jobs, runner, decoder):
    interrupted = threading.Event()
    stopping = handing_back(runner, decoder, interrupted)
    job_id = submit(jobs)
    thread = held_up(stopping, job_id, decoder)
    assert decoder.entered.wait(30)
    jobs.delete(jobs.withdraw("c", job_id))
    assert interrupted.wait(30)
    decoder.go_on.set()
    thread.join()


def test_a_worker_that_lost_its_job_writes_nothing(jobs, runner, decoder, clock):
    job_id = submit(jobs)
    thread = held_up(replace(runner, beat_s=60.0), job_id, decoder)
    assert decoder.entered.wait(30)
    clock.pass_s(LEASE_S)
    assert jobs.reap().rings == 1
    fresh = jobs.claim()
    decoder.go_on.set()
    thread.join()
    assert jobs.find("c", job_id).status is Status.RUNNING
    assert finish(jobs, fresh, Status.SUCCEEDED, {"by": "the other"})


#: Ways in which Redis refuses writes: settings that make it so, and settings that end it.
REFUSALS = {
    "OOM": (("maxmemory", 1), ("maxmemory", 0)),
    "NOREPLICAS": (("min-replicas-to-write", 1), ("min-replicas-to-write", 0)),
    "READONLY": (("replicaof", "127.0.0.1 1"), ("replicaof", "no one")),
}


def set_redis(redis, name, value):
    if name == "replicaof":
        redis.execute_command("REPLICAOF", *value.split())
    else:
        redis.config_set(name, value)


@contextmanager
def refusing(redis, refusal):
    """Let Redis refuse writes until the end of the block."""
    begin, end = REFUSALS[refusal]
    set_redis(redis, *begin)
    try:
        yield
    finally:
        set_redis(redis, *end)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_redis_that_refuses_heartbeats_between_steps_ends_no_job(jobs, runner, redis, refusal):
    job_id = submit(jobs)

    def handle(claim, command, steps):
        with refusing(redis, refusal):
            for _ in range(3):
                with steps("download"):
                    pass
        return runner.handle(claim, command, steps)

    replace(runner, handle=handle, beat_s=60.0).run_all()
    assert jobs.find("c", job_id).status is Status.SUCCEEDED


def test_a_redis_without_room_still_renews_leases(jobs, redis, clock):
    job_id = submit(jobs)
    claim = jobs.claim()
    clock.pass_s(LEASE_S - 1)
    with refusing(redis, "OOM"):
        assert jobs.beat(claim, "decode", 50)
    assert redis.zscore("timbre:running", job_id) == clock.now + LEASE_S * 1000
    assert jobs.find("c", job_id).progress == 50


@pytest.mark.parametrize("refusal", ["NOREPLICAS", "READONLY"])
def test_a_job_whose_end_cannot_be_written_runs_again_when_its_lease_is_over(jobs, runner, redis, clock, refusal):
    job_id = submit(jobs)

    def handle(*given):
        set_redis(redis, *REFUSALS[refusal][0])
        return runner.handle(*given)

    try:
        replace(runner, handle=handle).run_all()
    finally:
        set_redis(redis, *REFUSALS[refusal][1])
    assert jobs.find("c", job_id).status is Status.RUNNING
    clock.pass_s(LEASE_S)
    assert jobs.reap().rings == 1
    runner.run_all()
    assert jobs.find("c", job_id).status is Status.SUCCEEDED


def test_a_result_is_kept_while_redis_refuses_it_for_a_moment(jobs, runner, redis):
    job_id = submit(jobs)

    def handle(*given):
        result = runner.handle(*given)
        set_redis(redis, *REFUSALS["NOREPLICAS"][0])
        return result

    redis.config_resetstat()
    thread = threading.Thread(target=replace(runner, handle=handle, beat_s=5.0).run_all)
    thread.start()
    try:
        eventually(lambda: "errorstat_NOREPLICAS" in redis.info("errorstats"))
    finally:
        set_redis(redis, *REFUSALS["NOREPLICAS"][1])
        thread.join()
    assert jobs.find("c", job_id).status is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("media://disk", "worker_unavailable"),
        ("media://memory", "worker_unavailable"),
        ("media://decoder", "worker_lost"),
    ],
)
def test_what_the_worker_lacks_hands_the_job_back_until_its_attempts_are_used_up(jobs, runner, clock, url, code):
    job_id = submit(jobs, url)
    for _ in range(2):
        runner.run_all()
        assert jobs.find("c", job_id).status is Status.CREATED
        # Not at once: the disk of this very moment is still full.
        assert jobs.reap().rings == 0
        clock.pass_s(LEASE_S)
        assert jobs.reap().rings == 1
    runner.run_all()
    job = jobs.find("c", job_id)
    assert (job.status, output(job)["code"]) == (Status.FAILED, code)
    assert output(job)["error"].endswith(".")

"""What happens to a job while its deletion reads and removes its upload."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from shared.adapters.dir_media import DirMedia
from shared.adapters.redis_deliveries import RedisDeliveries
from shared.adapters.redis_jobs import RedisJobs
from shared.adapters.sealing import Envelope
from shared.domain.errors import NotFound
from shared.domain.jobs import Status, new_job_id
from tests.support.records import ENVELOPE, HOOK, LEASE_S, cancel, finish, job_service, job_store, submission

SUBMISSION = submission("media://a", HOOK)
OUTPUT = {"voiceprint": "ü"}
SHA256 = {
    "output": hashlib.sha256(rb'{"voiceprint":"\u00fc"}').hexdigest(),
    "media": hashlib.sha256(b"sound").hexdigest(),
}


@dataclass
class Deletion:
    """A deletion during which something else happens, before the upload is removed."""

    jobs: RedisJobs
    media: DirMedia
    meanwhile: Callable[[], object] = lambda: None

    def remove(self, client_id, key):
        self.meanwhile()
        return self.media.remove(client_id, key)

    def __call__(self, job_id):
        return job_service(self.jobs, media=self).delete("c", job_id)


@pytest.fixture
def deletion(jobs, tmp_path):
    media = DirMedia(tmp_path, ttl_s=3600, quota_bytes=10**9)
    media.save("c", "a", [b"sound"])
    return Deletion(jobs, media)


@pytest.fixture
def job_id(jobs):
    return jobs.create(new_job_id(), "c", SUBMISSION).id


def removed(receipt):
    return {"output": receipt.output_sha256, "media": receipt.media_sha256}


def test_a_result_that_comes_too_late_is_refused_and_told_to_nobody(jobs, deletion, job_id, redis):
    claim, refused = jobs.claim(), []

    def finish_late():
        refused.append(not finish(jobs, claim, Status.SUCCEEDED, OUTPUT))
        refused.append(not jobs.beat(claim))
        refused.append(not jobs.release(claim))
        refused.append(not cancel(jobs, job_id, {}))

    deletion.meanwhile = finish_late
    assert removed(deletion(job_id)) == SHA256 | {"output": None}
    assert refused == [True] * 4
    assert RedisDeliveries(redis, ENVELOPE).take(10) == []
    assert redis.keys(f"*{job_id}*") == []


def test_a_webhook_that_is_due_is_not_sent_while_its_job_is_deleted(jobs, deletion, job_id, redis, clock):
    finish(jobs, jobs.claim(), Status.SUCCEEDED, OUTPUT)
    taken = []
    deletion.meanwhile = lambda: taken.extend(RedisDeliveries(redis, ENVELOPE, clock=clock).take(10))
    assert removed(deletion(job_id)) == SHA256
    assert taken == []


def test_whoever_comes_second_finds_nothing(jobs, deletion, job_id):
    finish(jobs, jobs.claim(), Status.SUCCEEDED, OUTPUT)
    second = Deletion(jobs, deletion.media)

    def delete_too():
        assert jobs.find("c", job_id) is None
        with pytest.raises(NotFound):
            second(job_id)

    deletion.meanwhile = delete_too
    assert removed(deletion(job_id)) == SHA256


def test_a_deletion_that_died_is_taken_over_after_a_lease_and_then_counts_for_nothing(jobs, deletion, job_id, clock):
    finish(jobs, jobs.claim(), Status.SUCCEEDED, OUTPUT)
    dead = jobs.withdraw("c", job_id)
    with pytest.raises(NotFound):
        deletion(job_id)
    clock.pass_s(LEASE_S)
    refused = []
    deletion.meanwhile = lambda: refused.append(not jobs.delete(dead))
    assert removed(deletion(job_id)) == SHA256
    assert refused == [True]


def test_a_deletion_that_failed_can_be_repeated_at_once(jobs, deletion, job_id):
    finish(jobs, jobs.claim(), Status.SUCCEEDED, OUTPUT)

    def fail():
        raise OSError

    deletion.meanwhile = fail
    with pytest.raises(OSError):
        deletion(job_id)
    deletion.meanwhile = lambda: None
    assert removed(deletion(job_id)) == SHA256
    with pytest.raises(NotFound):
        deletion(job_id)


def test_what_was_sealed_under_another_secret_is_not_found_and_can_be_deleted(jobs, deletion, job_id, redis, clock):
    finish(jobs, jobs.claim(), Status.SUCCEEDED, OUTPUT)
    deletion.jobs = job_store(redis, clock, envelope=Envelope(b"x" * 32))
    assert deletion.jobs.find("c", job_id) is None
    # Nobody can read which upload it was.
    assert removed(deletion(job_id)) == {"output": None, "media": None}
    assert jobs.find("c", job_id) is None
    assert redis.keys(f"*{job_id}*") == []


def test_an_upload_stays_if_the_client_says_so(jobs, deletion, job_id):
    receipt = job_service(jobs, media=deletion).delete("c", job_id, keep_media=True)
    assert removed(receipt) == {"output": None, "media": None}
    assert deletion.media.contains("c", "a")


def test_an_upload_stays_while_another_unfinished_job_of_the_client_is_made_from_it(jobs, deletion, job_id):
    other = jobs.create(new_job_id(), "c", SUBMISSION).id
    jobs.create(new_job_id(), "stranger", SUBMISSION)
    assert removed(deletion(job_id)) == {"output": None, "media": None}
    assert deletion.media.contains("c", "a")
    assert removed(deletion(other)) == SHA256 | {"output": None}
    assert not deletion.media.contains("c", "a")


def as_the_release_before_wrote_it(redis, job_id):
    """Make a job's record one that holds the name of its upload bare."""
    redis.hset(f"timbre:job:{job_id}", "media", "a")
    assert redis.hdel(f"timbre:job:{job_id}", "media_key") == 1


def test_an_upload_is_removed_with_a_job_of_the_release_before(jobs, deletion, job_id, redis):
    as_the_release_before_wrote_it(redis, job_id)
    finish(jobs, jobs.claim(), Status.SUCCEEDED, OUTPUT)
    assert removed(deletion(job_id)) == SHA256


@pytest.mark.parametrize("old", [0, 1])
def test_jobs_of_two_releases_that_are_made_from_one_upload_know_of_each_other(old, jobs, deletion, job_id, redis):
    ids = [job_id, jobs.create(new_job_id(), "c", SUBMISSION).id]
    as_the_release_before_wrote_it(redis, ids[old])
    assert removed(deletion(ids[0])) == {"output": None, "media": None}
    assert removed(deletion(ids[1])) == SHA256 | {"output": None}


def test_no_name_of_an_upload_is_in_redis_and_equal_ones_of_two_clients_look_different(jobs, redis):
    ids = [jobs.create(new_job_id(), client, submission("media://patient-name")).id for client in ("c", "d", "c")]
    finish(jobs, jobs.claim(), Status.SUCCEEDED, OUTPUT)
    records = [redis.hgetall(f"timbre:job:{job_id}") for job_id in ids]
    assert "patient-name" not in str(records)
    assert records[0]["media"] == records[2]["media"] != records[1]["media"]

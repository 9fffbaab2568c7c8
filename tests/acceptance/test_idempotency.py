"""Many requests at once under one Idempotency-Key make one job."""

import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import requests

from shared.local.stack import Stack
from tests.support.client import Client
from tests.support.stacks import make_client

PARALLEL, KEYS = 64, 100


def test_64_parallel_posts_under_each_of_100_keys_make_100_jobs_and_one_answer_per_key(stack: Stack) -> None:
    client, together = make_client(stack, "racer"), threading.Barrier(PARALLEL, timeout=120)
    answers: dict[int, list[tuple[int, str]]] = defaultdict(list)

    def race(_: int) -> None:
        for key in range(KEYS):
            together.wait()
            answers[key].append(post(client, key))

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(race, range(PARALLEL)))
    assert all(len(given) == PARALLEL and len(set(given)) == 1 for given in answers.values())
    assert {status for given in answers.values() for status, _ in given} == {200}
    assert len({body for given in answers.values() for _, body in given}) == KEYS
    assert [listed(client, skip) for skip in (0, KEYS)] == [KEYS, 0]


def listed(client: Client, skip: int) -> int:
    """Return how many jobs the client has behind the first so many, up to `KEYS`."""
    return len(client.send("GET", f"/v1/jobs?take={KEYS}&skip={skip}").json()["items"])


def post(client: Client, key: int) -> tuple[int, str]:
    """Ask for a job under a key, on a connection of its own; returns the answer."""
    headers = {"Authorization": f"Bearer {client.key}", "Idempotency-Key": f"key {key}"}
    answer = requests.post(f"{client.url}/v1/voiceprint", json={"url": "media://nothing"}, headers=headers, timeout=60)
    return answer.status_code, answer.text

"""Clients that post jobs until each is accepted, and what the service says of its progress."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import requests

from tests.support.client import Client

_POSTERS = 8
_RETRY_S = 0.2


@dataclass(frozen=True)
class Order:
    """Job to post: whose, where, and the body."""

    client: Client
    path: str
    body: dict[str, Any]


class Submissions:
    """Posts jobs, each until it is accepted, under an Idempotency-Key; as many as `allow` lets it."""

    def __init__(self, order: Callable[[int], Order], pause_s: float = 0.0) -> None:
        #: Ids of accepted jobs, by their numbers.
        self.accepted: dict[int, str] = {}
        #: What came of each POST (a status, or the name of an error), and after how many seconds.
        self.answers: list[tuple[str, float]] = []
        self._order = order
        self._pause_s = pause_s
        self._allowed = threading.Semaphore(0)
        self._numbers = count()
        self._over = threading.Event()

    def jobs(self) -> list[tuple[Client, str]]:
        """Return the accepted jobs with their clients."""
        return [(self._order(number).client, job_id) for number, job_id in self.accepted.items()]

    def allow(self, more: int) -> None:
        """Let so many more jobs be posted."""
        for _ in range(more):
            self._allowed.release()

    @contextmanager
    def posting(self) -> Iterator[None]:
        """Post from several threads until the end of the block."""
        with ThreadPoolExecutor(_POSTERS) as pool:
            posters = [pool.submit(self._post_all) for _ in range(_POSTERS)]
            try:
                yield
            finally:
                self._over.set()
                self.allow(_POSTERS)
        for poster in posters:
            poster.result()

    def _post_all(self) -> None:
        while self._allowed.acquire() and not self._over.is_set():
            number = next(self._numbers)
            while not self._over.is_set() and not self._post(number):
                self._over.wait(_RETRY_S)
            self._over.wait(self._pause_s)

    def _post(self, number: int) -> bool:
        started = time.monotonic()
        try:
            order = self._order(number)
            headers = {"Idempotency-Key": f"submission {number}"}
            answer = order.client.send("POST", order.path, json=order.body, headers=headers)
        except requests.RequestException as error:
            self.answers.append((type(error).__name__, time.monotonic() - started))
            return False
        self.answers.append((str(answer.status_code), time.monotonic() - started))
        if answer.status_code == 200:
            self.accepted[number] = answer.json()["jobId"]
        return answer.status_code == 200


class Progress:
    """How many of the accepted jobs have ended, as far as the service can say."""

    def __init__(self, client: Client, submissions: Submissions) -> None:
        self._client, self._submissions = client, submissions
        self.done, self.idle = 0, False

    def look(self) -> None:
        """Ask again; while the service is away the last answer stands."""
        accepted = len(self._submissions.accepted)
        with suppress(requests.RequestException):
            body = self._client.send("GET", "/readyz").json()
            if body["status"] == "ok":
                unfinished = body["jobsWaiting"] + body["jobsRunning"]
                self.done, self.idle = max(self.done, accepted - unfinished), unfinished == 0

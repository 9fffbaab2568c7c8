"""`python -m tests.hostile.fuzz_api N`: N examples per operation, made from the API's own description of itself.

Most of them name jobs, uploads and addresses that exist, in whatever state (`fuzz_hooks.py`). Nothing may answer with a
server error, or with a status, header, content type or body that is not described.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from shared.local.stack import RedisServer
from tests.support.apis import api
from tests.support.client import Client
from tests.support.states import States

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance"
)


@dataclass(frozen=True)
class Report:
    """How it went: what schemathesis says, and how often each operation answered with each status."""

    passed: bool
    text: str
    answers: dict[str, Counter[int]]

    def __str__(self) -> str:
        rows = (f"{name:42} {dict(sorted(found.items()))}" for name, found in sorted(self.answers.items()))
        return "\n".join([self.text, *rows, f"{sum(found.total() for found in self.answers.values())} requests"])

    def never_succeeded(self) -> list[str]:
        """Return the operations of which no request was a success."""
        return [name for name, found in self.answers.items() if min(found) >= 300]


def run(client: Client, redis_url: str, folder: Path, count: int) -> Report:
    """Try every operation of a running API whose data is in `folder`."""
    States(client, redis_url, folder).serve_models()
    answers = folder / "answers.json"
    given = {
        "url": client.url,
        "key": client.key,
        "redis_url": redis_url,
        "folder": f"{folder}",
        "answers": f"{answers}",
    }
    command = [
        Path(sys.executable).parent / "schemathesis", "run", f"{client.url}/openapi.json", "--checks", CHECKS,
        "--header", f"Authorization: Bearer {client.key}", "--max-examples", str(count), "--seed", "7",
        "--continue-on-failure", "--suppress-health-check", "all", "--generation-database", "none", "--no-color",
    ]  # fmt: skip
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.hostile.fuzz_hooks", "FUZZ": json.dumps(given)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if not answers.exists():
        return Report(False, done.stdout + done.stderr, {})
    return Report(done.returncode == 0, done.stdout + done.stderr, _by_operation(json.loads(answers.read_text())))


def _by_operation(answers: dict[str, int]) -> dict[str, Counter[int]]:
    found: dict[str, Counter[int]] = {}
    for name, count in answers.items():
        operation, _, status = name.rpartition(" ")
        found.setdefault(operation, Counter())[int(status)] += count
    return found


def main(count: int) -> int:
    """Start an API of our own and try it; returns the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        redis = RedisServer(folder / "redis", folder / "redis.log")
        redis.wait()
        limits = {"posts_per_minute": 10**9, "reads_per_minute": 10**9, "max_unfinished_jobs": 10**9}
        with api(folder, redis.url, **limits) as client:
            report = run(client, redis.url, folder, count)
        redis.stop()
    print(report)
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

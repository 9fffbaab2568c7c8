"""`python -m tests.hostile.fuzz_api N`: N examples per operation, made from the API's own description of itself.

Nothing may answer with a server error, a status or content type that is not described, or a body unlike its schema.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from shared.adapters.redis_client import connect
from shared.adapters.redis_models import RedisModels
from shared.domain.models import ListedModel
from shared.local.stack import RedisServer
from tests.client import Client
from tests.hostile.apis import api

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


MODEL = ListedModel(
    handle="ge2e", version="1", dimension=256, sample_rate_hz=16_000, min_speech_s=1.6, licence="Apache-2.0",
    installed=True, calibrated=True, default=True,
)  # fmt: skip


def run(client: Client, redis_url: str, count: int) -> subprocess.CompletedProcess[str]:
    """Try every operation of a running API; its report is the standard output."""
    # What a worker would say; without one, the list of models is rightly unavailable.
    RedisModels(connect(redis_url), ttl_s=3600).publish([MODEL])
    command = [
        Path(sys.executable).parent / "schemathesis", "run", f"{client.url}/openapi.json", "--checks", CHECKS,
        "--header", f"Authorization: Bearer {client.key}", "--max-examples", str(count), "--seed", "7",
        "--continue-on-failure", "--suppress-health-check", "all", "--generation-database", "none", "--no-color",
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True)


def main(count: int) -> int:
    """Start an API of our own and try it; returns the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        redis = RedisServer(folder / "redis", folder / "redis.log")
        redis.wait()
        with api(folder, redis.url, posts_per_minute=10**9, reads_per_minute=10**9) as client:
            done = run(client, redis.url, count)
        redis.stop()
    print(done.stdout + done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

"""Golden data of the last release, which `tests.support.release` made: it is unpacked and loaded for tests."""

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

from tests.support.sounds import DATA

FOLDER = DATA / "last_release"
#: Keys, ids, answers.
MANIFEST: dict[str, Any] = json.loads(gzip.decompress((FOLDER / "manifest.json.gz").read_bytes()))
#: Settings under which nothing of it is too old.
SETTINGS: dict[str, Any] = {
    "secret": MANIFEST["secret"],
    "job_deadline_s": 300_000_000,
    **{f"{name}_ttl_s": 300_000_000 for name in ("result", "media", "verification", "usage", "audit")},
}


def unpack(folder: Path) -> None:
    """Unpack the data folder: database, uploads, kept recordings."""
    with tarfile.open(FOLDER / "files.tar.gz") as archive:
        archive.extractall(folder, filter="data")


def load_redis(redis: Any) -> None:
    """Load the records of Redis, which live as long as they had to live."""
    for key, kind, value, lives_ms in json.loads(gzip.decompress((FOLDER / "redis.json.gz").read_bytes())):
        if kind == "string":
            redis.set(key, value)
        elif kind == "hash":
            redis.hset(key, mapping=value)
        elif kind == "set":
            redis.sadd(key, *value)
        elif kind == "zset":
            redis.zadd(key, dict(value))
        else:
            redis.rpush(key, *value)
        if lives_ms >= 0:
            redis.pexpire(key, lives_ms)

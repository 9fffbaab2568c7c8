"""An S3 server of the tests' own, spoken to over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

KEY_ID, KEY = "testing", "canary-secret-of-the-store"


@dataclass(frozen=True)
class ObjectStore:
    """Server with a bucket."""

    endpoint: str
    bucket: str
    _s3: Any

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of the objects."""
        found = self._s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        return [one["Key"] for one in found.get("Contents", [])]

    def write_credentials(self, file: Path) -> None:
        """Write the file that `AWS_SHARED_CREDENTIALS_FILE` names."""
        file.write_text(f"[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {KEY}\n")


@contextmanager
def object_store(bucket: str) -> Iterator[ObjectStore]:
    """Run a server until the end of the block; it keeps the buckets of all servers of this process."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        keys = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": KEY}
        s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
        s3.create_bucket(Bucket=bucket)
        yield ObjectStore(endpoint, bucket, s3)
    finally:
        server.stop()

"""Bucket of a new S3 store: `python -m shared.adapters.s3_bucket` makes it, unless it is there.

With the data folder of a service that had no bucket, it copies kept recordings and uploads from there into the bucket.
"""

import sys
from functools import partial
from pathlib import Path

from botocore.exceptions import ClientError

from shared.adapters.dir_tally import KEY
from shared.adapters.media import open_bucket
from shared.adapters.s3 import S3Recordings, s3_client
from shared.domain.errors import SettingsError, TimbreError
from shared.settings import Settings

_CHUNK_BYTES = 1 << 20


def make_bucket(settings: Settings) -> bool:
    """Make the bucket that `TIMBRE_S3_BUCKET` names; False where it is there."""
    client = s3_client(settings)
    name = settings.s3_bucket or ""
    try:
        client.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket", "NotFound"):
            raise
        client.create_bucket(Bucket=name)
        return True
    return False


def copy_recordings(settings: Settings, folder: Path) -> int:
    """Copy the kept recordings of a data folder into the bucket; returns how many."""
    files = S3Recordings(s3_client(settings), settings.s3_bucket or "")
    # A name that begins with `part-` is of a recording that was never whole.
    found = [path for path in folder.glob("recordings/*/*") if not path.name.startswith("part-")]
    for path in found:
        files.write(path.parent.name, path.name, path.read_bytes())
    return len(found)


def copy_uploads(settings: Settings, folder: Path) -> int:
    """Copy the uploads of a data folder into the bucket, where their time begins anew; returns how many."""
    store = open_bucket(settings)
    found = [path for path in folder.glob(f"media/*/*{KEY}") if path.with_suffix("").exists()]
    for path in found:
        with path.with_suffix("").open("rb") as file:
            if store is not None:
                store.save(path.parent.name, path.read_text(), iter(partial(file.read, _CHUNK_BYTES), b""))
    return len(found)


def main(arguments: list[str]) -> None:
    """Make the bucket; with an argument, copy that data folder into it."""
    settings = Settings.from_env()
    if settings.s3_bucket is None:
        raise SettingsError("TIMBRE_S3_BUCKET is not set.")
    print(f"bucket {settings.s3_bucket}: {'made' if make_bucket(settings) else 'is there'}")
    for name in arguments:
        folder = Path(name)
        if not folder.is_dir():
            raise SettingsError(f"There is no folder {folder}.")
        print(f"recordings  {copy_recordings(settings, folder)}")
        print(f"uploads  {copy_uploads(settings, folder)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except TimbreError as error:
        sys.exit(str(error))

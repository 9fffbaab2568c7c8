"""Stores of uploads and of kept recordings, and buckets of recordings, as the settings choose them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from shared.adapters.dir_media import DirMedia
from shared.adapters.recordings import DirFiles, SealedRecordings
from shared.settings import Settings

# boto3 takes half a second and 20 MB to load, and most installations never need it.
if TYPE_CHECKING:
    from shared.adapters.s3 import S3Media, S3Sources


def open_media(settings: Settings) -> "DirMedia | S3Media":
    """Return the store of uploads: the bucket, or else the folder."""
    return open_bucket(settings) or open_folder(settings)


def open_folder(settings: Settings) -> DirMedia:
    """Return the store of uploads in the data folder."""
    return DirMedia(settings.data_dir / "media", ttl_s=settings.media_ttl_s, quota_bytes=settings.max_media_bytes)


def open_bucket(settings: Settings) -> "S3Media | None":
    """Return the store of uploads in the bucket; None where none is set."""
    if not settings.s3_bucket:
        return None
    from shared.adapters.s3 import S3Media, s3_client

    return S3Media(
        s3_client(settings),
        settings.s3_bucket,
        signer=s3_client(settings, settings.s3_public_url),
        ttl_s=settings.media_ttl_s,
        max_bytes=settings.max_upload_bytes(),
        quota_bytes=settings.max_media_bytes,
        scratch=settings.data_dir / "scratch",
    )


def upload_origin(settings: Settings) -> str | None:
    """Return the origin of the bucket's presigned addresses; None where uploads lie in the folder."""
    if not settings.s3_bucket:
        return None
    from shared.adapters.s3 import presigned_origin

    return presigned_origin(settings, settings.s3_bucket)


def open_check(settings: Settings) -> Callable[[], None]:
    """Return a quick check of the store of uploads, which raises Unavailable or OSError where uploads would fail."""
    if not settings.s3_bucket:
        return open_folder(settings).check
    from shared.adapters.s3 import S3Check, s3_client

    return S3Check(s3_client(settings, patient=False), settings.s3_bucket)


def open_sources(settings: Settings) -> "S3Sources | None":
    """Return the reader of `s3://` addresses; None when the settings name no bucket for them."""
    if not settings.source_buckets():
        return None
    from shared.adapters.s3 import S3Sources, s3_client

    return S3Sources(
        s3_client(settings),
        settings.source_buckets(),
        max_bytes=settings.max_upload_bytes(),
        scratch=settings.data_dir / "scratch",
    )


def open_recordings(settings: Settings, key_of: Callable[[str], bytes | None]) -> SealedRecordings:
    """Return the store of recordings that samples keep: the bucket, or else the folder.

    Parameters
    ----------
    key_of : returns the key of a sample, see `SealedRecordings`.
    """
    if not settings.s3_bucket:
        return SealedRecordings(DirFiles(settings.data_dir / "recordings"), key_of)
    from shared.adapters.s3 import S3Recordings, s3_client

    return SealedRecordings(S3Recordings(s3_client(settings), settings.s3_bucket), key_of)

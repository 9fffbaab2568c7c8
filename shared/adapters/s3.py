"""S3, or anything that speaks like it: uploads by presigned addresses, and sources read with our own credentials.

The AWS SDK finds the credentials: `AWS_ACCESS_KEY_ID`, a profile, or the machine's role. Only this module uses them;
clients see presigned addresses.
"""

import base64
import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

import boto3
import structlog
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    SSLError,
)

from shared.adapters.scratch import scratch_file
from shared.domain.errors import (
    DownloadFailed,
    FileTooLarge,
    MediaNotFound,
    MediaQuotaExceeded,
    SettingsError,
    Unavailable,
    UrlNotAllowed,
)
from shared.domain.media import ADDRESS_LIFE_S, MediaPage, Upload
from shared.domain.sources import S3Url
from shared.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

_PREFIX = "timbre/"
_CHUNK_BYTES = 1 << 16
#: A listing costs a request per thousand uploads, so it is not done with every round of housekeeping.
_SWEEP_EVERY_S = 600.0
#: So is one of a client's uploads: what it found holds this long, for the process that looked.
_COUNT_EVERY_S = 30.0
#: Object that a check writes and removes, in no client's place.
_CHECKED = "timbre-check"
_UNKNOWN = "NoSuchKey"
_NO_BUCKET = (
    "The bucket for recordings does not exist; the service's operator must make it, or correct TIMBRE_S3_BUCKET."
)
_NO_CREDENTIALS = (
    "The service has no AWS credentials; its operator must set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give "
    "the machine a role."
)
_WRONG_CREDENTIALS = (
    "The object store refuses the service's AWS credentials; its operator must correct AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY."
)
_DENIED = (
    "The object store denies the service access; its operator must give the AWS credentials the rights to list, get, "
    "put and delete in TIMBRE_S3_BUCKET."
)
_UNTRUSTED = "The certificate of the object store is not trusted; the service's operator must set AWS_CA_BUNDLE."
_SILENT = "The object store does not answer."
_CREDENTIAL_FAULTS = (
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "InvalidToken", "ExpiredToken",
    "AuthFailure", "UnrecognizedClientException",
)  # fmt: skip
#: Sentences for the codes of S3's errors.
_SENTENCES = (
    dict.fromkeys(_CREDENTIAL_FAULTS, _WRONG_CREDENTIALS)
    | dict.fromkeys(("AccessDenied", "AllAccessDisabled", "403", "Forbidden"), _DENIED)
    | {"NoSuchBucket": _NO_BUCKET}
)

log = structlog.get_logger()


def s3_client(settings: Settings, url: str | None = None, *, patient: bool = True, signed: bool = True) -> "S3Client":
    """Return a client for the server that the settings name, or for `url`; it gives up in seconds.

    Parameters
    ----------
    patient : wait for a slow server, and repeat; else it is given up in 2 s.
    signed : with credentials.

    Raises
    ------
    SettingsError
        The credentials that the SDK finds are incomplete.
    """
    url = url or settings.s3_endpoint_url
    config = Config(
        signature_version="s3v4" if signed else UNSIGNED,
        connect_timeout=5 if patient else 1,
        read_timeout=10 if patient else 2,
        retries={"max_attempts": 2 if patient else 0},
        # Servers of one's own rarely have a name for each bucket.
        s3={"addressing_style": "path" if url else "auto"},
    )
    try:
        return boto3.client("s3", endpoint_url=url, region_name=settings.s3_region, config=config)
    except BotoCoreError as error:
        raise SettingsError(
            f"TIMBRE_S3_BUCKET: the AWS credentials or their profile are incomplete: {error}."
        ) from None


def presigned_origin(settings: Settings, bucket: str) -> str:
    """Return the origin of the presigned addresses of a bucket, which needs no credentials."""
    signer = s3_client(settings, settings.s3_public_url, signed=False)
    address = urlsplit(signer.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": _CHECKED}))
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}"


class S3Check:
    """Check of a bucket, and of the rights that uploads need.

    All rights are tried until they were there once. From then on a check costs one request.
    """

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._s3 = client
        self._bucket = bucket
        self._allowed = False

    def __call__(self) -> None:
        """Raise Unavailable with a sentence where uploads would fail."""
        with _answered(""):
            self._s3.list_objects_v2(Bucket=self._bucket, Prefix=_PREFIX, MaxKeys=1)
            if not self._allowed:
                self._try_all()
        self._allowed = True

    def _try_all(self) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=_CHECKED, Body=b"")
        # Another process may have removed it; who lacks the right to get is told so all the same.
        with suppress(self._s3.exceptions.NoSuchKey):
            self._s3.get_object(Bucket=self._bucket, Key=_CHECKED)["Body"].close()
        self._s3.delete_object(Bucket=self._bucket, Key=_CHECKED)


class S3Media:
    """`MediaStore` and `MediaAddresses` in a bucket: `timbre/{client}/{base64 of the key}`, so no key leaves its place.

    Parameters
    ----------
    client : boto3's.
    bucket : where uploads go.
    signer : boto3's too, for the address at which clients see the server.
    ttl_s : seconds an upload is kept.
    max_bytes : largest upload that is read and kept; a presigned PUT cannot limit what is sent.
    quota_bytes : most bytes that one client's uploads may hold, likewise: beyond it no address is given, and sweeps
        remove what does not fit, the latest first.
    scratch : folder for what is being read.
    """

    def __init__(
        self,
        client: "S3Client",
        bucket: str,
        *,
        signer: "S3Client",
        ttl_s: float,
        max_bytes: int,
        quota_bytes: int,
        scratch: Path,
    ) -> None:
        self._s3 = client
        self._bucket = bucket
        self._signer = signer
        self._scratch = scratch
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes
        self._quota_bytes = quota_bytes
        self._swept_at = 0.0
        #: By client: bytes that its uploads held, and when that was.
        self._counts: dict[str, tuple[int, float]] = {}

    def put_address(self, client_id: str, key: str) -> str:
        """Return the address to PUT the upload to.

        Raises
        ------
        MediaQuotaExceeded
            The client's uploads have reached the quota: how much will be sent is not known yet.
        Unavailable
        """
        self._require_room(client_id)
        return self._presigned("put_object", client_id, key)

    def get_address(self, client_id: str, key: str) -> str:
        """Return the address to GET the upload from; raises Unavailable."""
        return self._presigned("get_object", client_id, key)

    def save(self, client_id: str, key: str, chunks: Iterable[bytes], announced: int = 0) -> None:
        """Store a file that the server received, whole or not at all; it replaces an earlier one.

        Raises
        ------
        MediaQuotaExceeded, Unavailable
        """
        self._require_room(client_id, announced)
        with scratch_file(self._scratch) as file:
            for chunk in chunks:
                file.write(chunk)
            file.seek(0)
            with _answered(key):
                self._s3.upload_fileobj(file, self._bucket, _name(client_id, key))

    def open_upload(self, client_id: str, key: str) -> BinaryIO:
        """Return an upload as an open file.

        Raises
        ------
        MediaNotFound, FileTooLarge
        """
        with _answered(key):
            return _read(self._s3, self._bucket, _name(client_id, key), self._max_bytes, self._scratch)

    def contains(self, client_id: str, key: str) -> bool:
        """Tell whether there is such an upload."""
        # Not by HEAD, whose answer has no body to tell a bucket that is gone from an upload that is.
        name = _name(client_id, key)
        with _answered(key):
            found = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=name, MaxKeys=1)
        return any(o["Key"] == name for o in found.get("Contents", []))

    def list(self, client_id: str, after: str, most: int) -> MediaPage:
        """Return a client's uploads behind the cursor `after`, at most `most`."""
        prefix = _name(client_id, "")
        with _answered(""):
            found = self._s3.list_objects_v2(
                Bucket=self._bucket, Prefix=prefix, StartAfter=prefix + after, MaxKeys=most
            )
        objects = found.get("Contents", [])
        uploads = [Upload(_key(o["Key"]), o["Size"], o["LastModified"].astimezone(UTC)) for o in objects]
        return MediaPage(uploads, objects[-1]["Key"].removeprefix(prefix) if found["IsTruncated"] else None)

    def remove(self, client_id: str, key: str) -> str | None:
        """Remove an upload; returns the hexadecimal SHA-256 of what was removed, None when there was nothing.

        What is over the limit counts as nothing: it goes unread, without a receipt.
        """
        name = _name(client_id, key)
        self._counts.pop(client_id, None)
        try:
            with _answered(key):
                digest = self._digest(name)
                self._s3.delete_object(Bucket=self._bucket, Key=name)
        except MediaNotFound:
            return None
        return digest

    def _digest(self, name: str) -> str | None:
        found = self._s3.get_object(Bucket=self._bucket, Key=name)
        digest = hashlib.sha256()
        with closing(found["Body"]) as body:
            if found["ContentLength"] > self._max_bytes:
                return None
            for chunk in body.iter_chunks(_CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def sweep(self) -> int:
        """Remove uploads past their time, too large or beyond a quota, at most every ten minutes; return how many."""
        if time.monotonic() - self._swept_at < _SWEEP_EVERY_S and self._swept_at:
            return 0
        self._swept_at = time.monotonic()
        limit = datetime.fromtimestamp(time.time() - self._ttl_s, UTC)
        with _answered(""):
            objects = list(self._objects(_PREFIX))
            wanted = [o for o in objects if o["LastModified"] >= limit and o["Size"] <= self._max_bytes]
            kept = set(_within(self._quota_bytes, wanted))
            unwanted = [o["Key"] for o in objects if o["Key"] not in kept]
            for name in unwanted:
                self._s3.delete_object(Bucket=self._bucket, Key=name)
        return len(unwanted)

    def _objects(self, prefix: str) -> "Iterator[ObjectTypeDef]":
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            yield from page.get("Contents", [])

    def _require_room(self, client_id: str, size: int = 1) -> None:
        held, counted_at = self._counts.get(client_id, (0, float("-inf")))
        if time.monotonic() - counted_at > _COUNT_EVERY_S:
            with _answered(""):
                held = sum(o["Size"] for o in self._objects(_name(client_id, "")))
            self._counts[client_id] = held, time.monotonic()
        if held + size > self._quota_bytes:
            raise MediaQuotaExceeded.of(held, self._quota_bytes)

    def _presigned(self, method: str, client_id: str, key: str) -> str:
        where = {"Bucket": self._bucket, "Key": _name(client_id, key)}
        with _answered(key):
            return self._signer.generate_presigned_url(method, Params=where, ExpiresIn=ADDRESS_LIFE_S)


class S3Sources:
    """Recordings in buckets that an operator has listed, `s3://BUCKET/KEY`; every client may name any of them."""

    def __init__(self, client: "S3Client", buckets: frozenset[str], *, max_bytes: int, scratch: Path) -> None:
        self._s3 = client
        self._buckets = buckets
        self._max_bytes = max_bytes
        self._scratch = scratch

    def open_object(self, source: S3Url) -> BinaryIO:
        """Return an object as an open file.

        Raises
        ------
        UrlNotAllowed, DownloadFailed, FileTooLarge, Unavailable
        """
        if source.bucket not in self._buckets:
            raise UrlNotAllowed(f"Bucket {source.bucket} is not one that this service reads.")
        try:
            return _read(self._s3, source.bucket, source.key, self._max_bytes, self._scratch)
        except ClientError as error:
            if _code(error) in _CREDENTIAL_FAULTS:
                raise _fault(error) from None
            raise DownloadFailed(
                f"Bucket {source.bucket} answered with {_code(error)}; check the key and the rights."
            ) from None
        except BotoCoreError as error:
            raise _fault(error) from None


class S3Recordings:
    """`Files` of kept recordings in a bucket: `recordings/{client}/{sample}`."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._s3 = client
        self._bucket = bucket

    def write(self, client_id: str, sample_id: str, sealed: bytes) -> None:
        """Write an object; raises Unavailable."""
        with _answered(sample_id):
            self._s3.put_object(Bucket=self._bucket, Key=_recording(client_id, sample_id), Body=sealed)

    def read(self, client_id: str, sample_id: str) -> bytes | None:
        """Return an object; None when there is none; raises Unavailable."""
        try:
            with _answered(sample_id):
                found = self._s3.get_object(Bucket=self._bucket, Key=_recording(client_id, sample_id))
                with closing(found["Body"]) as body:
                    return body.read()
        except MediaNotFound:
            return None

    def remove(self, client_id: str, sample_id: str) -> None:
        """Remove an object, if there is one; raises Unavailable."""
        with _answered(sample_id):
            self._s3.delete_object(Bucket=self._bucket, Key=_recording(client_id, sample_id))


def _recording(client_id: str, sample_id: str) -> str:
    return f"recordings/{client_id}/{sample_id}"


def _read(client: "S3Client", bucket: str, key: str, max_bytes: int, scratch: Path) -> BinaryIO:
    """Return an object as an open file without a name, so that it is gone when the worker dies."""
    found = client.get_object(Bucket=bucket, Key=key)
    file = scratch_file(scratch)
    try:
        if found["ContentLength"] > max_bytes:
            raise FileTooLarge(f"The recording's file is larger than {max_bytes / 2**20:.0f} MiB.")
        for chunk in found["Body"].iter_chunks(_CHUNK_BYTES):
            file.write(chunk)
    except BaseException:
        file.close()
        raise
    finally:
        found["Body"].close()
    file.seek(0)
    return file


def _within(quota_bytes: int, objects: "Iterable[ObjectTypeDef]") -> Iterator[str]:
    """Yield the names of the objects that fit into the quota of their clients, those that came first before others."""
    held: Counter[str] = Counter()
    for found in sorted(objects, key=lambda found: found["LastModified"]):
        prefix = found["Key"].rpartition("/")[0]
        if held[prefix] + found["Size"] <= quota_bytes:
            held[prefix] += found["Size"]
            yield found["Key"]


@contextmanager
def _answered(key: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if _code(error) == _UNKNOWN:
            raise MediaNotFound.of(key) from None
        raise _fault(error) from None
    except BotoCoreError as error:
        raise _fault(error) from None


def _fault(error: ClientError | BotoCoreError) -> Unavailable:
    """Return what clients are told of an error, which names no bucket and no address; log the error."""
    if isinstance(error, ClientError):
        code = _code(error)
        log.error("the object store refuses", code=code, operation=error.operation_name)
        return Unavailable(_SENTENCES.get(code, f"The object store answered with {code}."))
    log.error("the object store cannot be used", error=type(error).__name__)
    return Unavailable(_said(error))


def _said(error: BotoCoreError) -> str:
    match error:
        case NoCredentialsError() | CredentialRetrievalError():
            return _NO_CREDENTIALS
        case SSLError():
            return _UNTRUSTED
        case ConnectionError() | HTTPClientError():
            return _SILENT
    return f"The object store cannot be used ({type(error).__name__})."


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def _name(client_id: str, key: str) -> str:
    return f"{_PREFIX}{client_id}/{base64.urlsafe_b64encode(key.encode()).decode()}"


def _key(name: str) -> str:
    return base64.urlsafe_b64decode(name.rpartition("/")[2]).decode()

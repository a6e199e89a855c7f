"""S3 for Processing jobs: upload files, download a prefix."""

import asyncio
import hashlib
import re
import time
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgen.atomic_file import PARTIAL_SUFFIX, atomic_write
from loadgen.aws.errors import SDK_ERRORS, ErrorKind, classify_error, is_local_error, to_loadgen_error
from loadgen.errors import UsageError, WriteError

_URI_PATTERN = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")
_CHUNK_BYTES = 1 << 20
_NOT_FOUND_CODES = frozenset({"404", "NoSuchBucket", "NoSuchKey", "NotFound"})


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket and a prefix in it, without a slash at its end.

    Example:
        >>> (S3Location.parse("s3://results/loadgen/") / "job-1").uri
        's3://results/loadgen/job-1'
    """

    bucket: str
    prefix: str = ""

    @classmethod
    def parse(cls, uri: str) -> "S3Location":
        """Read `s3://bucket/prefix`.

        Raises:
            UsageError: not an S3 URI.
        """
        found = _URI_PATTERN.fullmatch(uri) if isinstance(uri, str) else None
        if found is None:
            raise UsageError(f"{uri!r} is not an S3 URI", hint="write s3://bucket/prefix")
        return cls(found[1], (found[2] or "").strip("/"))

    def __truediv__(self, name: str) -> "S3Location":
        return S3Location(self.bucket, f"{self.prefix}/{name}" if self.prefix else name)

    @property
    def uri(self) -> str:
        """The S3 URI."""
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"


async def ensure_bucket(s3: Any, bucket: str, region: str) -> None:
    """Create a bucket unless it exists.

    Raises:
        AuthError, ConfigError, UnavailableError: with a hint.
    """
    try:
        await s3.head_bucket(Bucket=bucket)
    except SDK_ERRORS as error:
        if not _is_not_found(error):
            raise to_loadgen_error(error, f"HeadBucket {bucket}", now=time.time()) from error
        # us-east-1 must not be given as LocationConstraint (API reference, CreateBucket).
        bucket_config = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            await s3.create_bucket(Bucket=bucket, **bucket_config)
        except SDK_ERRORS as refusal:
            raise to_loadgen_error(refusal, f"CreateBucket {bucket}", now=time.time()) from refusal


async def upload(s3: Any, location: S3Location, content: bytes | Path) -> None:
    """Upload a file, or bytes, to this key.

    Raises:
        AuthError, ConfigError, UnavailableError: with a hint.
    """
    try:
        if isinstance(content, bytes):
            await s3.put_object(Bucket=location.bucket, Key=location.prefix, Body=content)
        else:
            await s3.upload_file(str(content), location.bucket, location.prefix)
    except SDK_ERRORS as error:
        raise to_loadgen_error(error, f"PutObject {location.uri}", now=time.time()) from error


async def download(s3: Any, location: S3Location) -> bytes | None:
    """Download an object into memory; None if it does not exist.

    Raises:
        AuthError, ConfigError, UnavailableError: with a hint.
    """
    try:
        answer = await s3.get_object(Bucket=location.bucket, Key=location.prefix)
        content: bytes = await answer["Body"].read()
    except SDK_ERRORS as error:
        if _is_not_found(error):
            return None
        raise to_loadgen_error(error, f"GetObject {location.uri}", now=time.time()) from error
    return content


async def download_prefix(s3: Any, location: S3Location, directory: Path, *, exclude: Container[str] = ()) -> int:
    """Download all objects of a prefix into a directory, and return how many files were new or changed.

    Idempotent: unchanged files are not downloaded again. Each file is replaced atomically.

    Args:
        s3: an open client.
        location: bucket and prefix.
        directory: destination.
        exclude: file names to skip.

    Raises:
        WriteError: a file cannot be written.
        AuthError, ConfigError, UnavailableError: with a hint.
    """
    downloaded = 0
    prefix = f"{location.prefix}/"
    try:
        async for page in s3.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=prefix):
            for row in page.get("Contents", ()):
                target = _local_path(directory, row["Key"][len(prefix) :])
                if target.suffix == PARTIAL_SUFFIX or target.name in exclude:
                    continue
                if not await asyncio.to_thread(_is_unchanged, target, row["Size"], row["ETag"].strip('"')):
                    await _download_object(s3, location.bucket, row["Key"], target)
                    downloaded += 1
    except SDK_ERRORS as error:
        if is_local_error(error):
            raise WriteError(
                f"cannot write into {directory}: {error.strerror or error}", hint="the files in it stay valid"
            ) from error
        raise to_loadgen_error(error, f"reading {location.uri}", now=time.time()) from error
    return downloaded


async def _download_object(s3: Any, bucket: str, key: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    answer = await s3.get_object(Bucket=bucket, Key=key)
    with atomic_write(target) as file:
        while chunk := await answer["Body"].read(_CHUNK_BYTES):
            file.write(chunk)


def _is_unchanged(path: Path, size: int, etag: str) -> bool:
    """Return whether a file equals the S3 object; a multipart object is compared by size only."""
    if not path.is_file() or path.stat().st_size != size:
        return False
    if "-" in etag:
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest() == etag


def _local_path(directory: Path, relative: str) -> Path:
    target = (directory / relative).resolve()
    if not target.is_relative_to(directory.resolve()):
        raise WriteError(f"the object {relative!r} would be written outside of {directory}")
    return target


def _is_not_found(error: BaseException) -> bool:
    code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
    return code in _NOT_FOUND_CODES or classify_error(error) is ErrorKind.NOT_FOUND

"""The emulated account's S3 buckets: objects and multipart uploads, in memory."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from loadgen.emulator.protocol.errors import ServiceError

DEFAULT_CONTENT_TYPE = "binary/octet-stream"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MIN_PART_BYTES = 5 << 20  # size of every part but the last (user guide, "Multipart upload limits")


MAX_BUCKETS = 100  # the quota of an account until 2024
MAX_OBJECTS = 100_000
MAX_UPLOADS = 1000
MAX_STORED_BYTES = 1 << 30  # of all objects and parts; they are in memory


@dataclass(frozen=True, slots=True)
class S3Object:
    """One object. `modified` is in epoch seconds."""

    body: bytes
    etag: str
    modified: float
    content_type: str = DEFAULT_CONTENT_TYPE
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _MultipartUpload:
    """A multipart upload in progress; parts by number."""

    bucket: str
    key: str
    content_type: str
    metadata: Mapping[str, str]
    parts: dict[int, S3Object] = field(default_factory=dict)

    @property
    def stored_bytes(self) -> int:
        """The bytes of its parts."""
        return sum(len(part.body) for part in self.parts.values())


class S3Storage:
    """The buckets of an account.

    Every method that takes a bucket raises ServiceError if there is no such bucket.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, dict[str, S3Object]] = {}
        self._uploads: dict[str, _MultipartUpload] = {}
        self._upload_numbers = count(1)
        self.stored_bytes = 0

    # --- buckets

    def bucket_names(self) -> list[str]:
        """Return the names of the buckets, in order."""
        return sorted(self._buckets)

    def create_bucket(self, bucket: str) -> None:
        """Create a bucket; idempotent, as in us-east-1.

        Raises:
            ServiceError: InvalidBucketName, TooManyBuckets.
        """
        if not _BUCKET.fullmatch(bucket):
            raise ServiceError("InvalidBucketName", "The specified bucket is not valid.", 400, {"BucketName": bucket})
        if bucket not in self._buckets and len(self._buckets) >= MAX_BUCKETS:
            raise ServiceError("TooManyBuckets", "You have attempted to create more buckets than allowed.", 400)
        self._buckets.setdefault(bucket, {})

    def delete_bucket(self, bucket: str) -> None:
        """Delete a bucket.

        Raises:
            ServiceError: BucketNotEmpty.
        """
        if self.objects(bucket):
            raise ServiceError("BucketNotEmpty", "The bucket you tried to delete is not empty", 409)
        del self._buckets[bucket]

    def objects(self, bucket: str) -> dict[str, S3Object]:
        """Return the objects of a bucket by key."""
        if bucket not in self._buckets:
            raise ServiceError("NoSuchBucket", "The specified bucket does not exist", 404, {"BucketName": bucket})
        return self._buckets[bucket]

    # --- objects

    def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        now: float,
        content_type: str = DEFAULT_CONTENT_TYPE,
        metadata: Mapping[str, str] | None = None,
    ) -> S3Object:
        """Store an object, replacing one of the same key; `now` is in epoch seconds.

        Raises:
            ServiceError: EntityTooLarge or InvalidRequest: above a limit of the emulator.
        """
        stored = S3Object(body, _etag(body), now, content_type, metadata or {})
        self._store(bucket, key, stored)
        return stored

    def _store(self, bucket: str, key: str, stored: S3Object, *, freed: int = 0) -> None:
        objects = self.objects(bucket)
        replaced = objects.get(key)
        if replaced is None and sum(map(len, self._buckets.values())) >= MAX_OBJECTS:
            raise ServiceError("InvalidRequest", f"This emulator stores at most {MAX_OBJECTS} objects.", 400)
        self._charge(len(stored.body), freed + (len(replaced.body) if replaced else 0))
        objects[key] = stored

    def _charge(self, size: int, freed: int) -> None:
        if self.stored_bytes + size - freed > MAX_STORED_BYTES:
            message = "Your proposed upload exceeds the maximum allowed size"
            raise ServiceError("EntityTooLarge", f"{message}: this emulator stores {MAX_STORED_BYTES} bytes.", 400)
        self.stored_bytes += size - freed

    def get(self, bucket: str, key: str) -> S3Object:
        """Return an object.

        Raises:
            ServiceError: NoSuchKey.
        """
        objects = self.objects(bucket)
        if key not in objects:
            raise ServiceError("NoSuchKey", "The specified key does not exist.", 404, {"Key": key})
        return objects[key]

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; idempotent."""
        removed = self.objects(bucket).pop(key, None)
        if removed is not None:
            self.stored_bytes -= len(removed.body)

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys that begin with a prefix, in order."""
        return sorted(key for key in self.objects(bucket) if key.startswith(prefix))

    # --- multipart uploads

    def create_upload(self, bucket: str, key: str, content_type: str, metadata: Mapping[str, str]) -> str:
        """Start a multipart upload and return its id."""
        self.objects(bucket)
        if len(self._uploads) >= MAX_UPLOADS:
            raise ServiceError("InvalidRequest", f"This emulator keeps at most {MAX_UPLOADS} multipart uploads.", 400)
        upload_id = f"upload-{next(self._upload_numbers)}"
        self._uploads[upload_id] = _MultipartUpload(bucket, key, content_type, metadata)
        return upload_id

    def check_upload(self, upload_id: str, bucket: str, key: str) -> None:
        """Check that an upload to this bucket and key is in progress.

        Raises:
            ServiceError: NoSuchUpload.
        """
        self.objects(bucket)
        upload = self._uploads.get(upload_id)
        if upload is None or (upload.bucket, upload.key) != (bucket, key):
            raise _no_such_upload(upload_id)

    def put_part(self, upload_id: str, number: int, body: bytes, now: float) -> S3Object:
        """Store a part, replacing one of the same number.

        Raises:
            ServiceError: NoSuchUpload.
        """
        parts = self._find_upload(upload_id).parts
        self._charge(len(body), len(parts[number].body) if number in parts else 0)
        part = parts[number] = S3Object(body, _etag(body), now)
        return part

    def complete_upload(self, upload_id: str, listed: Sequence[tuple[int, str]], now: float) -> tuple[str, str, str]:
        """Join the listed parts to an object.

        Args:
            upload_id: id of the upload.
            listed: number and ETag of each part.
            now: epoch seconds.

        Returns:
            Bucket, key and ETag of the object.

        Raises:
            ServiceError: NoSuchUpload, InvalidPartOrder, InvalidPart or EntityTooSmall.
        """
        upload = self._find_upload(upload_id)
        parts = _ordered_parts(upload, listed)
        digest = hashlib.md5(b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)).hexdigest()  # noqa: S324 - S3's own
        etag = f'"{digest}-{len(parts)}"'
        body = b"".join(part.body for part in parts)
        stored = S3Object(body, etag, now, upload.content_type, upload.metadata)
        self._store(upload.bucket, upload.key, stored, freed=upload.stored_bytes)
        del self._uploads[upload_id]
        return upload.bucket, upload.key, etag

    def abort_upload(self, upload_id: str) -> None:
        """Drop an upload and its parts.

        Raises:
            ServiceError: NoSuchUpload.
        """
        self.stored_bytes -= self._find_upload(upload_id).stored_bytes
        del self._uploads[upload_id]

    def _find_upload(self, upload_id: str) -> _MultipartUpload:
        if upload_id not in self._uploads:
            raise _no_such_upload(upload_id)
        return self._uploads[upload_id]


def _no_such_upload(upload_id: str) -> ServiceError:
    return ServiceError("NoSuchUpload", "The specified multipart upload does not exist.", 404, {"UploadId": upload_id})


def _ordered_parts(upload: _MultipartUpload, listed: Sequence[tuple[int, str]]) -> list[S3Object]:
    """Return the listed parts of an upload; their numbers must ascend."""
    if not listed or [number for number, _ in listed] != sorted({number for number, _ in listed}):
        raise ServiceError("InvalidPartOrder", "The list of parts was not in ascending order.", 400)
    parts = []
    for number, etag in listed:
        part = upload.parts.get(number)
        if part is None or part.etag.strip('"') != etag.strip('"'):
            raise ServiceError("InvalidPart", "One or more of the specified parts could not be found.", 400)
        parts.append(part)
    if any(len(part.body) < _MIN_PART_BYTES for part in parts[:-1]):
        raise ServiceError("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size", 400)
    return parts


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'  # noqa: S324 - S3's own

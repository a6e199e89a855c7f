"""S3 as far as a Processing job and its owner need it: buckets, objects, listing and multipart uploads, in memory.

Path-style requests only, which is what SDKs send to an address. Values and synchronous functions; the server reads the
request and writes the answer.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import count
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from loadgen.emulator.protocol.responses import Answer, AwsError

XML = "application/xml"
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_PAGE = 1000  # keys of one ListObjectsV2 answer at most (API reference, MaxKeys)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LEAST_PART = 5 << 20  # bytes of every part but the last (user guide, "Multipart upload limits")
MOST_BYTES = 64 << 20  # of one request's body: larger objects come in parts


@dataclass(frozen=True, slots=True)
class Stored:
    """One object."""

    body: bytes
    etag: str
    modified: float
    content_type: str = "binary/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Upload:
    """A multipart upload in progress."""

    bucket: str
    key: str
    content_type: str
    metadata: Mapping[str, str]
    parts: dict[int, Stored] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request to S3, read.

    Args:
        method: of HTTP.
        path: as it was sent, still quoted.
        query: what follows the question mark.
        headers: by lower-case name.
        body: whole.
        now: epoch seconds.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    now: float


class Storage:
    """The account's buckets. `put`, `get` and `keys` are for the emulator's own services."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._buckets: dict[str, dict[str, Stored]] = {}
        self._uploads: dict[str, _Upload] = {}
        self._numbers = count(1)

    # --- for the emulator's other services

    def put(self, bucket: str, key: str, body: bytes, now: float) -> None:
        """Store an object.

        Raises:
            AwsError: there is no such bucket.
        """
        self._bucket(bucket)[key] = Stored(body, _etag(body), now)

    def get(self, bucket: str, key: str) -> Stored:
        """Return an object.

        Raises:
            AwsError: there is none of that name.
        """
        objects = self._bucket(bucket)
        if key not in objects:
            raise AwsError("NoSuchKey", "The specified key does not exist.", 404, {"Key": key})
        return objects[key]

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys that begin with a prefix, in order.

        Raises:
            AwsError: there is no such bucket.
        """
        return sorted(key for key in self._bucket(bucket) if key.startswith(prefix))

    def make(self, bucket: str) -> None:
        """Make a bucket; again is no harm, as in us-east-1."""
        if not _BUCKET.fullmatch(bucket):
            raise AwsError("InvalidBucketName", "The specified bucket is not valid.", 400, {"BucketName": bucket})
        self._buckets.setdefault(bucket, {})

    def _bucket(self, bucket: str) -> dict[str, Stored]:
        if bucket not in self._buckets:
            raise AwsError("NoSuchBucket", "The specified bucket does not exist", 404, {"BucketName": bucket})
        return self._buckets[bucket]

    # --- over HTTP

    def answer(self, wanted: Wanted, request_id: str) -> Answer:
        """Answer one request."""
        bucket, _, key = unquote(wanted.path).lstrip("/").partition("/")
        query = dict(parse_qsl(wanted.query, keep_blank_values=True))
        try:
            return self._object(wanted, bucket, key, query) if key else self._of_bucket(wanted, bucket, query)
        except AwsError as error:
            more = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in error.extra.items())
            text = f"<Error><Code>{error.code}</Code><Message>{escape(error.message or '')}</Message>{more}"
            text += f"<Resource>{escape(wanted.path)}</Resource><RequestId>{request_id}</RequestId></Error>"
            return Answer(error.status, _document(text), XML)

    def _of_bucket(self, wanted: Wanted, bucket: str, query: Mapping[str, str]) -> Answer:
        match wanted.method:
            case "GET" if not bucket:
                rows = "".join(f"<Bucket><Name>{name}</Name></Bucket>" for name in sorted(self._buckets))
                return _xml("ListAllMyBucketsResult", f"<Buckets>{rows}</Buckets>")
            case "PUT" if not query:
                self.make(bucket)
                return Answer(200, b"", XML, (("Location", f"/{bucket}"),))
            case "HEAD":
                self._bucket(bucket)
                return Answer(200, b"", XML, (("x-amz-bucket-region", self._region),))
            case "GET" if "location" in query:
                self._bucket(bucket)
                return _xml("LocationConstraint", "" if self._region == "us-east-1" else self._region)
            case "GET" if query.get("list-type") == "2":
                return self._list(bucket, query)
            case "DELETE" if not query:
                if self._bucket(bucket):
                    raise AwsError("BucketNotEmpty", "The bucket you tried to delete is not empty", 409)
                del self._buckets[bucket]
                return Answer(204)
            case "POST" if "delete" in query:
                return self._delete_many(bucket, wanted.body)
            case _:
                raise AwsError("NotImplemented", "The emulator does not know this operation of S3.", 501)

    def _object(self, wanted: Wanted, bucket: str, key: str, query: Mapping[str, str]) -> Answer:
        match wanted.method:
            case "PUT" if "uploadId" in query:
                return self._put_part(wanted, query)
            case "PUT" if not query or set(query) == {"x-id"}:
                body = _decoded(wanted)
                stored = Stored(body, _etag(body), wanted.now, *_described(wanted.headers))
                self._bucket(bucket)[key] = stored
                return Answer(200, b"", XML, (("ETag", stored.etag),))
            case "GET" | "HEAD" if not query or set(query) == {"x-id"}:
                return _shown(self.get(bucket, key), wanted)
            case "DELETE" if "uploadId" in query:
                self._uploads.pop(query["uploadId"], None)
                return Answer(204)
            case "DELETE":
                self._bucket(bucket).pop(key, None)
                return Answer(204)
            case "POST" if "uploads" in query:
                self._bucket(bucket)
                upload = f"upload-{next(self._numbers)}"
                self._uploads[upload] = _Upload(bucket, key, *_described(wanted.headers))
                inner = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
                return _xml("InitiateMultipartUploadResult", inner)
            case "POST" if "uploadId" in query:
                return self._complete(wanted, query["uploadId"])
            case _:
                raise AwsError("NotImplemented", "The emulator does not know this operation of S3.", 501)

    def _list(self, bucket: str, query: Mapping[str, str]) -> Answer:
        objects, prefix, delimiter = self._bucket(bucket), query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token", query.get("start-after", ""))
        size = min(_PAGE, _number(query.get("max-keys", str(_PAGE))))
        rows: dict[str, Stored | None] = {}
        for key in self.keys(bucket, prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            shown = key if cut < 0 else key[: cut + len(delimiter)]
            if shown > after:
                rows.setdefault(shown, objects[key] if cut < 0 else None)
        page = list(rows)[:size]
        is_more = len(rows) > size
        is_quoted = query.get("encoding-type") == "url"

        def told(text: str) -> str:
            return quote(text, safe="/") if is_quoted else escape(text)

        inner = f"<Name>{bucket}</Name><Prefix>{told(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
        inner += f"<MaxKeys>{size}</MaxKeys><IsTruncated>{'true' if is_more else 'false'}</IsTruncated>"
        inner += "<EncodingType>url</EncodingType>" if is_quoted else ""
        inner += f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if is_more and page else ""
        for shown in page:
            stored = rows[shown]
            if stored is None:
                inner += f"<CommonPrefixes><Prefix>{told(shown)}</Prefix></CommonPrefixes>"
            else:
                when = datetime.fromtimestamp(stored.modified, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
                inner += f"<Contents><Key>{told(shown)}</Key><LastModified>{when}</LastModified>"
                inner += f"<ETag>{escape(stored.etag)}</ETag><Size>{len(stored.body)}</Size>"
                inner += "<StorageClass>STANDARD</StorageClass></Contents>"
        return _xml("ListBucketResult", inner)

    def _delete_many(self, bucket: str, body: bytes) -> Answer:
        objects = self._bucket(bucket)
        keys = [element.text or "" for element in _parsed(body).iter() if element.tag.endswith("}Key")]
        for key in keys:
            objects.pop(key, None)
        return _xml("DeleteResult", "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys))

    def _put_part(self, wanted: Wanted, query: Mapping[str, str]) -> Answer:
        body = _decoded(wanted)
        part = Stored(body, _etag(body), wanted.now)
        self._upload(query["uploadId"]).parts[_number(query.get("partNumber", ""))] = part
        return Answer(200, b"", XML, (("ETag", part.etag),))

    def _upload(self, upload: str) -> _Upload:
        if upload not in self._uploads:
            raise AwsError("NoSuchUpload", "The specified multipart upload does not exist.", 404, {"UploadId": upload})
        return self._uploads[upload]

    def _complete(self, wanted: Wanted, name: str) -> Answer:
        upload = self._upload(name)
        listed = [
            (_number(_inner(part, "PartNumber")), _inner(part, "ETag"))
            for part in _parsed(wanted.body).iter()
            if part.tag.rpartition("}")[2] == "Part"
        ]
        parts = _assembled(upload, listed)
        digest = hashlib.md5(b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)).hexdigest()  # noqa: S324 - S3's own
        body = b"".join(part.body for part in parts)
        etag = f'"{digest}-{len(parts)}"'
        self._bucket(upload.bucket)[upload.key] = Stored(body, etag, wanted.now, upload.content_type, upload.metadata)
        del self._uploads[name]
        inner = f"<Bucket>{upload.bucket}</Bucket><Key>{escape(upload.key)}</Key><ETag>{escape(etag)}</ETag>"
        return _xml("CompleteMultipartUploadResult", inner)


def _assembled(upload: _Upload, listed: Sequence[tuple[int, str]]) -> list[Stored]:
    """Return the parts of an upload in the order that was asked for, which must ascend."""
    if not listed or [number for number, _ in listed] != sorted({number for number, _ in listed}):
        raise AwsError("InvalidPartOrder", "The list of parts was not in ascending order.", 400)
    parts = []
    for number, etag in listed:
        part = upload.parts.get(number)
        if part is None or part.etag.strip('"') != etag.strip('"'):
            raise AwsError("InvalidPart", "One or more of the specified parts could not be found.", 400)
        parts.append(part)
    if any(len(part.body) < _LEAST_PART for part in parts[:-1]):
        raise AwsError("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size", 400)
    return parts


def _shown(stored: Stored, wanted: Wanted) -> Answer:
    headers = (
        ("ETag", stored.etag),
        ("Last-Modified", format_datetime(datetime.fromtimestamp(stored.modified, UTC), usegmt=True)),
        ("Accept-Ranges", "bytes"),
        *((f"x-amz-meta-{name}", value) for name, value in stored.metadata.items()),
    )
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted.headers.get("range", ""))
    if asked is None or asked.groups() == ("", ""):
        return Answer(200, stored.body, stored.content_type, headers)
    size = len(stored.body)
    first, last = asked.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size - 1, int(last)) if first and last else size - 1
    if start > end:
        raise AwsError("InvalidRange", "The requested range is not satisfiable", 416)
    shown = (*headers, ("Content-Range", f"bytes {start}-{end}/{size}"))
    return Answer(206, stored.body[start : end + 1], stored.content_type, shown)


def _described(headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    mark = "x-amz-meta-"
    metadata = {name[len(mark) :]: value for name, value in headers.items() if name.startswith(mark)}
    return headers.get("content-type", "binary/octet-stream"), metadata


def _decoded(wanted: Wanted) -> bytes:
    """Return the body without the framing of a checksum that follows it (aws-chunked, S3 API reference)."""
    if "aws-chunked" not in wanted.headers.get("content-encoding", ""):
        return wanted.body
    body, rest = b"", wanted.body
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line.partition(b";")[0] or b"0", 16)
        if not size:
            break
        body, rest = body + rest[:size], rest[size + 2 :]
    return body


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'  # noqa: S324 - S3's own


def _number(text: str) -> int:
    if not text.isdecimal():
        raise AwsError("InvalidArgument", "A number was expected.", 400)
    return int(text)


def _parsed(body: bytes) -> ET.Element:
    # Neither has a place in what S3 is sent, and both can be made to grow without end.
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise AwsError("MalformedXML", "The XML you provided was not well-formed.", 400)
    try:
        return ET.fromstring(body)  # noqa: S314 - see above
    except ET.ParseError as error:
        raise AwsError("MalformedXML", "The XML you provided was not well-formed.", 400) from error


def _inner(element: ET.Element, name: str) -> str:
    return next((child.text or "" for child in element if child.tag.rpartition("}")[2] == name), "")


def _document(text: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def _xml(name: str, inner: str) -> Answer:
    return Answer(200, _document(f'<{name} xmlns="{_NAMESPACE}">{inner}</{name}>'), XML)

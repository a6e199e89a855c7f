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

from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.protocol.responses import HttpResponse

XML = "application/xml"
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_MAX_KEYS = 1000  # keys of one ListObjectsV2 answer at most (API reference, MaxKeys)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MIN_PART_BYTES = 5 << 20  # bytes of every part but the last (user guide, "Multipart upload limits")
MAX_BODY_BYTES = 64 << 20  # of one request's body: larger objects come in parts


@dataclass(frozen=True, slots=True)
class S3Object:
    """One object."""

    body: bytes
    etag: str
    modified: float
    content_type: str = "binary/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _MultipartUpload:
    """A multipart upload in progress."""

    bucket: str
    key: str
    content_type: str
    metadata: Mapping[str, str]
    parts: dict[int, S3Object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class S3Request:
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


class S3Service:
    """The account's buckets. `put`, `get` and `keys` are for the emulator's own services."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._buckets: dict[str, dict[str, S3Object]] = {}
        self._uploads: dict[str, _MultipartUpload] = {}
        self._upload_numbers = count(1)

    # --- for the emulator's other services

    def put(self, bucket: str, key: str, body: bytes, now: float) -> None:
        """Store an object.

        Raises:
            ServiceError: there is no such bucket.
        """
        self._bucket_objects(bucket)[key] = S3Object(body, _etag(body), now)

    def get(self, bucket: str, key: str) -> S3Object:
        """Return an object.

        Raises:
            ServiceError: there is none of that name.
        """
        objects = self._bucket_objects(bucket)
        if key not in objects:
            raise ServiceError("NoSuchKey", "The specified key does not exist.", 404, {"Key": key})
        return objects[key]

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys that begin with a prefix, in order.

        Raises:
            ServiceError: there is no such bucket.
        """
        return sorted(key for key in self._bucket_objects(bucket) if key.startswith(prefix))

    def create_bucket(self, bucket: str) -> None:
        """Make a bucket; again is no harm, as in us-east-1."""
        if not _BUCKET.fullmatch(bucket):
            raise ServiceError("InvalidBucketName", "The specified bucket is not valid.", 400, {"BucketName": bucket})
        self._buckets.setdefault(bucket, {})

    def _bucket_objects(self, bucket: str) -> dict[str, S3Object]:
        if bucket not in self._buckets:
            raise ServiceError("NoSuchBucket", "The specified bucket does not exist", 404, {"BucketName": bucket})
        return self._buckets[bucket]

    # --- over HTTP

    def handle(self, request: S3Request, request_id: str) -> HttpResponse:
        """Answer one request."""
        bucket, _, key = unquote(request.path).lstrip("/").partition("/")
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        try:
            return (
                self._handle_object(request, bucket, key, query) if key else self._handle_bucket(request, bucket, query)
            )
        except ServiceError as error:
            more = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in error.extra.items())
            text = f"<Error><Code>{error.code}</Code><Message>{escape(error.message or '')}</Message>{more}"
            text += f"<Resource>{escape(request.path)}</Resource><RequestId>{request_id}</RequestId></Error>"
            return HttpResponse(error.status, _xml_document(text), XML)

    def _handle_bucket(self, request: S3Request, bucket: str, query: Mapping[str, str]) -> HttpResponse:
        match request.method:
            case "GET" if not bucket:
                rows = "".join(f"<Bucket><Name>{name}</Name></Bucket>" for name in sorted(self._buckets))
                return _xml_response("ListAllMyBucketsResult", f"<Buckets>{rows}</Buckets>")
            case "PUT" if not query:
                self.create_bucket(bucket)
                return HttpResponse(200, b"", XML, (("Location", f"/{bucket}"),))
            case "HEAD":
                self._bucket_objects(bucket)
                return HttpResponse(200, b"", XML, (("x-amz-bucket-region", self._region),))
            case "GET" if "location" in query:
                self._bucket_objects(bucket)
                return _xml_response("LocationConstraint", "" if self._region == "us-east-1" else self._region)
            case "GET" if query.get("list-type") == "2":
                return self._list_objects(bucket, query)
            case "DELETE" if not query:
                if self._bucket_objects(bucket):
                    raise ServiceError("BucketNotEmpty", "The bucket you tried to delete is not empty", 409)
                del self._buckets[bucket]
                return HttpResponse(204)
            case "POST" if "delete" in query:
                return self._delete_many(bucket, request.body)
            case _:
                raise ServiceError("NotImplemented", "The emulator does not know this operation of S3.", 501)

    def _handle_object(self, request: S3Request, bucket: str, key: str, query: Mapping[str, str]) -> HttpResponse:
        match request.method:
            case "PUT" if "uploadId" in query:
                return self._upload_part(request, query)
            case "PUT" if not query or set(query) == {"x-id"}:
                body = _decode_body(request)
                stored = S3Object(body, _etag(body), request.now, *_metadata_of(request.headers))
                self._bucket_objects(bucket)[key] = stored
                return HttpResponse(200, b"", XML, (("ETag", stored.etag),))
            case "GET" | "HEAD" if not query or set(query) == {"x-id"}:
                return _object_response(self.get(bucket, key), request)
            case "DELETE" if "uploadId" in query:
                self._uploads.pop(query["uploadId"], None)
                return HttpResponse(204)
            case "DELETE":
                self._bucket_objects(bucket).pop(key, None)
                return HttpResponse(204)
            case "POST" if "uploads" in query:
                self._bucket_objects(bucket)
                upload = f"upload-{next(self._upload_numbers)}"
                self._uploads[upload] = _MultipartUpload(bucket, key, *_metadata_of(request.headers))
                inner = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
                return _xml_response("InitiateMultipartUploadResult", inner)
            case "POST" if "uploadId" in query:
                return self._complete_upload(request, query["uploadId"])
            case _:
                raise ServiceError("NotImplemented", "The emulator does not know this operation of S3.", 501)

    def _list_objects(self, bucket: str, query: Mapping[str, str]) -> HttpResponse:
        objects, prefix, delimiter = self._bucket_objects(bucket), query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token", query.get("start-after", ""))
        size = min(_MAX_KEYS, _parse_int(query.get("max-keys", str(_MAX_KEYS))))
        rows: dict[str, S3Object | None] = {}
        for key in self.keys(bucket, prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            shown = key if cut < 0 else key[: cut + len(delimiter)]
            if shown > after:
                rows.setdefault(shown, objects[key] if cut < 0 else None)
        page = list(rows)[:size]
        is_more = len(rows) > size
        is_quoted = query.get("encoding-type") == "url"

        def encoded(text: str) -> str:
            return quote(text, safe="/") if is_quoted else escape(text)

        inner = f"<Name>{bucket}</Name><Prefix>{encoded(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
        inner += f"<MaxKeys>{size}</MaxKeys><IsTruncated>{'true' if is_more else 'false'}</IsTruncated>"
        inner += "<EncodingType>url</EncodingType>" if is_quoted else ""
        inner += f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if is_more and page else ""
        for shown in page:
            stored = rows[shown]
            if stored is None:
                inner += f"<CommonPrefixes><Prefix>{encoded(shown)}</Prefix></CommonPrefixes>"
            else:
                when = datetime.fromtimestamp(stored.modified, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
                inner += f"<Contents><Key>{encoded(shown)}</Key><LastModified>{when}</LastModified>"
                inner += f"<ETag>{escape(stored.etag)}</ETag><Size>{len(stored.body)}</Size>"
                inner += "<StorageClass>STANDARD</StorageClass></Contents>"
        return _xml_response("ListBucketResult", inner)

    def _delete_many(self, bucket: str, body: bytes) -> HttpResponse:
        objects = self._bucket_objects(bucket)
        keys = [element.text or "" for element in _parse_xml(body).iter() if element.tag.endswith("}Key")]
        for key in keys:
            objects.pop(key, None)
        return _xml_response("DeleteResult", "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys))

    def _upload_part(self, request: S3Request, query: Mapping[str, str]) -> HttpResponse:
        body = _decode_body(request)
        part = S3Object(body, _etag(body), request.now)
        self._find_upload(query["uploadId"]).parts[_parse_int(query.get("partNumber", ""))] = part
        return HttpResponse(200, b"", XML, (("ETag", part.etag),))

    def _find_upload(self, upload_id: str) -> _MultipartUpload:
        if upload_id not in self._uploads:
            raise ServiceError(
                "NoSuchUpload", "The specified multipart upload does not exist.", 404, {"UploadId": upload_id}
            )
        return self._uploads[upload_id]

    def _complete_upload(self, request: S3Request, upload_id: str) -> HttpResponse:
        upload = self._find_upload(upload_id)
        listed = [
            (_parse_int(_child_text(part, "PartNumber")), _child_text(part, "ETag"))
            for part in _parse_xml(request.body).iter()
            if part.tag.rpartition("}")[2] == "Part"
        ]
        parts = _ordered_parts(upload, listed)
        digest = hashlib.md5(b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)).hexdigest()  # noqa: S324 - S3's own
        body = b"".join(part.body for part in parts)
        etag = f'"{digest}-{len(parts)}"'
        self._bucket_objects(upload.bucket)[upload.key] = S3Object(
            body, etag, request.now, upload.content_type, upload.metadata
        )
        del self._uploads[upload_id]
        inner = f"<Bucket>{upload.bucket}</Bucket><Key>{escape(upload.key)}</Key><ETag>{escape(etag)}</ETag>"
        return _xml_response("CompleteMultipartUploadResult", inner)


def _ordered_parts(upload: _MultipartUpload, listed: Sequence[tuple[int, str]]) -> list[S3Object]:
    """Return the parts of an upload in the order that was asked for, which must ascend."""
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


def _object_response(s3_object: S3Object, request: S3Request) -> HttpResponse:
    headers = (
        ("ETag", s3_object.etag),
        ("Last-Modified", format_datetime(datetime.fromtimestamp(s3_object.modified, UTC), usegmt=True)),
        ("Accept-Ranges", "bytes"),
        *((f"x-amz-meta-{name}", value) for name, value in s3_object.metadata.items()),
    )
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if asked is None or asked.groups() == ("", ""):
        return HttpResponse(200, s3_object.body, s3_object.content_type, headers)
    size = len(s3_object.body)
    first, last = asked.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size - 1, int(last)) if first and last else size - 1
    if start > end:
        raise ServiceError("InvalidRange", "The requested range is not satisfiable", 416)
    shown = (*headers, ("Content-Range", f"bytes {start}-{end}/{size}"))
    return HttpResponse(206, s3_object.body[start : end + 1], s3_object.content_type, shown)


def _metadata_of(headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    mark = "x-amz-meta-"
    metadata = {name[len(mark) :]: value for name, value in headers.items() if name.startswith(mark)}
    return headers.get("content-type", "binary/octet-stream"), metadata


def _decode_body(request: S3Request) -> bytes:
    """Return the body without the framing of a checksum that follows it (aws-chunked, S3 API reference)."""
    if "aws-chunked" not in request.headers.get("content-encoding", ""):
        return request.body
    body, rest = b"", request.body
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line.partition(b";")[0] or b"0", 16)
        if not size:
            break
        body, rest = body + rest[:size], rest[size + 2 :]
    return body


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'  # noqa: S324 - S3's own


def _parse_int(text: str) -> int:
    if not text.isdecimal():
        raise ServiceError("InvalidArgument", "A number was expected.", 400)
    return int(text)


def _parse_xml(body: bytes) -> ET.Element:
    # Neither has a place in what S3 is sent, and both can be made to grow without end.
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise ServiceError("MalformedXML", "The XML you provided was not well-formed.", 400)
    try:
        return ET.fromstring(body)  # noqa: S314 - see above
    except ET.ParseError as error:
        raise ServiceError("MalformedXML", "The XML you provided was not well-formed.", 400) from error


def _child_text(element: ET.Element, name: str) -> str:
    return next((child.text or "" for child in element if child.tag.rpartition("}")[2] == name), "")


def _xml_document(text: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def _xml_response(name: str, inner: str) -> HttpResponse:
    return HttpResponse(200, _xml_document(f'<{name} xmlns="{_NAMESPACE}">{inner}</{name}>'), XML)

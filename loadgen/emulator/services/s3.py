"""The S3 API, as far as Processing jobs and their owners need it: objects, listings and multipart uploads.

Path-style requests only, which is what SDKs send to a custom endpoint URL. Synchronous functions of values; the server
reads requests and writes responses. S3's service model has no constraints for these inputs beyond required members.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.protocol.responses import HttpResponse
from loadgen.emulator.services.s3_storage import DEFAULT_CONTENT_TYPE, S3Object, S3Storage

XML = "application/xml"
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_MAX_KEYS = 1000  # maximum keys per ListObjectsV2 response (API reference, MaxKeys)
MAX_BODY_BYTES = 64 << 20  # limit of one request's body; larger objects come in parts


@dataclass(frozen=True, slots=True)
class S3Request:
    """One request to S3.

    Args:
        method: HTTP method.
        path: path as it was sent, percent-encoded.
        query: query string.
        headers: headers by lower-case name.
        body: the whole body.
        now: epoch seconds.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    now: float


class S3Service:
    """The operations of the S3 API over the account's buckets.

    Args:
        storage: the buckets.
        region: region of the account.
    """

    def __init__(self, storage: S3Storage, region: str) -> None:
        self._storage = storage
        self._region = region

    def handle(self, request: S3Request, request_id: str) -> HttpResponse:
        """Respond to one request."""
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
                rows = "".join(f"<Bucket><Name>{name}</Name></Bucket>" for name in self._storage.bucket_names())
                return _xml_response("ListAllMyBucketsResult", f"<Buckets>{rows}</Buckets>")
            case "PUT" if not query:
                self._storage.create_bucket(bucket)
                return HttpResponse(200, b"", XML, (("Location", f"/{bucket}"),))
            case "HEAD":
                self._storage.objects(bucket)
                return HttpResponse(200, b"", XML, (("x-amz-bucket-region", self._region),))
            case "GET" if "location" in query:
                self._storage.objects(bucket)
                return _xml_response("LocationConstraint", "" if self._region == "us-east-1" else self._region)
            case "GET" if query.get("list-type") == "2":
                return self._list_objects(bucket, query)
            case "DELETE" if not query:
                self._storage.delete_bucket(bucket)
                return HttpResponse(204)
            case "POST" if "delete" in query:
                return self._delete_many(bucket, request.body)
            case _:
                raise ServiceError("NotImplemented", "The emulator does not support this operation of S3.", 501)

    def _handle_object(self, request: S3Request, bucket: str, key: str, query: Mapping[str, str]) -> HttpResponse:
        match request.method:
            case "PUT" if "uploadId" in query:
                return self._upload_part(request, query)
            case "PUT" if not query or set(query) == {"x-id"}:
                metadata = _metadata_of(request.headers)
                stored = self._storage.put(bucket, key, _decode_body(request), request.now, *metadata)
                return HttpResponse(200, b"", XML, (("ETag", stored.etag),))
            case "GET" | "HEAD" if not query or set(query) == {"x-id"}:
                return _object_response(self._storage.get(bucket, key), request)
            case "DELETE" if "uploadId" in query:
                self._storage.abort_upload(query["uploadId"])
                return HttpResponse(204)
            case "DELETE":
                self._storage.delete(bucket, key)
                return HttpResponse(204)
            case "POST" if "uploads" in query:
                upload = self._storage.create_upload(bucket, key, *_metadata_of(request.headers))
                inner = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
                return _xml_response("InitiateMultipartUploadResult", inner)
            case "POST" if "uploadId" in query:
                return self._complete_upload(request, query["uploadId"])
            case _:
                raise ServiceError("NotImplemented", "The emulator does not support this operation of S3.", 501)

    def _list_objects(self, bucket: str, query: Mapping[str, str]) -> HttpResponse:
        objects, prefix, delimiter = self._storage.objects(bucket), query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token", query.get("start-after", ""))
        size = min(_MAX_KEYS, _parse_int(query.get("max-keys", str(_MAX_KEYS))))
        rows: dict[str, S3Object | None] = {}
        for key in self._storage.keys(bucket, prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            shown = key if cut < 0 else key[: cut + len(delimiter)]
            if shown > after:
                rows.setdefault(shown, objects[key] if cut < 0 else None)
        page = list(rows)[:size]
        is_truncated = len(rows) > size
        is_quoted = query.get("encoding-type") == "url"

        def encoded(text: str) -> str:
            return quote(text, safe="/") if is_quoted else escape(text)

        inner = f"<Name>{bucket}</Name><Prefix>{encoded(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
        inner += f"<MaxKeys>{size}</MaxKeys><IsTruncated>{'true' if is_truncated else 'false'}</IsTruncated>"
        inner += "<EncodingType>url</EncodingType>" if is_quoted else ""
        inner += f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if is_truncated and page else ""
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
        self._storage.objects(bucket)
        keys = [element.text or "" for element in _parse_xml(body).iter() if element.tag.endswith("}Key")]
        for key in keys:
            self._storage.delete(bucket, key)
        return _xml_response("DeleteResult", "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys))

    def _upload_part(self, request: S3Request, query: Mapping[str, str]) -> HttpResponse:
        body = _decode_body(request)
        self._storage.check_upload(query["uploadId"])
        number = _parse_int(query.get("partNumber", ""))
        part = self._storage.put_part(query["uploadId"], number, body, request.now)
        return HttpResponse(200, b"", XML, (("ETag", part.etag),))

    def _complete_upload(self, request: S3Request, upload_id: str) -> HttpResponse:
        self._storage.check_upload(upload_id)
        listed = [
            (_parse_int(_child_text(part, "PartNumber")), _child_text(part, "ETag"))
            for part in _parse_xml(request.body).iter()
            if part.tag.rpartition("}")[2] == "Part"
        ]
        bucket, key, etag = self._storage.complete_upload(upload_id, listed, request.now)
        inner = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><ETag>{escape(etag)}</ETag>"
        return _xml_response("CompleteMultipartUploadResult", inner)


def _object_response(s3_object: S3Object, request: S3Request) -> HttpResponse:
    headers = (
        ("ETag", s3_object.etag),
        ("Last-Modified", format_datetime(datetime.fromtimestamp(s3_object.modified, UTC), usegmt=True)),
        ("Accept-Ranges", "bytes"),
        *((f"x-amz-meta-{name}", value) for name, value in s3_object.metadata.items()),
    )
    requested = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if requested is None or requested.groups() == ("", ""):
        return HttpResponse(200, s3_object.body, s3_object.content_type, headers)
    size = len(s3_object.body)
    first, last = requested.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size - 1, int(last)) if first and last else size - 1
    if start > end:
        raise ServiceError("InvalidRange", "The requested range is not satisfiable", 416)
    shown = (*headers, ("Content-Range", f"bytes {start}-{end}/{size}"))
    return HttpResponse(206, s3_object.body[start : end + 1], s3_object.content_type, shown)


def _metadata_of(headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    prefix = "x-amz-meta-"
    metadata = {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)}
    return headers.get("content-type", DEFAULT_CONTENT_TYPE), metadata


def _decode_body(request: S3Request) -> bytes:
    """Return the body without the chunk framing of a trailing checksum (aws-chunked, S3 API reference)."""
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


def _parse_int(text: str) -> int:
    if not text.isdecimal():
        raise ServiceError("InvalidArgument", "A number was expected.", 400)
    return int(text)


def _parse_xml(body: bytes) -> ET.Element:
    # S3 requests have neither, and entities can expand without bound.
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

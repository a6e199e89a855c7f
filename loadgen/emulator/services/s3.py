"""The S3 API, as far as Processing jobs and their owners need it: objects, listings and multipart uploads.

Path-style requests only, which is what SDKs send to a custom endpoint URL. Synchronous functions of values; the server
reads requests and writes responses. S3's service model has no constraints for these inputs beyond required members.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import quote

from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.protocol.responses import HttpResponse, xml_text
from loadgen.emulator.services.s3_request import (
    S3Request,
    check_key,
    child_text,
    local_name,
    not_implemented,
    parse_copy_source,
    parse_int,
    parse_range,
    parse_xml,
)
from loadgen.emulator.services.s3_storage import DEFAULT_CONTENT_TYPE, S3Object, S3Storage

__all__ = ["MAX_BODY_BYTES", "S3Request", "S3Service", "s3_error"]
XML = "application/xml"
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_MAX_KEYS = 1000  # maximum keys per ListObjectsV2 response (API reference, MaxKeys)
MAX_BODY_BYTES = 64 << 20  # limit of one request's body; larger objects come in parts
_MAX_PARTS = 10_000  # user guide, "Multipart upload limits"
_LIST_PARAMETERS = frozenset(
    (
        "list-type",
        "prefix",
        "delimiter",
        "continuation-token",
        "start-after",
        "max-keys",
        "encoding-type",
        "fetch-owner",
    )
)


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
        """Respond to one request; what is not implemented gets 501 and has no effect."""
        bucket, key = request.place()
        query = request.parameters()
        try:
            request.check_headers()
            return (
                self._handle_object(request, bucket, key, query) if key else self._handle_bucket(request, bucket, query)
            )
        except ServiceError as error:
            return s3_error(error, request.path, request_id)

    def _handle_bucket(self, request: S3Request, bucket: str, query: Mapping[str, str]) -> HttpResponse:
        names = set(query)
        match request.method:
            case "GET" if not bucket and not names:
                rows = "".join(f"<Bucket><Name>{name}</Name></Bucket>" for name in self._storage.bucket_names())
                return _xml_response("ListAllMyBucketsResult", f"<Buckets>{rows}</Buckets>")
            case "PUT" if not names:
                self._storage.create_bucket(bucket)
                return HttpResponse(200, b"", XML, (("Location", f"/{bucket}"),))
            case "HEAD" if not names:
                self._storage.objects(bucket)
                return HttpResponse(200, b"", XML, (("x-amz-bucket-region", self._region),))
            case "GET" if names == {"location"}:
                self._storage.objects(bucket)
                return _xml_response("LocationConstraint", "" if self._region == "us-east-1" else self._region)
            case "GET" if query.get("list-type") == "2" and names <= _LIST_PARAMETERS:
                return self._list_objects(bucket, query)
            case "DELETE" if not names:
                self._storage.delete_bucket(bucket)
                return HttpResponse(204)
            case "POST" if names == {"delete"}:
                return self._delete_many(bucket, request)
            case _:
                raise _unsupported(request, names)

    def _handle_object(self, request: S3Request, bucket: str, key: str, query: Mapping[str, str]) -> HttpResponse:
        names = set(query)
        match request.method:
            case "PUT" if names == {"uploadId", "partNumber"}:
                return self._upload_part(request, bucket, key, query)
            case "PUT" if not names:
                return self._put_object(request, bucket, key)
            case "GET" | "HEAD" if not names:
                return _object_response(self._storage.get(bucket, key), request)
            case "DELETE" if names == {"uploadId"}:
                self._storage.check_upload(query["uploadId"], bucket, key)
                self._storage.abort_upload(query["uploadId"])
                return HttpResponse(204)
            case "DELETE" if not names:
                self._storage.delete(bucket, key)
                return HttpResponse(204)
            case "POST" if names == {"uploads"}:
                check_key(key)
                content_type = request.headers.get("content-type", DEFAULT_CONTENT_TYPE)
                upload = self._storage.create_upload(bucket, key, content_type, request.metadata())
                inner = f"<Bucket>{bucket}</Bucket><Key>{xml_text(key)}</Key><UploadId>{upload}</UploadId>"
                return _xml_response("InitiateMultipartUploadResult", inner)
            case "POST" if names == {"uploadId"}:
                return self._complete_upload(request, bucket, key, query["uploadId"])
            case _:
                raise _unsupported(request, names)

    def _put_object(self, request: S3Request, bucket: str, key: str) -> HttpResponse:
        """Store the body, or with x-amz-copy-source a copy of another object."""
        check_key(key)
        headers = request.headers
        self._check_write_conditions(request, bucket, key)
        content_type, metadata = headers.get("content-type", DEFAULT_CONTENT_TYPE), request.metadata()
        if "x-amz-copy-source" not in headers:
            stored = self._storage.put(bucket, key, request.content(), request.now, content_type, metadata)
            return HttpResponse(200, b"", XML, (("ETag", stored.etag),))
        directive = headers.get("x-amz-metadata-directive", "COPY")
        if directive not in ("COPY", "REPLACE"):
            raise ServiceError("InvalidArgument", "Unknown metadata directive.", 400)
        source = self._copy_source(request)
        if directive == "COPY":
            if parse_copy_source(headers["x-amz-copy-source"]) == (bucket, key):
                message = (
                    "This copy request is illegal because it is trying to copy an object to itself without changes."
                )
                raise ServiceError("InvalidRequest", message, 400)
            content_type, metadata = source.content_type, dict(source.metadata)
        stored = self._storage.put(bucket, key, source.body, request.now, content_type, metadata)
        return _xml_response("CopyObjectResult", _copy_result(stored))

    def _copy_source(self, request: S3Request) -> S3Object:
        source = self._storage.get(*parse_copy_source(request.headers["x-amz-copy-source"]))
        wanted, unwanted = (request.headers.get(f"x-amz-copy-source-{name}") for name in ("if-match", "if-none-match"))
        if (wanted is not None and not _matches(source, wanted)) or (unwanted and _matches(source, unwanted)):
            raise _precondition_failed()
        return source

    def _check_write_conditions(self, request: S3Request, bucket: str, key: str) -> None:
        current = self._storage.objects(bucket).get(key)
        wanted, unwanted = request.headers.get("if-match"), request.headers.get("if-none-match")
        if wanted is not None and (current is None or not _matches(current, wanted)):
            raise _precondition_failed()
        if unwanted is not None and current is not None and _matches(current, unwanted):
            raise _precondition_failed()

    def _list_objects(self, bucket: str, query: Mapping[str, str]) -> HttpResponse:
        objects, prefix, delimiter = self._storage.objects(bucket), query.get("prefix", ""), query.get("delimiter", "")
        token = query.get("continuation-token")
        after = query.get("start-after", "") if token is None else _decode_token(token)
        size = min(_MAX_KEYS, parse_int(query.get("max-keys", str(_MAX_KEYS)), most=2**31 - 1))
        rows: dict[str, S3Object | None] = {}
        for key in self._storage.keys(bucket, prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            shown = key if cut < 0 else key[: cut + len(delimiter)]
            if shown > after:
                rows.setdefault(shown, objects[key] if cut < 0 else None)
        page = list(rows)[:size]
        is_truncated = len(rows) > size > 0
        is_quoted = query.get("encoding-type") == "url"

        def encoded(text: str) -> str:
            return quote(text, safe="/") if is_quoted else xml_text(text)

        inner = f"<Name>{bucket}</Name><Prefix>{encoded(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
        inner += f"<MaxKeys>{size}</MaxKeys><IsTruncated>{'true' if is_truncated else 'false'}</IsTruncated>"
        inner += "<EncodingType>url</EncodingType>" if is_quoted else ""
        inner += f"<NextContinuationToken>{_encode_token(page[-1])}</NextContinuationToken>" if is_truncated else ""
        for shown in page:
            stored = rows[shown]
            if stored is None:
                inner += f"<CommonPrefixes><Prefix>{encoded(shown)}</Prefix></CommonPrefixes>"
            else:
                inner += f"<Contents><Key>{encoded(shown)}</Key>"
                inner += f"<LastModified>{_iso_time(stored.modified)}</LastModified>"
                inner += f"<ETag>{xml_text(stored.etag)}</ETag><Size>{len(stored.body)}</Size>"
                inner += "<StorageClass>STANDARD</StorageClass></Contents>"
        return _xml_response("ListBucketResult", inner)

    def _delete_many(self, bucket: str, request: S3Request) -> HttpResponse:
        self._storage.objects(bucket)
        root = parse_xml(request.body, "Delete")
        request.content()  # for its digests
        objects = [element for element in root if local_name(element) == "Object"]
        if not 1 <= len(objects) <= _MAX_KEYS or not all(child_text(element, "Key") for element in objects):
            raise ServiceError("MalformedXML", "The XML you provided did not validate against our schema.", 400)
        if any({local_name(child) for child in element} > {"Key"} for element in objects):
            raise not_implemented("a version, ETag, time or size of an object to delete")
        keys = [child_text(element, "Key") for element in objects]
        for key in keys:
            self._storage.delete(bucket, key)
        shown = [] if child_text(root, "Quiet") == "true" else keys
        return _xml_response("DeleteResult", "".join(f"<Deleted><Key>{xml_text(key)}</Key></Deleted>" for key in shown))

    def _upload_part(self, request: S3Request, bucket: str, key: str, query: Mapping[str, str]) -> HttpResponse:
        upload_id = query["uploadId"]
        self._storage.check_upload(upload_id, bucket, key)
        number = parse_int(query["partNumber"], least=1, most=_MAX_PARTS)
        if "x-amz-copy-source" not in request.headers:
            part = self._storage.put_part(upload_id, number, request.content(), request.now)
            return HttpResponse(200, b"", XML, (("ETag", part.etag),))
        body = self._copy_source(request).body
        if (text := request.headers.get("x-amz-copy-source-range")) is not None:
            selected = parse_range(text, len(body))
            if selected is None:
                raise ServiceError(
                    "InvalidArgument", "The x-amz-copy-source-range value must be bytes=first-last.", 400
                )
            body = body[selected[0] : selected[1] + 1]
        part = self._storage.put_part(upload_id, number, body, request.now)
        return _xml_response("CopyPartResult", _copy_result(part))

    def _complete_upload(self, request: S3Request, bucket: str, key: str, upload_id: str) -> HttpResponse:
        self._storage.check_upload(upload_id, bucket, key)
        listed = [
            (parse_int(child_text(part, "PartNumber"), least=1, most=_MAX_PARTS), child_text(part, "ETag"))
            for part in parse_xml(request.body, "CompleteMultipartUpload")
            if local_name(part) == "Part"
        ]
        self._check_write_conditions(request, bucket, key)
        _, _, etag = self._storage.complete_upload(upload_id, listed, request.now)
        inner = f"<Bucket>{bucket}</Bucket><Key>{xml_text(key)}</Key><ETag>{xml_text(etag)}</ETag>"
        return _xml_response("CompleteMultipartUploadResult", inner)


def s3_error(error: ServiceError, path: str, request_id: str) -> HttpResponse:
    """Encode an error as S3 does.

    Args:
        error: the error.
        path: path of the request.
        request_id: id of the request.
    """
    more = "".join(f"<{name}>{xml_text(str(value))}</{name}>" for name, value in error.extra.items())
    text = f"<Error><Code>{error.code}</Code><Message>{xml_text(error.message or '')}</Message>{more}"
    text += f"<Resource>{xml_text(path)}</Resource><RequestId>{request_id}</RequestId></Error>"
    return HttpResponse(error.status, _xml_document(text), XML)


def _unsupported(request: S3Request, names: set[str]) -> ServiceError:
    return not_implemented(f"{request.method[:20]} with {', '.join(sorted(names))[:80] or 'no parameters'}")


def _precondition_failed() -> ServiceError:
    return ServiceError("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", 412)


def _matches(stored: S3Object, wanted: str) -> bool:
    return wanted.strip() == "*" or stored.etag.strip('"') in [tag.strip().strip('"') for tag in wanted.split(",")]


def _copy_result(stored: S3Object) -> str:
    return f"<ETag>{xml_text(stored.etag)}</ETag><LastModified>{_iso_time(stored.modified)}</LastModified>"


def _iso_time(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _encode_token(key: str) -> str:
    # A key may contain characters that XML excludes.
    return base64.urlsafe_b64encode(key.encode()).decode("ascii")


def _decode_token(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise ServiceError("InvalidArgument", "The continuation token provided is incorrect", 400) from error


def _object_response(s3_object: S3Object, request: S3Request) -> HttpResponse:
    headers = (
        ("ETag", s3_object.etag),
        ("Last-Modified", format_datetime(datetime.fromtimestamp(s3_object.modified, UTC), usegmt=True)),
        ("Accept-Ranges", "bytes"),
        *((f"x-amz-meta-{name}", value) for name, value in s3_object.metadata.items()),
    )
    wanted, unwanted = request.headers.get("if-match"), request.headers.get("if-none-match")
    if wanted is not None and not _matches(s3_object, wanted):
        raise _precondition_failed()
    if unwanted is not None and _matches(s3_object, unwanted):
        return HttpResponse(304, b"", XML, headers)
    size = len(s3_object.body)
    selected = parse_range(request.headers.get("range", ""), size)
    if selected is None:
        return HttpResponse(200, s3_object.body, s3_object.content_type, headers)
    start, end = selected
    shown = (*headers, ("Content-Range", f"bytes {start}-{end}/{size}"))
    # Without a copy: many clients may read parts of a large object at once.
    return HttpResponse(206, memoryview(s3_object.body)[start : end + 1], s3_object.content_type, shown)


def _xml_document(text: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def _xml_response(name: str, inner: str) -> HttpResponse:
    return HttpResponse(200, _xml_document(f'<{name} xmlns="{_NAMESPACE}">{inner}</{name}>'), XML)

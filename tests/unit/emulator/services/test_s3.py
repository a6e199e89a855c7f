"""The emulator's S3 against moto's, by one script, and its parsing of requests."""

import logging
import threading
from contextlib import contextmanager

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from loadgen.emulator.services.s3 import S3Request, S3Service
from loadgen.emulator.services.s3_storage import S3Storage
from tests.support.emulator import emulated, fetch


@contextmanager
def s3_at(url):
    opened = boto3.session.Session().client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def moto_server():
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def outcome(call, *members, **arguments):
    """Return the named members of a response, or the error's code and status."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    found = {}
    for member in members:
        value = answer.get(member)
        if member == "Body":
            value = value.read()
        if member == "Contents":
            value = [(row["Key"], row["Size"], row["ETag"]) for row in value or ()]
        if member == "CommonPrefixes":
            value = [row["Prefix"] for row in value or ()]
        found[member] = value
    return found


def script(s3):
    """Yield the outcomes of everything that a Processing job and its owner do with S3, errors included."""
    place = {"Bucket": "loadgen-test"}
    yield outcome(s3.head_bucket, **place)
    yield outcome(s3.put_object, **place, Key="early", Body=b"1")
    yield outcome(s3.create_bucket, **place)
    yield outcome(s3.head_bucket, **place)
    yield outcome(
        s3.put_object, "ETag", **place, Key="code/a file & more.py", Body=b"print(1)\n", ContentType="text/plain"
    )
    yield outcome(s3.get_object, "Body", "ETag", "ContentType", "ContentLength", **place, Key="code/a file & more.py")
    yield outcome(s3.head_object, "ETag", "ContentLength", **place, Key="code/a file & more.py")
    yield outcome(s3.get_object, "Body", "ContentRange", **place, Key="code/a file & more.py", Range="bytes=2-5")
    yield outcome(s3.get_object, "Body", "ContentRange", **place, Key="code/a file & more.py", Range="bytes=-3")
    yield outcome(s3.get_object, **place, Key="nothing")
    yield outcome(s3.head_object, **place, Key="nothing")
    for key in ("code/ä/ö.bin", "out/runs/1/samples.bin", "out/runs/2/samples.bin", "out/manifest.json"):
        yield outcome(s3.put_object, "ETag", **place, Key=key, Body=key.encode())
    yield outcome(s3.list_objects_v2, "Contents", "KeyCount", "IsTruncated", **place)
    yield outcome(s3.list_objects_v2, "Contents", "CommonPrefixes", **place, Prefix="out/", Delimiter="/")
    first = s3.list_objects_v2(**place, MaxKeys=2)
    yield [row["Key"] for row in first["Contents"]], first["IsTruncated"]
    rest = s3.list_objects_v2(**place, MaxKeys=10, ContinuationToken=first["NextContinuationToken"])
    yield [row["Key"] for row in rest["Contents"]], rest["IsTruncated"]
    yield [
        row["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(**place, PaginationConfig={"PageSize": 1})
        for row in page["Contents"]
    ]
    yield outcome(s3.list_objects_v2, "Contents", "KeyCount", **place, Prefix="none/")

    upload = s3.create_multipart_upload(**place, Key="big")["UploadId"]
    parts = []
    for number, content in ((1, b"a" * (5 << 20)), (2, b"b" * 1000)):
        etag = s3.upload_part(**place, Key="big", UploadId=upload, PartNumber=number, Body=content)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    wrong = [parts[0], {"PartNumber": 2, "ETag": '"0"'}]
    yield outcome(s3.complete_multipart_upload, **place, Key="big", UploadId=upload, MultipartUpload={"Parts": wrong})
    yield outcome(
        s3.complete_multipart_upload,
        "ETag",
        "Key",
        **place,
        Key="big",
        UploadId=upload,
        MultipartUpload={"Parts": parts},
    )
    yield outcome(s3.head_object, "ETag", "ContentLength", **place, Key="big")
    small = s3.create_multipart_upload(**place, Key="small")["UploadId"]
    tiny = [
        {"PartNumber": n, "ETag": s3.upload_part(**place, Key="small", UploadId=small, PartNumber=n, Body=b"x")["ETag"]}
        for n in (1, 2)
    ]
    yield outcome(s3.complete_multipart_upload, **place, Key="small", UploadId=small, MultipartUpload={"Parts": tiny})
    yield outcome(s3.abort_multipart_upload, **place, Key="small", UploadId=small)
    yield from copies(s3, place)
    yield outcome(s3.delete_object, **place, Key="big")
    yield outcome(s3.delete_object, **place, Key="big")
    yield outcome(s3.delete_objects, **place, Delete={"Objects": [{"Key": "early"}, {"Key": "out/manifest.json"}]})
    yield outcome(s3.list_objects_v2, "Contents", **place, Prefix="out/")
    yield outcome(s3.delete_bucket, **place)


def copies(s3, place):
    """Yield the outcomes of copies of objects and parts, errors included."""
    source = {"Bucket": "loadgen-test", "Key": "code/ä/ö.bin"}
    yield outcome(s3.copy_object, **place, Key="copy", CopySource=source)
    yield outcome(s3.get_object, "Body", "ETag", **place, Key="copy")
    yield outcome(s3.copy_object, **place, Key="copy", CopySource={**source, "Key": "nothing"})
    yield outcome(s3.copy_object, **place, Key="copy", CopySource={**source, "Bucket": "bucket-of-nobody"})
    yield outcome(s3.put_object, **place, Key="copy", Body=b"2", IfNoneMatch="*")
    yield outcome(s3.get_object, "Body", **place, Key="copy")
    pieces = s3.create_multipart_upload(**place, Key="pieces")["UploadId"]
    copied = s3.upload_part_copy(
        **place, Key="pieces", UploadId=pieces, PartNumber=1, CopySource=source, CopySourceRange="bytes=5-7"
    )["CopyPartResult"]
    listed = {"Parts": [{"PartNumber": 1, "ETag": copied["ETag"]}]}
    yield outcome(s3.complete_multipart_upload, "ETag", **place, Key="pieces", UploadId=pieces, MultipartUpload=listed)
    yield outcome(s3.get_object, "Body", **place, Key="pieces")


def test_s3_agrees_with_moto():
    """Every step of one script has the same outcome on both, error codes included."""
    with emulated() as emulator, s3_at(emulator.url) as s3:
        ours = list(script(s3))
    with moto_server() as url, s3_at(url) as s3:
        theirs = list(script(s3))
    assert len(ours) == len(theirs)
    for step, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert one == other, f"step {step}"


def test_the_sdks_transfer_round_trips_a_multipart_file(tmp_path):
    """A file above the multipart threshold is downloaded with the bytes that were uploaded."""
    content = bytes(range(256)) * 50_000
    (tmp_path / "up").write_bytes(content)
    with emulated() as emulator, s3_at(emulator.url) as s3:
        s3.create_bucket(Bucket="transfer")
        s3.upload_file(str(tmp_path / "up"), "transfer", "deep/er/file")
        s3.download_file("transfer", "deep/er/file", str(tmp_path / "down"))
        assert "-" in s3.head_object(Bucket="transfer", Key="deep/er/file")["ETag"]
    assert (tmp_path / "down").read_bytes() == content


def storage_with_bucket():
    """Return a storage with one bucket, and the S3 API over it."""
    storage = S3Storage()
    storage.create_bucket("bucket")
    return storage, S3Service(storage, "us-east-1")


def test_an_aws_chunked_body_is_stored_without_its_framing():
    """Chunk headers and the trailing checksum of an aws-chunked body are not part of the object."""
    storage, s3 = storage_with_bucket()
    framed = b"5\r\nhello\r\n6;chunk-signature=ab\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"
    headers = {"content-encoding": "aws-chunked"}
    assert s3.handle(S3Request("PUT", "/bucket/key", "", headers, framed, 1.0), "id").status == 200
    assert storage.get("bucket", "key").body == b"hello world"


@pytest.mark.parametrize(
    "body",
    [
        *(b"<!DOCTYPE a [<!ENTITY b 'c'>]><Delete/>", b"<Delete", b"", b"<Delete/>", b"<Other><Object/></Other>"),
        *("<!DOCTYPE a [<!ENTITY b 'c'>]><Delete>&b;</Delete>".encode(name) for name in ("utf-16", "utf-32", "utf-7")),
        *(f'<?xml version="1.0" encoding="{name}"?><Delete/>'.encode() for name in ("big5", "foo", "utf-16")),
    ],
)
def test_unsafe_and_malformed_xml_is_rejected(body):
    """XML with a document type, truncated XML and an empty body get MalformedXML."""
    _, s3 = storage_with_bucket()
    answer = s3.handle(S3Request("POST", "/bucket", "delete", {}, body, 1.0), "id")
    assert answer.status == 400
    assert b"<Code>MalformedXML</Code>" in answer.body


def test_an_unsupported_s3_operation_is_an_error():
    """An operation of S3 that the emulator lacks gets 501, and an unsigned request 404."""
    _, s3 = storage_with_bucket()
    assert s3.handle(S3Request("PUT", "/bucket", "versioning", {}, b"", 1.0), "id").status == 501
    assert s3.handle(S3Request("GET", "/bucket/key", "acl", {}, b"", 1.0), "id").status == 501
    with emulated() as emulator:
        assert fetch(f"{emulator.url}/bucket/key")[0] == 404  # unsigned: none of S3's business


# Every sub-resource of the API reference, by the operations that have it.
BUCKET_PARAMETERS = [
    *("accelerate", "acl", "analytics", "cors", "encryption", "intelligent-tiering", "inventory", "lifecycle"),
    *("logging", "metadataTable", "metrics", "notification", "object-lock", "ownershipControls", "policy"),
    *("policyStatus", "publicAccessBlock", "replication", "requestPayment", "session", "tagging", "uploads"),
    *("versioning", "versions", "website", "list-type=1", "unknown-to-anyone"),
]
OBJECT_PARAMETERS = [
    *("acl", "attributes", "legal-hold", "partNumber=1", "restore", "retention", "select", "tagging", "torrent"),
    *("versionId=1", "renameObject", "response-content-type=a", "uploads", "unknown-to-anyone"),
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"])
def test_a_sub_resource_that_is_not_implemented_gets_501_and_changes_nothing(method):
    """Every sub-resource with every method gets 501, but for the start of a multipart upload; the object stays."""
    storage, s3 = storage_with_bucket()
    storage.put("bucket", "key", b"content", 1.0)
    for path, parameters in (("/bucket", BUCKET_PARAMETERS), ("/bucket/key", OBJECT_PARAMETERS)):
        for query in parameters:
            if (path, method, query) == ("/bucket/key", "POST", "uploads"):
                continue
            answer = s3.handle(S3Request(method, path, query, {}, b"<x/>", 2.0), "id")
            assert (answer.status, b"NotImplemented" in answer.body) == (501, True), (method, path, query)
    assert (storage.get("bucket", "key").body, storage.get("bucket", "key").modified) == (b"content", 1.0)
    assert storage.keys("bucket", "") == ["key"]


@pytest.mark.parametrize(
    "header",
    [
        "x-amz-tagging",
        "x-amz-object-lock-mode",
        "x-amz-copy-source-if-modified-since",
        "if-modified-since",
        "x-amz-new",
    ],
)
def test_a_header_that_would_be_ignored_gets_501(header):
    """A header that asks for what the emulator would not do gets 501 with its name, and nothing is stored."""
    storage, s3 = storage_with_bucket()
    answer = s3.handle(S3Request("PUT", "/bucket/key", "", {header: "a"}, b"1", 1.0), "id")
    assert (answer.status, header.encode() in answer.body) == (501, True)
    assert storage.keys("bucket", "") == []


def test_the_sdks_managed_copy_copies_small_and_large_objects():
    """boto3's copy of a small object, and of one above its multipart threshold, has the bytes and the metadata."""
    from boto3.s3.transfer import TransferConfig

    content = bytes(range(256)) * 50_000
    config = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=5 << 20)
    with emulated() as emulator, s3_at(emulator.url) as s3:
        s3.create_bucket(Bucket="copies")
        for key, body in (("small ä", b"hello"), ("large", content)):
            s3.put_object(Bucket="copies", Key=key, Body=body, Metadata={"a": "b"}, ContentType="text/plain")
            s3.copy({"Bucket": "copies", "Key": key}, "copies", f"{key}-copy", Config=config)
            assert s3.get_object(Bucket="copies", Key=f"{key}-copy")["Body"].read() == body
        small = s3.head_object(Bucket="copies", Key="small ä-copy")
        assert (small["Metadata"], small["ContentType"]) == ({"a": "b"}, "text/plain")
        s3.copy_object(
            *(),
            Bucket="copies",
            Key="large",
            CopySource="copies/large",
            MetadataDirective="REPLACE",
            Metadata={"c": "d"},
        )
        assert s3.head_object(Bucket="copies", Key="large")["Metadata"] == {"c": "d"}
        itself = outcome(s3.copy_object, Bucket="copies", Key="large", CopySource="copies/large")
        assert itself == ("InvalidRequest", 400)


def test_a_part_belongs_to_its_uploads_bucket_and_key():
    """A part, completion or abort at another bucket or key gets NoSuchUpload, and part numbers are 1 to 10,000."""
    with emulated() as emulator, s3_at(emulator.url) as s3:
        for bucket in ("one", "two"):
            s3.create_bucket(Bucket=f"bucket-{bucket}")
        upload = s3.create_multipart_upload(Bucket="bucket-one", Key="key")["UploadId"]
        part = {"UploadId": upload, "PartNumber": 1, "Body": b"x"}
        listed = {"Parts": [{"PartNumber": 1, "ETag": s3.upload_part(Bucket="bucket-one", Key="key", **part)["ETag"]}]}
        for place in ({"Bucket": "bucket-two", "Key": "key"}, {"Bucket": "bucket-one", "Key": "other"}):
            assert outcome(s3.upload_part, **place, **part) == ("NoSuchUpload", 404)
            assert outcome(s3.abort_multipart_upload, **place, UploadId=upload) == ("NoSuchUpload", 404)
            completed = outcome(s3.complete_multipart_upload, **place, UploadId=upload, MultipartUpload=listed)
            assert completed == ("NoSuchUpload", 404)
        for number in (0, 10_001):
            refused = outcome(s3.upload_part, Bucket="bucket-one", Key="key", **part | {"PartNumber": number})
            assert refused == ("InvalidArgument", 400)
        with pytest.raises(ClientError, match="Part number must be an integer between 1 and 10000, inclusive"):
            s3.upload_part(Bucket="bucket-one", Key="key", **part | {"PartNumber": 10_001})


def test_a_body_with_another_digest_is_not_stored():
    """Content-MD5 and checksums that the body does not have, in a header or a trailer, get BadDigest."""
    storage, s3 = storage_with_bucket()
    framed = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    chunked = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": "5"}
    for headers, body, code in (
        ({"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, b"x", b"BadDigest"),
        ({"content-md5": "?"}, b"x", b"InvalidDigest"),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, b"x", b"BadDigest"),
        ({"x-amz-checksum-sha256": "AAAAAA=="}, b"x", b"InvalidDigest"),
        (chunked, framed, b"BadDigest"),
        (chunked | {"x-amz-decoded-content-length": "6"}, framed, b"IncompleteBody"),
    ):
        answer = s3.handle(S3Request("PUT", "/bucket/key", "", headers, body, 1.0), "id")
        assert (answer.status, code in answer.body) == (400, True), headers
    assert storage.keys("bucket", "") == []


@pytest.mark.parametrize(
    "framed",
    [
        b"zz\r\nhello",
        b"-5\r\nhello",
        b"ff\r\nhello",
        b"5\r\nhello",
        b"",
        b"5\r\nhello\r\n",
        b"9" * 5000,
        b"+1\r\na\r\n0\r\n",
    ],
)
def test_a_chunked_body_with_wrong_lengths_is_not_stored(framed):
    """An aws-chunked body whose chunks are malformed, or that ends early, gets IncompleteBody."""
    storage, s3 = storage_with_bucket()
    answer = s3.handle(S3Request("PUT", "/bucket/key", "", {"content-encoding": "aws-chunked"}, framed, 1.0), "id")
    assert (answer.status, b"IncompleteBody" in answer.body) == (400, True)
    assert storage.keys("bucket", "") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes=" + "9" * 5000 + "-", 416),
        ("bytes=-" + "9" * 5000, b"hello"),
        ("bytes=1-" + "9" * 5000, b"ello"),
        ("bytes=" + "0" * 5000 + "1-2", b"el"),
        ("bytes=\N{ARABIC-INDIC DIGIT ONE}-", b"hello"),
        ("bytes=5-", 416),
        ("bytes=-0", 416),
    ],
)
def test_ranges_of_any_size_are_answered(text, expected):
    """A range beyond the object gets 416, one that only ends beyond it the rest; what is no range is ignored."""
    storage, s3 = storage_with_bucket()
    storage.put("bucket", "key", b"hello", 1.0)
    answer = s3.handle(S3Request("GET", "/bucket/key", "", {"range": text}, b"", 1.0), "id")
    assert (answer.body if answer.status < 400 else answer.status) == expected


@pytest.mark.parametrize("size", ["9" * 5000, "-1", "1.5", "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT ONE}", ""])
def test_a_max_keys_that_is_no_size_is_refused(size):
    """max-keys takes ASCII digits up to 2**31 - 1."""
    _, s3 = storage_with_bucket()
    assert s3.handle(S3Request("GET", "/bucket", f"list-type=2&max-keys={size}", {}, b"", 1.0), "id").status == 400


def test_a_listing_of_any_keys_is_well_formed_and_complete():
    """Keys with control characters and raw bytes are listed page by page, with and without url encoding."""
    from xml.etree import ElementTree as ET

    _, s3 = storage_with_bucket()
    for path in ("/bucket/a%01", "/bucket/b\udcff", "/bucket/c%ff", "/bucket/d%F0%9F%98%80"):
        assert s3.handle(S3Request("PUT", path, "", {}, b"", 1.0), "id").status == 200
    for encoding in ("", "&encoding-type=url"):
        token, found = "", 0
        for _ in range(4):
            answer = s3.handle(
                S3Request("GET", "/bucket", f"list-type=2&max-keys=1{encoding}{token}", {}, b"", 1.0), "id"
            )
            texts = {element.tag.rpartition("}")[2]: element.text for element in ET.fromstring(answer.body).iter()}
            found += int(texts["KeyCount"])
            token = f"&continuation-token={texts.get('NextContinuationToken', '')}"
        assert (found, texts["IsTruncated"]) == (4, "false")
    assert (
        s3.handle(S3Request("GET", "/bucket", "list-type=2&continuation-token=%01", {}, b"", 1.0), "id").status == 400
    )

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
    yield outcome(s3.delete_object, **place, Key="big")
    yield outcome(s3.delete_object, **place, Key="big")
    yield outcome(s3.delete_objects, **place, Delete={"Objects": [{"Key": "early"}, {"Key": "out/manifest.json"}]})
    yield outcome(s3.list_objects_v2, "Contents", **place, Prefix="out/")
    yield outcome(s3.delete_bucket, **place)


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
    framed = b"5\r\nhello\r\n6;chunk-signature=ab\r\n world\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    headers = {"content-encoding": "aws-chunked"}
    assert s3.handle(S3Request("PUT", "/bucket/key", "", headers, framed, 1.0), "id").status == 200
    assert storage.get("bucket", "key").body == b"hello world"


@pytest.mark.parametrize("body", [b"<!DOCTYPE a [<!ENTITY b 'c'>]><Delete/>", b"<Delete", b""])
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

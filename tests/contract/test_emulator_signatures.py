"""The emulator's check of signatures: what botocore, AWS's own signer (awscrt) and the wire transport sign is accepted,
and every change to it is refused in the words of the service.
"""

import asyncio
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import botocore.auth
import pytest
from awscrt import auth, http
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.protocol.signatures import SignedRequest, verify_signature
from loadgen.targets.emulated import Emulated
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import ServerlessConfig
from tests.support.emulator import client, deploy, emulated, fetch

KEYS = {"AKIDEXAMPLE": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "test": "test"}
NOW = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)
STAMP = "20261127T120000Z"
BODIES = [b"", b"{}", b"\x00\xff" * 100]


def verify(request, service="sagemaker", now=NOW, region="us-east-1"):
    verify_signature(request, keys=KEYS, region=region, service=service, now=now.timestamp())


def refusal(request, service="sagemaker", now=NOW, region="us-east-1"):
    """Return code, status and message with which a request is refused."""
    with pytest.raises(ServiceError) as caught:
        verify(request, service, now, region)
    return caught.value.code, caught.value.status, caught.value.message


def signed_by_crt(service, method, target, headers, body, *, presigned=False, signed_value=None, kind=None):
    """Sign a request with AWS's own signer and return it as the server receives it."""
    request = http.HttpRequest(method, target, http.HttpHeaders(list({"host": "h:1", **headers}.items())))
    config = auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4,
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS
        if presigned
        else auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=auth.AwsCredentialsProvider.new_static("AKIDEXAMPLE", KEYS["AKIDEXAMPLE"]),
        region="us-east-1",
        service=service,
        date=NOW,
        use_double_uri_encode=service != "s3",
        should_normalize_uri_path=service != "s3",
        signed_body_value=signed_value or (None if service != "s3" and not body else hashlib.sha256(body).hexdigest()),
        signed_body_header_type=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256
        if service == "s3" and not presigned
        else auth.AwsSignedBodyHeaderType.NONE,
        expiration_in_seconds=600 if presigned else None,
    )
    auth.aws_sign_request(request, config).result(10)
    path, _, query = request.path.partition("?")
    return SignedRequest(method, path, query, {name.lower(): value for name, value in request.headers}, body)


def signed_by_botocore(service, method, url, headers, body):
    request = AWSRequest(method, url, headers, body)
    request.context["timestamp"] = STAMP
    signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(
        Credentials("AKIDEXAMPLE", KEYS["AKIDEXAMPLE"], "token"), service, "us-east-1"
    )
    original, botocore.auth.get_current_datetime = (
        botocore.auth.get_current_datetime,
        lambda *_, **__: NOW.replace(tzinfo=None),
    )
    try:
        signer.add_auth(request)
    finally:
        botocore.auth.get_current_datetime = original
    parts = urlsplit(url)
    named = {name.lower(): value for name, value in request.headers.items()} | {"host": parts.netloc}
    return SignedRequest(method, parts.path, parts.query, named, body)


TARGETS = ["/", "/a%20b/c", "/a//b/./c", "/%C3%BC?x=1&a=%20&a=%2B&b", "/k~-_.?prefix=a%2Fb&delimiter=%2F", "/x?uploads"]


@pytest.mark.parametrize("body", BODIES, ids=len)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("service", ["sagemaker", "monitoring", "s3"])
@pytest.mark.parametrize("signer", ["awscrt", "botocore"])
def test_what_other_signers_sign_is_accepted(signer, service, target, body):
    """Header signatures of AWS's C library and of botocore verify for every path, query string and body."""
    headers = {"Content-Type": "application/x", "X-Amz-Meta-A": "  b   c "}
    if signer == "awscrt":
        request = signed_by_crt(service, "POST", target, headers, body)
    else:
        request = signed_by_botocore(service, "POST", f"http://h:1{target}", headers, body)
    verify(request, service)
    changed = SignedRequest("PUT", request.path, request.query, request.headers, request.body)
    assert refusal(changed, service)[1] == 403


@pytest.mark.parametrize("part", ["method", "path", "query", "header", "body", "signature", "signed headers", "secret"])
@pytest.mark.parametrize(
    ("service", "code"),
    [
        ("sagemaker", "InvalidSignatureException"),
        ("monitoring", "SignatureDoesNotMatch"),
        ("s3", "SignatureDoesNotMatch"),
    ],
)
def test_any_change_after_signing_is_refused(service, code, part):
    """Each part of a request is covered: changed after signing, it gets the service's code for another signature."""
    body = b"abc"
    good = signed_by_crt(service, "POST", "/a?b=1", {"x-amz-meta-a": "1"}, body)
    headers, changed = dict(good.headers), [good.method, good.path, good.query, good.body]
    if part == "header":
        headers["x-amz-meta-a"] = "2"
    elif part == "signature":
        headers["authorization"] = headers["authorization"][:-1] + ("0" if headers["authorization"][-1] != "0" else "1")
    elif part == "signed headers":
        headers["authorization"] = headers["authorization"].replace("host;", "host;x-amz-none;")
    elif part == "secret":
        key = {"AKIDEXAMPLE": "another"}
        with pytest.raises(ServiceError) as caught:
            verify_signature(good, keys=key, region="us-east-1", service=service, now=NOW.timestamp())
        assert caught.value.code == code
        return
    else:
        index = ["method", "path", "query", "body"].index(part)
        changed[index] = b"abd" if part == "body" else {"method": "PUT", "path": "/b", "query": "b=2"}[part]
    method, path, query, sent = changed
    expected = "XAmzContentSHA256Mismatch" if (service, part) == ("s3", "body") else code
    assert refusal(SignedRequest(method, path, query, headers, sent), service)[0] == expected


@pytest.mark.parametrize(
    ("service", "codes"),
    [
        ("sagemaker", ["UnrecognizedClientException", "IncompleteSignatureException", "MissingAuthenticationTokenException", "InvalidSignatureException", "InvalidSignatureException"]),
        ("monitoring", ["InvalidClientTokenId", "IncompleteSignature", "MissingAuthenticationToken", "SignatureDoesNotMatch", "SignatureDoesNotMatch"]),
        ("s3", ["InvalidAccessKeyId", "AuthorizationHeaderMalformed", "AccessDenied", "RequestTimeTooSkewed", "AuthorizationHeaderMalformed"]),
    ],
)  # fmt: skip
def test_each_fault_has_the_code_of_its_service(service, codes):
    """An unknown key, a part that lacks, no signature, a time that is too far away, another region."""
    good = signed_by_crt(service, "POST", "/", {}, b"")

    def changed(text):
        headers = dict(good.headers) | {"authorization": text}
        return SignedRequest(good.method, good.path, good.query, headers, good.body)

    line = good.headers["authorization"]
    none = {name: value for name, value in good.headers.items() if name != "authorization"}
    found = [
        refusal(changed(line.replace("AKIDEXAMPLE", "AKIDOTHER")), service)[0],
        refusal(changed(line.partition(", Signature=")[0]), service)[0],
        refusal(SignedRequest(good.method, good.path, good.query, none, good.body), service)[0],
        refusal(good, service, NOW + timedelta(minutes=16))[0],
        refusal(good, service, region="eu-west-1")[0],
    ]
    assert found == codes
    for text in (
        "AWS4-HMAC-SHA512 " + line.partition(" ")[2],
        "Basic eA==",
        "AWS4-HMAC-SHA256 Credential=a/b",
        "\udcff",
    ):
        assert refusal(changed(text), service)[0] == codes[1]


@pytest.mark.parametrize(("service", "minutes"), [("sagemaker", 5), ("monitoring", 5), ("s3", 15)])
def test_the_clock_may_differ_by_the_services_limit(service, minutes):
    """At the limit a request is accepted, a second beyond it is refused, before and after; the message names both."""
    good = signed_by_crt(service, "GET", "/", {}, b"")
    limit = timedelta(minutes=minutes)
    for sign in (1, -1):
        verify(good, service, NOW + sign * limit)
        message = refusal(good, service, NOW + sign * (limit + timedelta(seconds=1)))[2]
        assert (
            ("RequestTime" in message or "too large" in message)
            if service == "s3"
            else (STAMP in message and "5 min" in message)
        )


def test_a_presigned_url_is_valid_until_it_expires():
    """A query string that AWS's signer presigned for ten minutes verifies until then, and not when it is changed."""
    request = signed_by_crt("s3", "GET", "/bucket/a%20key", {}, b"", presigned=True, signed_value="UNSIGNED-PAYLOAD")
    verify(request, "s3", NOW + timedelta(seconds=600))
    assert refusal(request, "s3", NOW + timedelta(seconds=601)) == ("AccessDenied", 403, "Request has expired")
    longer = SignedRequest(
        "GET", request.path, request.query.replace("Expires=600", "Expires=6000"), request.headers, b""
    )
    assert refusal(longer, "s3")[0] == "SignatureDoesNotMatch"


def chunked(*, trailer):
    """Return an aws-chunked upload whose chunks, and trailer, AWS's signer signed."""
    chunks = [b"a" * 70000, b"b" * 10, b""]
    value = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if trailer else "")
    headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": "70010"}
    request = signed_by_crt("s3", "PUT", "/bucket/key", headers, b"", signed_value=value)
    previous = request.headers["authorization"].rpartition("Signature=")[2]
    body = b""
    key = f"AWS4{KEYS['AKIDEXAMPLE']}".encode()
    for step in ("20261127", "us-east-1", "s3", "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")

    def sign(kind, *digests):
        text = "\n".join((f"AWS4-HMAC-SHA256-{kind}", STAMP, "20261127/us-east-1/s3/aws4_request", previous, *digests))
        return hmac.digest(key, text.encode(), "sha256").hex()

    empty = hashlib.sha256(b"").hexdigest()
    for chunk in chunks:
        previous = sign("PAYLOAD", empty, hashlib.sha256(chunk).hexdigest())
        body += b"%x;chunk-signature=%s\r\n" % (len(chunk), previous.encode())
        body += chunk + b"\r\n" if chunk else b""
    if trailer:
        line = b"x-amz-checksum-crc32:AAAAAA=="
        signature = sign("TRAILER", hashlib.sha256(line + b"\n").hexdigest())
        body += line + b"\r\nx-amz-trailer-signature:" + signature.encode() + b"\r\n"
    return SignedRequest("PUT", request.path, request.query, request.headers, body + b"\r\n")


@pytest.mark.parametrize("trailer", [False, True])
def test_the_chunks_and_trailers_of_an_upload_are_verified(trailer):
    """A chain of chunk signatures as S3's reference describes it verifies; a changed byte, a chunk left out and a
    changed trailer are refused.
    """
    good = chunked(trailer=trailer)
    verify(good, "s3")
    body = good.body
    second = body.index(b"a;chunk-signature", 70000)
    variants = [
        body.replace(b"aa", b"ab", 1),
        body[:second] + body[second + 10 + 80 :],
        body.replace(b"bbb", b"bba", 1),
    ]
    variants += (
        [body.replace(b"AAAA", b"AAAB"), body.replace(b"x-amz-trailer-signature", b"x-amz-other")] if trailer else []
    )
    for changed in variants:
        assert changed != body
        assert (
            refusal(SignedRequest("PUT", good.path, good.query, good.headers, changed), "s3")[0]
            == "SignatureDoesNotMatch"
        )


def test_the_example_of_the_s3_reference_verifies():
    """The chunked upload in S3's API reference has the signatures that are printed there."""
    headers = {
        "host": "s3.amazonaws.com",
        "x-amz-date": "20130524T000000Z",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
        "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": "66560",
        "content-length": "66824",
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    }
    signatures = [
        b"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ]
    sizes = [65536, 1024, 0]
    body = b"".join(
        b"%x;chunk-signature=%s\r\n%s\r\n" % (size, signature, b"a" * size)
        for size, signature in zip(sizes, signatures, strict=True)
    )

    def verify_body(body):
        verify_signature(
            SignedRequest("PUT", "/examplebucket/chunkObject.txt", "", headers, body),
            keys={"AKIAIOSFODNN7EXAMPLE": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
            region="us-east-1",
            service="s3",
            now=datetime(2013, 5, 24, tzinfo=UTC).timestamp(),
        )

    verify_body(body)  # raises nothing
    with pytest.raises(ServiceError) as caught:
        verify_body(body.replace(b"aaa", b"aab", 1))
    assert caught.value.code == "SignatureDoesNotMatch"


def calls(emulator):
    """Yield one call of every service, as boto3 signs it."""
    with client("sagemaker", emulator) as sagemaker:
        yield "sagemaker", sagemaker.list_models
    with client("sagemaker-runtime", emulator) as runtime:
        yield "runtime", lambda: runtime.invoke_endpoint(EndpointName="endpoint", Body=b"1,2")
    with client("cloudwatch", emulator) as cloudwatch:
        yield "cloudwatch", cloudwatch.list_metrics
    with client("sts", emulator) as sts:
        yield "sts", sts.get_caller_identity
    with client("service-quotas", emulator) as quotas:
        yield "quotas", lambda: quotas.list_service_quotas(ServiceCode="sagemaker")
    with client("s3", emulator) as s3:
        s3_calls = (
            lambda: s3.create_bucket(Bucket="bucket"),
            lambda: s3.put_object(Bucket="bucket", Key="a b+ü/~", Body=b"x"),
        )
        for call in s3_calls:
            yield "s3", call
        yield "s3", lambda: s3.list_objects_v2(Bucket="bucket", Prefix="a b", Delimiter="/")


CODES = {
    **dict.fromkeys(("sagemaker", "runtime", "quotas"), ("InvalidSignatureException", "UnrecognizedClientException")),
    **dict.fromkeys(("cloudwatch", "sts"), ("SignatureDoesNotMatch", "InvalidClientTokenId")),
    "s3": ("SignatureDoesNotMatch", "InvalidAccessKeyId"),
}


@pytest.mark.parametrize(
    "keys", [{"test": "test"}, {"test": "other"}, {"other": "test"}], ids=["known", "secret", "key"]
)
def test_boto3_gets_through_with_the_known_key_only(keys):
    """Every service answers boto3 with the account's key, and refuses another secret and another key in its own code."""
    with emulated(signing_keys=keys) as emulator:
        deploy(emulator)
        for service, call in calls(emulator):
            if keys == {"test": "test"}:
                assert call()["ResponseMetadata"]["HTTPStatusCode"] == 200
            else:
                with pytest.raises(ClientError) as caught:
                    call()
                assert caught.value.response["Error"]["Code"] == CODES[service]["other" in keys]


def test_a_presigned_url_of_boto3_needs_no_headers():
    """A presigned GET and PUT work with any HTTP client, and not with another key's object or a changed query."""
    with emulated(signing_keys={"test": "test"}) as emulator, client("s3", emulator, signature_version="s3v4") as s3:
        s3.create_bucket(Bucket="bucket")
        place = {"Bucket": "bucket", "Key": "a b"}
        put, get = (s3.generate_presigned_url(name, place) for name in ("put_object", "get_object"))
        assert fetch(put, b"content", method="PUT", Content_Type="text/plain")[0] == 200
        assert fetch(get)[2] == b"content"
        status, _, text = fetch(get.replace("a%20b", "other"))
        assert (status, b"<Code>SignatureDoesNotMatch</Code>" in text) == (403, True)


def test_an_unsigned_request_is_refused_except_to_the_emulators_own_pages():
    """Without a signature InvokeEndpoint, JSON and query calls get 403; /ledger and /faults answer."""
    with emulated(signing_keys={"test": "test"}) as emulator:
        deploy(emulator)
        assert fetch(f"{emulator.url}/endpoints/endpoint/invocations", b"1")[0] == 403
        assert fetch(f"{emulator.url}/", b"{}", X_Amz_Target="SageMaker.ListModels")[0] == 403
        assert fetch(f"{emulator.url}/", b"Action=GetCallerIdentity&Version=2011-06-15")[0] == 403
        assert fetch(f"{emulator.url}/bucket/key")[0] == 403
        assert [fetch(f"{emulator.url}/{page}")[0] for page in ("ledger", "faults")] == [200, 200]


@pytest.mark.parametrize("transport", ["wire", "botocore"])
def test_both_transports_pass_an_emulator_that_verifies(transport):
    """`Emulated(verify_signatures=True)` deploys, and its calls over the wire transport and the SDK are answered."""

    async def call():
        target = Emulated("instant", time_scale=1000.0, transport=transport, verify_signatures=True)
        async with target.open(ServerlessConfig(1024, 1)) as opened:
            return [await opened.invoke(Request(body)) for body in (b"1", b"\x00\xff", b"")]

    replies = asyncio.run(call())
    assert [reply.status for reply in replies] == [200, 200, 200]

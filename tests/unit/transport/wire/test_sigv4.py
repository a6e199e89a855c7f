"""Signatures: ours against botocore's and awscrt's, for the same random requests."""

import datetime as dt
import hashlib
import os
import random
from urllib.parse import quote

import pytest
from awscrt.auth import AwsCredentialsProvider, AwsSigningAlgorithm, AwsSigningConfig, aws_sign_request
from awscrt.http import HttpHeaders, HttpRequest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SdkCredentials

from loadgen.transport.wire.prepared_request import InvokeRequestTemplate, PreparedRequest, parse_url
from loadgen.transport.wire.sigv4 import Credentials, Signer, canonical_path, canonical_request, signing_key
from loadgen.workload.request import Request

CASES = int(os.environ.get("LOADGEN_SIGV4_CASES", "10000"))
LETTERS = "abcXYZ019-._~ +%/?#&=!*'()@:;,[]äß✓é\N{SNOWMAN}"
VALUES = "abcXYZ019 \t+%/?#&=!*'()@:;,[]\"{}<>|^`~"
NAMES = (
    "Content-Type",
    "Accept",
    "X-Amzn-SageMaker-Custom-Attributes",
    "X-Amzn-SageMaker-Target-Model",
    "X-Amzn-SageMaker-Target-Variant",
    "X-Amzn-SageMaker-Target-Container-Hostname",
    "X-Amzn-SageMaker-Inference-Id",
    "X-Amzn-SageMaker-Enable-Explanations",
    "X-Amzn-SageMaker-Inference-Component",
    "X-Amzn-SageMaker-Session-Id",
)


def made_case(seed):
    """One random request: its path, headers, body, keys, region and moment."""
    dice = random.Random(seed)
    name = "".join(dice.choices(LETTERS, k=dice.randint(1, 63)))
    prefix = dice.choice(("", "", "", "/", "//a", "/a/./b", "/a/../b", "/x%20y"))
    path = f"{prefix}/endpoints/{quote(name, safe='-._~')}/invocations"
    headers = {n: "".join(dice.choices(VALUES, k=dice.randint(0, 60))) for n in NAMES if dice.random() < 0.4}
    headers["host"] = dice.choice(("runtime.sagemaker.eu-west-1.amazonaws.com", "127.0.0.1:4566", "[::1]:80"))
    body = dice.randbytes(dice.choice((0, 0, 1, 7, 100, 5000)))
    if seed % 4000 == 1:
        body = dice.randbytes(4 * 1024 * 1024)
    keys = Credentials(
        "AKIA" + "".join(dice.choices("ABCDEF0123", k=16)),
        "".join(dice.choices("abc/+XYZ09", k=40)),
        dice.choice(("", "Token/" + "".join(dice.choices("abc/+=09", k=300)))),
    )
    region = dice.choice(("us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1", "ap-southeast-3"))
    moment = dt.datetime.fromtimestamp(dice.randint(1_000_000_000, 4_000_000_000), dt.UTC)
    return path, headers, body, keys, region, moment


def ours(path, headers, body, keys, region, moment):
    """The Authorization value that the code under test gives."""
    timestamp = f"{moment:%Y%m%dT%H%M%SZ}"
    signed = headers | {"x-amz-date": timestamp} | ({"X-Amz-Security-Token": keys.token} if keys.token else {})
    canonical, names = canonical_request("POST", path, signed, hashlib.sha256(body).hexdigest())
    return Signer(keys, region, "sagemaker").authorization(timestamp, canonical.encode(), names)


def botocores(path, headers, body, keys, region, moment):
    """What botocore's signer gives, its clock set by hand."""
    request = AWSRequest("POST", f"http://{headers['host']}{path}", headers=dict(headers), data=body)
    request.context["timestamp"] = f"{moment:%Y%m%dT%H%M%SZ}"
    auth = SigV4Auth(SdkCredentials(keys.access_key, keys.secret_key, keys.token or None), "sagemaker", region)
    auth._modify_request_before_signing(request)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    auth._inject_signature_to_request(request, auth.signature(text, request))
    return request.headers["Authorization"]


def crts(path, headers, body, keys, region, moment):
    """What AWS's own C library gives."""
    request = HttpRequest("POST", path, HttpHeaders(list(headers.items())))
    config = AwsSigningConfig(
        algorithm=AwsSigningAlgorithm.V4,
        credentials_provider=AwsCredentialsProvider.new_static(keys.access_key, keys.secret_key, keys.token or None),
        region=region,
        service="sagemaker",
        date=moment,
        use_double_uri_encode=True,
        should_normalize_uri_path=True,
        signed_body_value=hashlib.sha256(body).hexdigest(),
    )
    aws_sign_request(request, config).result(10)
    return request.headers.get("Authorization")


@pytest.mark.parametrize("shard", range(8))
def test_signatures_equal_botocores(shard):
    """Every random request is signed exactly as botocore signs it: all of LOADGEN_SIGV4_CASES, in eight parts."""
    for seed in range(shard, CASES, 8):
        case = made_case(seed)
        assert ours(*case) == botocores(*case), f"seed {seed}"


@pytest.mark.parametrize("shard", range(8))
def test_signatures_equal_those_of_the_c_library(shard):
    """Every random request is signed exactly as awscrt signs it; tabs aside, which awscrt does not fold."""
    for seed in range(shard, CASES, 8):
        path, headers, *rest = made_case(seed)
        headers = {name: value.replace("\t", " ") for name, value in headers.items()}
        assert ours(path, headers, *rest) == crts(path, headers, *rest), f"seed {seed}"


def test_the_published_key_is_derived():
    """The key of AWS's own worked example comes out ("Deriving the signing key", AWS General Reference)."""
    key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830", "us-east-1", "iam")
    assert key.hex() == "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"


def test_a_new_day_has_a_new_key():
    """A signer that lives past midnight signs as one made on the new day does."""
    keys = Credentials("AKID", "secret")
    old = Signer(keys, "us-east-1", "sagemaker")
    first = old.authorization("20261231T235959Z", b"x", "host")
    second = old.authorization("20270101T000000Z", b"x", "host")
    fresh = Signer(keys, "us-east-1", "sagemaker")
    assert second == fresh.authorization("20270101T000000Z", b"x", "host")
    assert "/20261231/" in first
    assert "/20270101/" in second


def test_no_key_shows_in_a_repr():
    """Neither credentials nor a signer show any part of a key."""
    keys = Credentials("AKIACANARY", "SECRETCANARY", "TOKENCANARY")
    shown = repr(keys) + repr(Signer(keys, "us-east-1", "sagemaker"))
    assert "CANARY" not in shown


def test_a_slash_at_the_end_is_kept():
    """The signed path keeps its last slash, as a path that is only a slash does."""
    assert canonical_path("/a/") == "/a/"
    assert canonical_path("") == canonical_path("/") == "/"


def test_a_prepared_call_is_signed_as_botocore_signs_it():
    """What goes over the wire carries botocore's signature in every second of an hour, and changes with the second."""
    keys = Credentials("AKID", "secret", "token")
    request = Request(b"1,2", content_type="text/csv", custom_attributes="a  b", target_model="m.tar.gz")
    envelope = InvokeRequestTemplate(
        parse_url("https://h.example/base/"), "my-endpoint", "eu-west-1", "sagemaker", "agent"
    )
    prepared = PreparedRequest(request, envelope, Signer(keys, "eu-west-1", "sagemaker"), id_prefix="p")
    seen = set()
    for second in range(1_800_000_000, 1_800_003_600, 60):
        prepared.sign(second)
        line = next(
            line for line in prepared.bytes_before_id.decode().split("\r\n") if line.startswith("Authorization: ")
        )
        moment = dt.datetime.fromtimestamp(second, dt.UTC)
        headers = {
            "Content-Type": "text/csv",
            "X-Amzn-SageMaker-Custom-Attributes": "a  b",
            "X-Amzn-SageMaker-Target-Model": "m.tar.gz",
            "host": "h.example",
        }
        wanted = botocores("/base/endpoints/my-endpoint/invocations", headers, b"1,2", keys, "eu-west-1", moment)
        assert line == f"Authorization: {wanted}"
        seen.add(line)
    assert len(seen) == 60

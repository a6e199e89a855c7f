"""A second opinion on signatures: moto's server, which checks each one as AWS would, accepts ours and no forgery."""

import asyncio
import json
import re
import socket
import time
import urllib.request
import uuid
from urllib.parse import urlsplit

import boto3
import pytest
from moto.server import ThreadedMotoServer

from loadgen.transport.wire.prepared_request import InvokeRequestTemplate, PreparedRequest, parse_url
from loadgen.transport.wire.sigv4 import Credentials, Signer
from loadgen.transport.wire.transport import WireSettings, open_wire
from loadgen.workload.request import Request
from tests.support.wire import LOOPS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
REQUEST = Request(b"1,2,3", content_type="text/csv", accept="application/json", session_id="s", target_model="m")


def check_from(url, calls):
    """Have moto check signatures after so many more calls."""
    plain = {"Content-Type": "text/plain"}
    reset = urllib.request.Request(f"{url}/moto-api/reset-auth", data=calls, headers=plain, method="POST")
    with urllib.request.urlopen(reset) as answer:
        assert answer.status == 200


@pytest.fixture(scope="module")
def strict():
    """Moto's server, a user allowed everything, and that user's keys; every call is checked."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    options = {"endpoint_url": url, "region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    iam = boto3.client("iam", **options)
    # Moto's state is the process's, and this fixture may be set up more than once in it.
    user = f"loader-{uuid.uuid4()}"
    iam.create_user(UserName=user)
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName=user, PolicyName="all", PolicyDocument=json.dumps(everything))
    key = iam.create_access_key(UserName=user)["AccessKey"]
    iam.close()
    check_from(url, b"0")
    yield url, Credentials(key["AccessKeyId"], key["SecretAccessKey"])
    check_from(url, b"inf")  # moto's settings outlive the server
    server.stop()


def called(url, credentials, request=REQUEST):
    """Make one call through the wire transport."""

    async def provider():
        return credentials

    async def main():
        settings = WireSettings(url, "us-east-1", provider)
        async with open_wire(settings, "my-endpoint", connections=1) as transport:
            return await transport.invoke(request)

    with asyncio.Runner(loop_factory=LOOPS["asyncio"]) as runner:
        return runner.run(main())


def test_a_signed_call_is_accepted(strict):
    """Moto recomputes the signature and lets the call through to its model."""
    reply = called(*strict)
    assert (reply.status, reply.code) == (200, ""), reply


def signed(url, credentials):
    """The bytes of one call, signed now."""
    envelope = InvokeRequestTemplate(parse_url(url), "my-endpoint", "us-east-1", "sagemaker", "agent")
    prepared = PreparedRequest(REQUEST, envelope, Signer(credentials, "us-east-1", "sagemaker"), id_prefix="0" * 24)
    prepared.sign(int(time.time()))
    return prepared.bytes_before_id + b"0" * 12 + prepared.bytes_after_id


def status_of(url, data):
    """Send raw bytes to moto; return the status it answers."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as sock:
        sock.sendall(data)
        return int(sock.recv(65536).split(b" ", 2)[1])


# name -> (pattern, what it is replaced by)
TAMPERINGS = {
    "the body": (rb"1,2,3$", b"1,2,4"),
    "the body's length": (rb"Content-Length: 5\r\n\r\n1,2,3$", b"Content-Length: 4\r\n\r\n1,2,"),
    "a longer body": (rb"Content-Length: 5\r\n\r\n1,2,3$", b"Content-Length: 6\r\n\r\n1,2,3,"),
    "the endpoint": (rb"/my-endpoint/", b"/another/"),
    "the operation": (rb"/invocations ", b"/async-invocations "),
    "a query": (rb"/invocations ", b"/invocations?a=b "),
    "the content type": (rb"text/csv", b"text/tsv"),
    "the content type left out": (rb"Content-Type: text/csv\r\n", b""),
    "Accept": (rb"Accept: application/json", b"Accept: text/html"),
    "the model": (rb"Target-Model: m", b"Target-Model: n"),
    "the session": (rb"Session-Id: s", b"Session-Id: t"),
    "the date": (rb"X-Amz-Date: (\d{8})T\d{6}Z", rb"X-Amz-Date: \1T000000Z"),
    "the day": (rb"X-Amz-Date: \d{8}", b"X-Amz-Date: 20200101"),
    "the service": (rb"/sagemaker/aws4_request", b"/runtime.sagemaker/aws4_request"),
    "the region": (rb"/us-east-1/", b"/eu-west-1/"),
    "the key's name": (rb"Credential=....", b"Credential=ZZZZ"),
    "the signed headers": (rb"SignedHeaders=accept;", b"SignedHeaders="),
    "the model's case": (rb"Target-Model: m", b"Target-Model: M"),
    "the signature": (rb"Signature=[0-9a-f]{8}", b"Signature=00000000"),
    "no signature": (rb"Signature=[0-9a-f]{64}", b"Signature="),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_tampered_call_is_refused(strict, name):
    """Whatever of the signed request is changed, moto answers 403; the same bytes unchanged are taken (G16)."""
    url, credentials = strict
    pattern, replacement = TAMPERINGS[name]
    data = signed(url, credentials)
    forged, count = re.subn(pattern, replacement, data)
    assert count == 1
    assert status_of(url, forged) == 403
    assert status_of(url, data) == 200


def test_the_wrong_secret_is_refused(strict):
    """A call signed with another secret is a reply, not an exception; moto's XML error has no code for the transport."""
    url, credentials = strict
    reply = called(url, Credentials(credentials.access_key, "wrong" + credentials.secret_key))
    assert (reply.status, reply.code) == (403, "403")
    assert "SignatureDoesNotMatch" in reply.message


def test_what_is_not_signed_may_change(strict):
    """User-Agent and the amz-sdk headers are outside the signature, which is what lets calls be numbered."""
    url, credentials = strict
    data = signed(url, credentials)
    changed = data.replace(b"User-Agent: agent", b"User-Agent: other").replace(b"0" * 12 + b"\r\n", b"1" * 12 + b"\r\n")
    assert changed != data
    assert status_of(url, changed) == 200

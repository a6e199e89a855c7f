"""An emulator that asks for a token and verifies signatures: a request needs both, and neither costs memory."""

import itertools

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.emulator import client, deploy, emulated, endpoint_counters, fetch
from tests.support.processing_jobs import ROLE, job_account, wait_for_job

TOKEN = "a-token-of-the-test-0123456789"
KEYS = {"test": "test"}
MIB = 2**20


def outcome(emulator, service, call, *, secret, token):
    """Return 200, or the code of the error, of a call that boto3 signs with a secret and a token."""
    config = Config(retries={"total_max_attempts": 1})
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": secret, "aws_session_token": token}
    opened = boto3.session.Session(region_name="us-east-1", **keys).client(
        service, endpoint_url=emulator.url, config=config
    )
    try:
        return call(opened)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["Error"]["Code"]
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("service", "call", "denied", "unsigned"),
    [
        ("sagemaker", lambda c: c.list_processing_jobs(), "AccessDeniedException", "InvalidSignatureException"),
        ("s3", lambda c: c.list_buckets(), "AccessDenied", "SignatureDoesNotMatch"),
        ("s3", lambda c: c.put_object(Bucket="bucket", Key="k", Body=b"x"), "AccessDenied", "SignatureDoesNotMatch"),
    ],
)
def test_a_request_for_jobs_or_s3_needs_both(service, call, denied, unsigned):
    """Of the four pairs of right and wrong token and secret one passes; without the token the denial comes first."""
    with job_account(token=TOKEN, signing_keys=KEYS) as emulator:
        emulator.storage.create_bucket("bucket")
        found = {
            (token == TOKEN, secret == "test"): outcome(emulator, service, call, secret=secret, token=token)
            for token, secret in itertools.product((TOKEN, TOKEN[:-1]), ("test", "other"))
        }
    assert found == {(True, True): 200, (True, False): unsigned, (False, True): denied, (False, False): denied}


def test_requests_that_need_no_token_need_the_signature():
    """Next to jobs, models and invocations need a valid signature and no token; a wrong secret gets the service's code."""
    with job_account(token=TOKEN, signing_keys=KEYS) as emulator:
        deploy(emulator, model="model")
        for service, call in (
            ("sagemaker", lambda c: c.list_models()),
            ("sagemaker-runtime", lambda c: c.invoke_endpoint(EndpointName="endpoint", Body=b"1")),
        ):
            assert outcome(emulator, service, call, secret="test", token=None) == 200
            assert outcome(emulator, service, call, secret="other", token=None) == "InvalidSignatureException"
            assert outcome(emulator, service, call, secret="other", token=TOKEN) == "InvalidSignatureException"


@pytest.mark.parametrize("keys", [{}, KEYS], ids=["any signature", "verified"])
def test_a_presigned_url_carries_the_token(keys):
    """A URL that boto3 presigns with the token in its query string is served; with another token, or none, it is not."""
    with (
        job_account(token=TOKEN, signing_keys=keys) as emulator,
        client("s3", emulator, signature_version="s3v4") as s3,
    ):
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="key", Body=b"content")
        url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "key"})
        assert f"X-Amz-Security-Token={TOKEN}" in url
        assert fetch(url)[::2] == (200, b"content")
        for changed in (url.replace(TOKEN, TOKEN[:-1]), url.replace(f"&X-Amz-Security-Token={TOKEN}", "")):
            status, _, body = fetch(changed)
            assert (status, b"<Code>AccessDenied</Code>" in body, b"content" in body) == (403, True, False)


def test_a_job_signs_with_a_key_of_the_account():
    """The command of a job reaches S3 of an emulator that verifies signatures, with the credentials of its environment."""
    source = "import boto3; boto3.client('s3').put_object(Bucket='bucket', Key='from-the-job', Body=b'x')"
    application = {"ImageUri": "any", "ContainerEntrypoint": ["python3", "-c", source]}
    cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
    request = {"RoleArn": ROLE, "AppSpecification": application, "ProcessingResources": {"ClusterConfig": cluster}}
    with job_account(signing_keys=KEYS) as emulator, client("sagemaker", emulator) as sagemaker:
        emulator.storage.create_bucket("bucket")
        sagemaker.create_processing_job(ProcessingJobName="job", **request)
        ended = wait_for_job(emulator, "job")
        assert ended["ProcessingJobStatus"] == "Completed", ended
        assert emulator.storage.get("bucket", "from-the-job").body == b"x"


def test_a_verified_invocation_is_not_held():
    """Invocations of three times the memory for bodies are served when signed, refused when changed, and count if served."""
    body = bytes(3 * MIB)
    with emulated(body_memory=MIB, signing_keys=KEYS) as emulator, client("sagemaker-runtime", emulator) as runtime:
        deploy(emulator)
        runtime.invoke_endpoint(EndpointName="endpoint", Body=body)
        runtime.meta.events.register("before-send", change_last_byte)
        with pytest.raises(ClientError) as caught:
            runtime.invoke_endpoint(EndpointName="endpoint", Body=body)
        assert caught.value.response["Error"]["Code"] == "InvalidSignatureException"
        counters = endpoint_counters(emulator)
        assert (counters["arrivals"], counters["ok"], counters["bytes_in"]) == (1, 1, 3 * MIB)
        assert emulator._bodies.held_bytes == 0


def change_last_byte(request, **_):
    """Change a body after it was signed."""
    request.body = request.body[:-1] + b"x"

"""Access to the emulator: the token of Processing jobs and S3, host names, and paths that a job may name."""

import json

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from loadgen.emulator.access import AccessPolicy, access_policy
from loadgen.emulator.server import Settings
from loadgen.errors import UsageError
from tests.support.emulator import client, emulated, fetch
from tests.support.processing_jobs import ROLE, job_account, run_command, wait_for_job

TOKEN = "a-token-of-the-test-0123456789"
WRONG_TOKENS = ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "tök€n".encode().decode("latin-1")]
S3_SIGNATURE = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
STS_SIGNATURE = S3_SIGNATURE.replace("/s3/", "/sts/")
RESOURCES = {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}}


def job_input(source, **more):
    """Return CreateProcessingJob's input for a job that runs one line of Python."""
    application = {"ImageUri": "any", "ContainerEntrypoint": ["python3", "-c"], "ContainerArguments": [source]}
    return {
        "ProcessingJobName": "job",
        "RoleArn": ROLE,
        "AppSpecification": application,
        "ProcessingResources": RESOURCES,
    } | more


def output(local_path, key="out"):
    """Return a ProcessingOutputConfig of one output."""
    target = {"S3Uri": f"s3://bucket-of-jobs/{key}", "LocalPath": local_path, "S3UploadMode": "EndOfJob"}
    return {"Outputs": [{"OutputName": "out", "S3Output": target}]}


def send(emulator, target, body, token):
    """Send one JSON operation without an SDK; return status and body."""
    headers = {"X_Amz_Target": f"SageMaker.{target}"} | ({"X_Amz_Security_Token": token} if token else {})
    status, _, answer = fetch(emulator.url, json.dumps(body).encode(), **headers)
    return status, answer


@pytest.mark.parametrize(
    "operation", ["CreateProcessingJob", "StopProcessingJob", "DescribeProcessingJob", "ListProcessingJobs"]
)
def test_a_job_needs_the_token(operation, tmp_path):
    """An emulator that runs jobs refuses every operation on them without its token: 403, the action, what to set, and no command is run."""
    with job_account(token=TOKEN) as emulator:
        source = f"open({str(tmp_path / 'ran')!r}, 'w')"
        for token in WRONG_TOKENS:
            status, body = send(emulator, operation, job_input(source), token)
            assert status == 403
            error = json.loads(body)
            assert error["__type"] == "AccessDeniedException"
            assert f"not authorized to perform: sagemaker:{operation}" in error["message"]
            assert "AWS_SESSION_TOKEN" in error["message"]
            assert TOKEN not in error["message"]
        with client("sagemaker", emulator) as sagemaker:
            assert sagemaker.list_processing_jobs()["ProcessingJobSummaries"] == []
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("PUT", "/bucket-of-jobs"),
        ("PUT", "/bucket-of-jobs/key"),
        ("GET", "/bucket-of-jobs/key"),
        ("DELETE", "/bucket-of-jobs/key"),
        ("POST", "/bucket-of-jobs?delete"),
        ("POST", "/bucket-of-jobs/key?uploads"),
    ],
)
def test_s3_needs_the_token(method, path):
    """An emulator that runs jobs refuses every S3 operation without its token as AccessDenied, and nothing changes."""
    with job_account(token=TOKEN) as emulator, client("s3", emulator) as s3:
        s3.create_bucket(Bucket="bucket-of-jobs")
        s3.put_object(Bucket="bucket-of-jobs", Key="key", Body=b"mine")
        for token in WRONG_TOKENS:
            headers = {"Authorization": S3_SIGNATURE} | ({"X_Amz_Security_Token": token} if token else {})
            status, _, body = fetch(emulator.url + path, b"x" if method != "GET" else None, method=method, **headers)
            assert status == 403
            assert b"<Code>AccessDenied</Code>" in body
            assert b"mine" not in body
        assert emulator.storage.get("bucket-of-jobs", "key").body == b"mine"
        assert emulator.storage.bucket_names() == ["bucket-of-jobs"]


def test_boto3_passes_the_token_as_its_session_token(monkeypatch):
    """A client of boto3 with AWS_SESSION_TOKEN in its environment creates a job; one without gets AccessDeniedException."""
    for name, value in {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}.items():
        monkeypatch.setenv(name, value)
    with job_account(token=TOKEN) as emulator:

        def create():
            config = Config(retries={"total_max_attempts": 1})
            sagemaker = boto3.session.Session(region_name="us-east-1").client(
                "sagemaker", endpoint_url=emulator.url, config=config
            )
            try:
                return sagemaker.create_processing_job(**job_input("pass"))
            finally:
                sagemaker.close()

        monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
        with pytest.raises(ClientError) as caught:
            create()
        assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
        monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
        assert create()["ProcessingJobArn"].endswith(":processing-job/job")
        wait_for_job(emulator, "job")


def test_a_job_gets_the_token():
    """The command of a job finds the token as AWS_SESSION_TOKEN, whatever its Environment says."""
    source = "import os; open('/opt/ml/processing/out/token', 'w').write(os.environ['AWS_SESSION_TOKEN'])"
    request = job_input(source, Environment={"AWS_SESSION_TOKEN": "another"})
    with job_account(token=TOKEN) as emulator, client("sagemaker", emulator) as sagemaker:
        emulator.storage.create_bucket("bucket-of-jobs")
        sagemaker.create_processing_job(**request, ProcessingOutputConfig=output("/opt/ml/processing/out"))
        assert wait_for_job(emulator, "job")["ProcessingJobStatus"] == "Completed"
        assert emulator.storage.get("bucket-of-jobs", "out/token").body == TOKEN.encode()


def test_a_token_is_made_where_none_is_given():
    """Two emulators that run jobs have different tokens of 256 random bits; one on loopback that runs none has no token."""
    with job_account() as first, job_account() as second, emulated() as open_one:
        assert len({first.token, second.token}) == 2
        assert min(len(first.token), len(second.token)) >= 256 / 6
        assert open_one.token == ""
        assert fetch(f"{open_one.url}/bucket-of-jobs", b"", method="PUT", Authorization=S3_SIGNATURE)[0] == 200


@pytest.mark.parametrize("token", ["short", "with blanks in between", "line\r\nbreak-0123456789", "é" * 20])
def test_a_token_that_no_header_can_carry_is_refused(token):
    """A token of other characters, or of fewer than 16, is a UsageError that does not repeat it."""
    with pytest.raises(UsageError) as caught:
        Settings(token=token)
    assert token not in str(caught.value)
    assert TOKEN not in repr(Settings(token=TOKEN))


def test_off_loopback_every_request_needs_the_token():
    """Under a further host name, each service, the ledger and the faults answer 403 without the token and serve with it."""
    requests = [
        ("/", b"{}", {"X_Amz_Target": "SageMaker.ListEndpoints"}),
        ("/", b"{}", {"X_Amz_Target": "GraniteServiceVersion20100801.ListMetrics"}),
        ("/", b"Action=GetCallerIdentity&Version=2011-06-15", {"Authorization": STS_SIGNATURE}),
        ("/", b"Action=ListMetrics&Version=2010-08-01", {}),
        ("/endpoints/endpoint/invocations", b"1", {}),
        ("/bucket-of-jobs", b"", {"Authorization": S3_SIGNATURE}),
        ("/ledger", None, {}),
        ("/faults", None, {}),
    ]
    with emulated(token=TOKEN, host_names=("emulator", "my_network-alias.internal")) as emulator:
        for path, body, headers in requests:
            method = "PUT" if path == "/bucket-of-jobs" else None
            for host in ("emulator:8123", "my_network-alias.internal"):
                named = headers | {"Host": host}
                status, _, refused = fetch(emulator.url + path, body, method=method, **named)
                assert (status, b"not authorized to perform" in refused) == (403, True), path
                served = fetch(emulator.url + path, body, method=method, **named, X_Amz_Security_Token=TOKEN)[0]
                assert served != 403, path
        assert emulator.ledger.unknown_endpoint_requests == 2
        assert fetch(f"{emulator.url}/ledger", Host="another:8123", X_Amz_Security_Token=TOKEN)[0] == 403


@pytest.mark.parametrize(
    ("host", "local_address", "expected"),
    [
        ("172.17.0.2:8123", "172.17.0.2", True),
        ("172.17.0.3:8123", "172.17.0.2", False),
        ("[fd00::2]:8123", "fd00::2", True),
        ("emulator", "172.17.0.2", True),
        ("EMULATOR:1", "172.17.0.2", True),
        ("emulator.evil.example", "172.17.0.2", False),
        ("emulator:65536", "172.17.0.2", False),
        ("emulator:80@evil", "172.17.0.2", False),
        ("emulator, evil", "172.17.0.2", False),
        ("", "", False),
    ],
)
def test_the_hosts_of_an_emulator_on_a_network(host, local_address, expected):
    """A Host is the address on which the connection arrived, a loopback name or a given name, with a port of at most 65535."""
    policy = AccessPolicy(TOKEN, covers_all=True, host_names=("emulator",))
    assert policy.is_own_host([host], [], local_address) is expected


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "172.17.0.2"])
def test_an_address_off_loopback_needs_a_token(host):
    """Without a token such an address is a UsageError; with one, the token covers every request."""
    with pytest.raises(UsageError, match="loopback only"):
        access_policy(Settings(), host)
    assert access_policy(Settings(token=TOKEN), host) == AccessPolicy(TOKEN, covers_all=True)


OUTSIDE_PATHS = [
    *("/etc/ssl", "/", "etc/ssl", "~/x", "/opt/ml", "/opt/ml/model", "/opt/ml/processing-not", "/OPT/ML/processing"),
    *("/opt/ml/processing/../../../etc", "/opt/ml/processing/..", "//opt/ml/processing/x", "/opt/ml/processing\0/x"),
]


@pytest.mark.parametrize("direction", ["input", "output"])
def test_a_local_path_outside_of_the_jobs_directory_is_refused(direction):
    """A LocalPath that is not in /opt/ml/processing gets 400 for an input and for an output, and no job is created."""
    with job_account(token=TOKEN) as emulator, client("sagemaker", emulator) as sagemaker:
        for local_path in OUTSIDE_PATHS:
            source = {"S3Uri": "s3://bucket-of-jobs/in", "LocalPath": local_path, "S3DataType": "S3Prefix"}
            member = (
                {"ProcessingOutputConfig": output(local_path)}
                if direction == "output"
                else {"ProcessingInputs": [{"InputName": "in", "S3Input": source}]}
            )
            status, body = send(emulator, "CreateProcessingJob", job_input("pass", **member), TOKEN)
            assert (status, json.loads(body)["__type"]) == (400, "ValidationException"), local_path
        assert sagemaker.list_processing_jobs()["ProcessingJobSummaries"] == []


@pytest.mark.parametrize(
    "source",
    [
        "import os; os.symlink({secret!r}, '/opt/ml/processing/out/file')",
        "import os; os.symlink({directory!r}, '/opt/ml/processing/out/directory')",
        "import os; os.rmdir('/opt/ml/processing/out'); os.symlink({directory!r}, '/opt/ml/processing/out')",
        "import os; os.rename('/opt/ml/processing', '/opt/ml/x'); os.symlink({parent!r}, '/opt/ml/processing')",
        "import os; os.symlink({secret!r}, '/opt/ml/output/message')",
    ],
    ids=["file", "directory", "output", "parent", "message"],
)
def test_links_of_an_output_are_not_followed(source, tmp_path):
    """A link in an output, in its place, above it, or as the exit message uploads and shows nothing of its target."""
    directory = tmp_path / "out"
    directory.mkdir()
    (directory / "secret").write_text("secret of the host")
    code = source.format(secret=str(directory / "secret"), directory=str(directory), parent=str(tmp_path))
    with job_account(token=TOKEN) as emulator, client("sagemaker", emulator) as sagemaker:
        emulator.storage.create_bucket("bucket-of-jobs")
        sagemaker.create_processing_job(
            **job_input(code), ProcessingOutputConfig=output("/opt/ml/processing/out", key="")
        )
        ended = wait_for_job(emulator, "job")
        assert ended["ProcessingJobStatus"] == "Completed", ended
        assert emulator.storage.keys("bucket-of-jobs", "") == []
        assert "secret" not in ended.get("ExitMessage", "")


def test_a_run_uses_the_token_of_its_environment(tmp_path):
    """`Emulated(url=...)` sends LOADGEN_EMULATOR_TOKEN, with every service and to the ledger; without it the run is refused."""
    source = (
        "from loadgen import ClosedLoop, Emulated, Request, Scenario, ServerlessConfig, Step\n"
        "scenario = Scenario(Emulated(url=%r), [Request(b'1')], [Step(ServerlessConfig(1024, 1), ClosedLoop(1, count=5))])\n"
    )
    with emulated(token=TOKEN, host_names=("emulator",), profile="instant", time_scale=1e4) as emulator:
        (tmp_path / "ask.py").write_text(source.replace("Emulated(", "Emulated('instant', ") % emulator.url)
        refused = run_command(emulator, tmp_path, "ask.py", "--out", "refused", token="")
        assert refused.returncode == 77, refused.stderr
        assert "LOADGEN_EMULATOR_TOKEN" in refused.stderr
        done = run_command(emulator, tmp_path, "ask.py", "--out", "done", token=TOKEN)
        assert done.returncode in (0, 110), done.stderr
        run_file = next((tmp_path / "done").rglob("run.json")).read_text()
        assert json.loads(run_file)["server_counts"]["ok"] == 5
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]

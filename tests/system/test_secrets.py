"""Credentials in no output of a run: terminal, debug log, results, report, also when a service repeats them."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.emulator import QUICK, emulated, fetch

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIACANARY1234567890",
    "AWS_SECRET_ACCESS_KEY": "canarysecret/abcdefghijklmnop0123456789+",
    "AWS_SESSION_TOKEN": "canarytoken0123456789abcdefghij==",
}
SIGNATURE = "c0ffee" * 11
ECHOES = [
    " ".join(CREDENTIALS.values()),
    f"AWS4-HMAC-SHA256 Credential=ASIACANARYOTHER00001/20260101/us-east-1/s3/aws4_request, Signature={SIGNATURE}",
    f"https://b.s3.amazonaws.com/k?X-Amz-Security-Token=canaryurltoken00112233&X-Amz-Signature={SIGNATURE}",
    json.dumps({"SecretAccessKey": "canaryjsonsecret00112233", "SessionToken": "canaryjsontoken00112233"}),
    "Authorization: Bearer canarybearer00112233445566",
]
NEEDLES = [*CREDENTIALS.values(), "ASIACANARYOTHER", SIGNATURE, "canary"]
SCENARIO = (
    "from loadgen import ClosedLoop, Request, SageMaker, Scenario, ServerlessConfig, Step\n"
    "scenario = Scenario(SageMaker('quick', metrics_timeout=1.0), [Request(b'1')],\n"
    "    [Step(ServerlessConfig(1024, 1), ClosedLoop(1, count=5))])\n"
)


@pytest.mark.parametrize(
    "operation", ["InvokeEndpoint", "CreateEndpoint", "DescribeEndpoint", "DescribeModel", "DeleteEndpoint"]
)
@pytest.mark.parametrize("message", ECHOES, ids=["own", "authorization", "presigned", "json", "bearer"])
def test_no_output_of_a_failing_run_has_a_credential(operation, message, tmp_path):
    """A service whose error repeats credentials, the caller's own or others, puts none of them into a file, stdout or the debug log."""
    (tmp_path / "ask.py").write_text(SCENARIO)
    code = "ValidationError" if operation == "InvokeEndpoint" else "ValidationException"
    fault = {"operation": operation, "kind": "error_before", "times": 0, "status": 400, "code": code}
    with emulated(models={"quick": QUICK}) as emulator:
        fetch(f"{emulator.url}/faults", json.dumps(fault | {"message": message}).encode())
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "TMPDIR") if name in os.environ}
        files = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_REGION": "us-east-1"}
        done = subprocess.run(
            [sys.executable, "-m", "loadgen", "ask.py", "--debug", "--out", "out"],
            check=False,
            cwd=tmp_path,
            env=kept | files | CREDENTIALS | {"AWS_ENDPOINT_URL": emulator.url},
            capture_output=True,
            timeout=100,
        )
    assert done.returncode not in (0, 70), done.stderr
    outputs = {"stdout": done.stdout, "stderr": done.stderr}
    outputs |= {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert b"[redacted]" in b"".join(outputs.values())
    assert [(name, needle) for name, text in outputs.items() for needle in NEEDLES if needle.encode() in text] == []

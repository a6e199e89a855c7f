"""The pinned and the newest boto3 run the same script against the emulator and get the same results.

The newest needs an environment of its own. LOADGEN_NEWEST_BOTO3_PYTHON may name its interpreter; else one is built
once a week in the user's cache directory, and where no package index can be reached the test is skipped.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.emulator import emulated, endpoint_counters, fetch

SCRIPT = Path(__file__).parents[1] / "support" / "boto3_script.py"
NOT_FOUND = 'Could not find endpoint "arn:aws:sagemaker:us-east-1:123456789012:endpoint/script-endpoint".'


def newest_python():
    """Return the interpreter of an environment with the newest boto3."""
    if given := os.environ.get("LOADGEN_NEWEST_BOTO3_PYTHON"):
        return given
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loadgen-tests"
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / time.strftime("newest-boto3-%G-%V")
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may come here at once
        if not (place / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True, capture_output=True)
            command = [place / "bin" / "python", "-m", "pip", "install", "-q", "--retries", "1", "boto3"]
            built = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
            if built.returncode:
                pytest.skip(f"no newest boto3: {built.stderr.strip().splitlines()[-1]}")
            (place / "complete").touch()
    return str(place / "bin" / "python")


def run_script(emulator, python):
    """Run the shared script; inject a throttle before the call that it announces."""
    command = [python, "-W", "ignore", str(SCRIPT), emulator.url]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PYTHON"))}
    environment["AWS_EC2_METADATA_DISABLED"] = "true"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as script:
        if script.stdout.readline() == "THROTTLE\n":
            fault = b'{"operation":"InvokeEndpoint","kind":"throttle","endpoint_contains":"script"}'
            assert fetch(f"{emulator.url}/faults", fault)[0] == 200
        output, errors = script.communicate("go\n", timeout=60)
        assert script.returncode == 0, errors
    return json.loads(output)


@pytest.mark.parametrize("age", ["pinned", "newest"])
def test_old_and_new_clients_get_the_same_results(age):
    """Creating, invoking, throttling, metrics, lists, tags and deletion give the same results to any boto3."""
    python = sys.executable if age == "pinned" else newest_python()
    with emulated(time_scale=1000.0, quotas="ordinary") as emulator:
        seen = run_script(emulator, python)
        counters = endpoint_counters(emulator, "script-endpoint")
    version, protocol = seen.pop("boto3"), seen.pop("protocol")
    if age == "newest":
        assert tuple(int(part) for part in version.split(".")[:2]) >= (1, 42)
        assert protocol != "query"
    assert seen == {
        "account": "123456789012",
        "quotas": 3,
        "model": "image:1",
        "too_soon": ["ValidationException", NOT_FOUND],
        "creating": "Creating",
        "again": ["ValidationException", NOT_FOUND.replace("Could not find", "Cannot create already existing")],
        "status": "InService",
        "serverless": {"MemorySizeInMB": 2048, "MaxConcurrency": 1},
        "created_aware": True,
        "body": {"predictions": [0.5]},
        "answer": ["application/json", "AllTraffic", 0],
        "throttled": ["ThrottlingException", None],
        "unknown": ["ValidationError", "Endpoint none of account 123456789012 not found."],
        "tags": [{"Key": "run", "Value": "1"}],
        "more_tags": ["run", "owner"],
        "listed": ["script-endpoint"],
        "not_listed": [],
        "points": [[1.0, 0.0, "Microseconds", ["p50", "p99"]]],
        "data": {"count": [[1.0], "Complete"], "tail": [[0.0], "Complete"]},
        "data_aware": True,
        "metrics": ["Own"],
        "unknown_operation": ["UnknownOperationException", seen["unknown_operation"][1]],
        "wrong_period": ["InvalidParameterValue", "The parameter Period must be a multiple of 60."],
        "gone": ["ValidationException", NOT_FOUND],
        "left": 0,
    }
    assert (counters["arrivals"], counters["ok"], counters["throttled"]) == (2, 1, 1)

"""Processing jobs: an emulated account that runs them, a scenario to submit, and the command line to submit it."""

import os
import subprocess
import sys
from contextlib import contextmanager

from tests.support.emulator import client, emulated, eventually, profile_of_latency

ROLE = "arn:aws:iam::123456789012:role/runner"
S3_PREFIX = "s3://jobs-of-mine/deep/er"
COMPLETED_STATUSES = (0, 110)  # 110: the run took place and is INVALID, as on a busy machine


def environment(emulator):
    """The environment that directs the SDK to the emulator, without settings of this machine."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "TMPDIR") if name in os.environ}
    return kept | {
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_SESSION_TOKEN": emulator.token,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


@contextmanager
def job_account(latency=0.004, **changes):
    """Run an emulator that executes jobs, with one model."""
    models = {"model": profile_of_latency(latency)}
    with emulated(**({"models": models, "time_scale": 1e6, "runs_jobs": True} | changes)) as emulator:
        yield emulator


def write_scenario(directory, load, memory_sizes=(2048,)):
    """Write a scenario file, its payload file and a module that it imports."""
    (directory / "examples.jsonl").write_text('{"Body": "1,2,3"}\n{"Body": "4,5"}\n')
    (directory / "our_loads.py").write_text(f"from loadgen import *\nload = {load}\n")
    (directory / "ask.py").write_text(
        '"""Does it run in the job?"""\n'
        "from loadgen import SageMaker, Scenario, ServerlessConfig, Step, read_requests\n"
        "from our_loads import load\n"
        "scenario = Scenario(SageMaker('model', metrics_timeout=2.0), read_requests('examples.jsonl'),\n"
        f"    [Step(ServerlessConfig(memory, 8), load) for memory in {memory_sizes!r}])\n"
    )
    return directory / "ask.py"


def run_command(emulator, directory, *argv, timeout=120, token=None):
    """Run the command line in its own process."""
    return subprocess.run(
        [sys.executable, "-m", "loadgen", *map(str, argv)],
        check=False,
        cwd=directory,
        env=environment(emulator) | ({} if token is None else {"LOADGEN_EMULATOR_TOKEN": token}),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def submit_job(emulator, directory, *argv):
    """Submit a job without waiting for it; return its name."""
    done = run_command(emulator, directory, "ask.py", "--processing-job", "--role", ROLE, "--s3", S3_PREFIX, *argv)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def describe_job(emulator, name):
    with client("sagemaker", emulator) as sagemaker:
        return sagemaker.describe_processing_job(ProcessingJobName=name)


def wait_for_job(emulator, name, within=90.0):
    """Wait until a job has ended; return its description."""
    ended = ("Completed", "Failed", "Stopped")
    return eventually(lambda: (d := describe_job(emulator, name))["ProcessingJobStatus"] in ended and d, within=within)


def uploaded_keys(emulator, part):
    return [key for key in emulator.storage.keys("jobs-of-mine", "deep/er/") if part in key]

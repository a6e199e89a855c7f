"""Processing jobs with several instances: a Dask cluster that only the run's certificate can enter."""

import ipaddress
import os
import signal
import sys
import time

import pytest

from loadgen import judge
from loadgen.distributed.dask_cluster import create_certificate
from loadgen.results.directory import ResultsDirectory
from tests.support.emulator import client, eventually
from tests.support.listening import descendants, listening, refuses_tls, speaks_http
from tests.support.processing_jobs import (
    ROLE,
    S3_PREFIX,
    job_account,
    run_command,
    submit_job,
    uploaded_keys,
    wait_for_job,
    write_scenario,
)
from tests.support.scenario_runs import assert_counts_balance, list_resources

pytest.importorskip("distributed", reason="needs loadgen[dask]")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_a_stranger_cannot_enter_a_running_job(tmp_path):
    """All that listens beyond loopback demands the run's certificate, which `fetch` deletes; a stop reaches all instances."""
    write_scenario(tmp_path, "ClosedLoop(4, duration=600)")
    with job_account(latency=0.02) as emulator:
        name = submit_job(emulator, tmp_path, "--instance-count", 2)
        eventually(lambda: uploaded_keys(emulator, "samples-02.bin"), within=90)
        sockets = listening(
            pid for process in emulator.processing._jobs[name].processes for pid in descendants(process.pid)
        )
        pages = {address for address in sockets if speaks_http(address)}
        (key,) = uploaded_keys(emulator, "run.pem")
        own, other = tmp_path / "own.pem", tmp_path / "other.pem"
        own.write_bytes(emulator.storage.get("jobs-of-mine", key).body)
        other.write_bytes(create_certificate(now=time.time(), lifetime=60))
        # A scheduler and two Dask workers, each with its HTTP pages.
        assert (len(sockets), len(pages)) == (6, 3)
        assert all(ipaddress.ip_address(host).is_loopback for host, _ in pages)
        for address in sockets - pages:
            assert refuses_tls(address)
            assert refuses_tls(address, other)
            assert not refuses_tls(address, own)
        with client("sagemaker", emulator) as sagemaker:
            sagemaker.stop_processing_job(ProcessingJobName=name)
        assert wait_for_job(emulator, name)["ProcessingJobStatus"] == "Stopped"
        assert list_resources(emulator) == []
        done = run_command(emulator, tmp_path, "fetch", name, "--out", "home")
        assert uploaded_keys(emulator, "run.pem") == []
    assert done.returncode == 143, done.stderr
    (run,) = ResultsDirectory.open(tmp_path / "home").read_runs()
    assert_counts_balance(run)
    assert (run.stop_reason, [worker.lost_reason for worker in run.workers]) == ("stop", ["", ""])


@pytest.mark.parametrize(("victim", "statuses"), [(0, {69}), (1, {143, 69})])
def test_an_instance_killed_in_mid_run(tmp_path, victim, statuses):
    """After kill -9 of an instance the job is Failed, its results and the INVALID run are kept, and nothing is left.

    SageMaker then stops the other instances: the first one, if it lives, ends its run with 143. The emulator kills it
    when that takes more than 5 s, as on a busy machine; then the status is that of the failed job.
    """
    write_scenario(tmp_path, "ClosedLoop(4, duration=600)")
    with job_account(latency=0.02) as emulator:
        name = submit_job(emulator, tmp_path, "--instance-count", 2)
        eventually(lambda: uploaded_keys(emulator, "samples-02.bin"), within=90)
        for pid in descendants(emulator.processing._jobs[name].processes[victim].pid)[1:]:
            os.kill(pid, signal.SIGKILL)
        assert wait_for_job(emulator, name)["ProcessingJobStatus"] == "Failed"
        done = run_command(emulator, tmp_path, "fetch", name, "--out", "home")
        assert list_resources(emulator) == []
        assert uploaded_keys(emulator, "run.pem") == []
    assert done.returncode in statuses
    (run,) = ResultsDirectory.open(tmp_path / "home").read_runs()
    assert not judge(run).is_valid


def test_a_job_that_is_not_created_leaves_no_key(tmp_path):
    """When CreateProcessingJob is refused, the key of the run is deleted from the bucket."""
    write_scenario(tmp_path, "ClosedLoop(1, count=1)")
    with job_account() as emulator:
        argv = ("--role", ROLE, "--s3", S3_PREFIX, "--instance-count", 2, "--instance-type", "ml.m5.nothing")
        done = run_command(emulator, tmp_path, "ask.py", "--processing-job", *argv)
        assert done.returncode != 0
        assert "CreateProcessingJob" in done.stderr
        assert uploaded_keys(emulator, "job_config.json")
        assert uploaded_keys(emulator, "run.pem") == []


def test_a_bucket_that_does_not_encrypt_gets_no_key(tmp_path, monkeypatch):
    """When the response to PutObject states no encryption, the key is deleted, and the status is 78."""
    write_scenario(tmp_path, "ClosedLoop(1, count=1)")
    monkeypatch.setattr("loadgen.emulator.services.s3._ENCRYPTION", ("x-nothing", "1"))
    with job_account() as emulator:
        argv = ("--role", ROLE, "--s3", S3_PREFIX, "--instance-count", 2)
        done = run_command(emulator, tmp_path, "ask.py", "--processing-job", *argv)
        assert (done.returncode, "does not encrypt" in done.stderr) == (78, True), done.stderr
        assert uploaded_keys(emulator, "run.pem") == []

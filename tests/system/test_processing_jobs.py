"""A scenario as a Processing job on the emulator, which executes the container's command."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import loadgen
from loadgen.aws.deployment.names_and_tags import RUN_TAG
from loadgen.results.directory import ResultsDirectory
from tests.support.emulator import client, endpoint_counters, eventually
from tests.support.processing_jobs import (
    COMPLETED_STATUSES,
    ROLE,
    S3_PREFIX,
    environment,
    job_account,
    run_command,
    submit_job,
    uploaded_keys,
    wait_for_job,
    write_scenario,
)
from tests.support.scenario_runs import assert_counts_balance, list_resources


@pytest.mark.parametrize("instances", [1, 2])
def test_wait_runs_a_job_and_reports_its_results(tmp_path, instances):
    """--wait uploads, runs on N instances, downloads and reports; counts equal the ledger; nothing is left behind."""
    write_scenario(tmp_path, "OpenLoop(poisson(constant(60), seed=2), duration=2.0)")
    with job_account() as emulator:
        argv = ("--instance-count", instances, "--wait", "--out", "home")
        done = run_command(emulator, tmp_path, "ask.py", "--processing-job", "--role", ROLE, "--s3", S3_PREFIX, *argv)
        assert done.returncode in COMPLETED_STATUSES, done.stderr
        assert list_resources(emulator) == []
        (run,) = ResultsDirectory.open(tmp_path / "home").read_runs()
        counters = endpoint_counters(emulator, run.endpoint)
        with client("sagemaker", emulator) as sagemaker:
            (row,) = sagemaker.list_processing_jobs(NameContains="loadgen-")["ProcessingJobSummaries"]
        again = run_command(emulator, tmp_path, "fetch", row["ProcessingJobName"], "--out", "home")

    assert row["ProcessingJobStatus"] == "Completed"
    assert "loadgen ended with status" in row["ExitMessage"]
    assert "ml.m5.large for at most 24 h" in done.stderr
    assert run.stop_reason == "schedule"
    counted = {"samples": len(run.samples), "arrivals": counters["arrivals"], "ok": counters["ok"]}
    assert counted == dict.fromkeys(counted, run.scheduled), (run.tally.counts, run.error_codes)
    # The seed decides the schedule, on every machine.
    load = loadgen.OpenLoop(loadgen.poisson(loadgen.constant(60), seed=2), duration=2.0)
    assert sorted(run.samples["seq"].tolist()) == [seq for seq, _ in load]
    assert (tmp_path / "home/benchmarking_report/benchmarking_report.html").exists()
    if instances == 2:
        assert_counts_balance(run)
        assert [worker.name for worker in run.workers] == ["algo-1", "algo-2"]
        assert all(0 < worker.clock_uncertainty < 5 for worker in run.workers)
    assert not (tmp_path / "home/loadgen.lock").exists()
    manifest = json.loads((tmp_path / "home/manifest.json").read_text())
    assert manifest["command"] == "python -m loadgen ask.py --term-budget 100"
    # fetch is idempotent.
    assert again.returncode == done.returncode
    assert "home is up to date" in again.stderr


def test_a_stopped_job_deletes_its_endpoints_and_keeps_its_results(tmp_path):
    """StopProcessingJob stops the run: it deletes its endpoints, keeps its results, and `fetch` gives 143 (C108)."""
    write_scenario(tmp_path, "ClosedLoop(4, duration=600)")
    with job_account(latency=0.02) as emulator:
        name = submit_job(emulator, tmp_path)
        eventually(lambda: uploaded_keys(emulator, "samples.bin"), within=60)
        running = run_command(emulator, tmp_path, "fetch", name, "--out", "early")
        assert "InProgress" in running.stderr
        with client("sagemaker", emulator) as sagemaker:
            sagemaker.stop_processing_job(ProcessingJobName=name)
        assert wait_for_job(emulator, name)["ProcessingJobStatus"] == "Stopped"
        assert list_resources(emulator) == []
        done = run_command(emulator, tmp_path, "fetch", name, "--out", "home")
    assert done.returncode == 143, done.stderr
    (run,) = ResultsDirectory.open(tmp_path / "home").read_runs()
    assert run.stop_reason == "stop"
    assert len(run.samples) > 50
    # Results that were uploaded while the job ran could be read before its end.
    (early,) = ResultsDirectory.open(tmp_path / "early").read_runs()
    assert len(early.samples) <= len(run.samples)
    assert any("run.json is missing" in error for error in early.data_errors)


def kill_tree(pid):
    """Kill a process and its descendants, as the loss of a machine does."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(pid, signal.SIGKILL)
    for child in children:
        kill_tree(int(child))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_fetch_deletes_the_endpoints_of_a_lost_instance(tmp_path):
    """After the loss of the instance `fetch` deletes the run's endpoints and no others, and keeps its results (C108)."""
    write_scenario(tmp_path, "ClosedLoop(4, duration=600)")
    with job_account(latency=0.02) as emulator:
        name = submit_job(emulator, tmp_path)
        eventually(lambda: uploaded_keys(emulator, "samples.bin"), within=60)
        for process in emulator.processing._jobs[name].processes:
            kill_tree(process.pid)
        assert wait_for_job(emulator, name)["ProcessingJobStatus"] == "Failed"
        left = list_resources(emulator)
        assert left
        assert all(name.removeprefix("loadgen-") in resource for resource in left)
        with client("sagemaker", emulator) as sagemaker:  # not tagged, so not the run's
            variants = [
                {
                    "VariantName": "v",
                    "ModelName": "model",
                    "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1},
                }
            ]
            sagemaker.create_endpoint_config(EndpointConfigName=f"{name}-not-ours", ProductionVariants=variants)
        done = run_command(emulator, tmp_path, "fetch", name, "--out", "home")
        assert list_resources(emulator) == [f"{name}-not-ours"]
        again = run_command(emulator, tmp_path, "fetch", name, "--out", "home")
    assert "which the job left behind" in done.stderr
    assert "which the job left" not in again.stderr
    assert done.returncode == again.returncode == 69
    (run,) = ResultsDirectory.open(tmp_path / "home").read_runs()
    assert run.stop_reason == "killed"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def uploaded_bytes(emulator, file):
    """Return the size of the uploaded files of one name."""
    with client("s3", emulator) as s3:
        bucket = S3_PREFIX.split("/")[2]
        return sum(s3.head_object(Bucket=bucket, Key=key)["ContentLength"] for key in uploaded_keys(emulator, file))


@pytest.mark.parametrize("has_journal", [True, False])
def test_fetch_without_permission_to_list_uses_the_journal(tmp_path, has_journal):
    """If ListEndpoints is denied, `fetch` downloads the results and deletes what their journal names; without one it exits with 101."""
    write_scenario(tmp_path, "ClosedLoop(4, duration=600)")
    with job_account(latency=0.02) as emulator:
        name = submit_job(emulator, tmp_path)
        eventually(lambda: uploaded_bytes(emulator, "samples.bin") > 64, within=60)  # more than the file's header
        for process in emulator.processing._jobs[name].processes:
            kill_tree(process.pid)
        wait_for_job(emulator, name)
        left = list_resources(emulator)
        if not has_journal:
            with client("s3", emulator) as s3:
                for key in uploaded_keys(emulator, "journal.jsonl"):
                    s3.delete_object(Bucket=S3_PREFIX.split("/")[2], Key=key)
        for operation in ("ListEndpoints", "ListEndpointConfigs"):
            denied = {"status": 400, "code": "AccessDeniedException", "message": "no", "times": 0}
            emulator.faults.add({"operation": operation, "kind": "error_before", **denied})
        done = run_command(emulator, tmp_path, "fetch", name, "--out", "home")
        emulator.faults.clear()
        remaining = list_resources(emulator)
    assert (tmp_path / "home" / "manifest.json").exists(), done.stderr
    (run,) = ResultsDirectory.open(tmp_path / "home").read_runs()
    assert len(run.samples) > 0
    if has_journal:
        assert (done.returncode, remaining) == (69, []), done.stderr  # the job itself failed
    else:
        assert (done.returncode, remaining) == (101, left), done.stderr
        assert "sagemaker:ListEndpoints" in done.stderr
        assert f"python -m loadgen fetch {name}" in done.stderr


def test_a_scenario_that_fails_in_the_container_fails_the_job(tmp_path):
    """The job is Failed, stderr has the container's status and error, and the status is 69."""
    file = write_scenario(tmp_path, "ClosedLoop(1, count=1)")
    file.write_text(file.read_text() + "import os\nassert 'PROBE' in os.environ, 'not set in the container'\n")
    with job_account() as emulator:
        argv = ("ask.py", "--processing-job", "--role", ROLE, "--s3", S3_PREFIX, "--wait", "--out", "home")
        done = subprocess.run(
            [sys.executable, "-m", "loadgen", *argv],
            check=False,
            cwd=tmp_path,
            env=environment(emulator) | {"PROBE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert list_resources(emulator) == []
    assert done.returncode == 69
    assert "loadgen ended with status 107" in done.stderr
    assert not done.stdout


def test_a_job_that_exceeds_its_runtime_leaves_nothing_behind(tmp_path):
    """At MaxRuntimeInSeconds SageMaker stops the job: the status is 143, and the endpoints are deleted (C108)."""
    write_scenario(tmp_path, "ClosedLoop(2, duration=600)")
    with job_account(latency=0.02) as emulator:
        argv = ("--max-runtime", 6, "--wait", "--out", "home")
        done = run_command(emulator, tmp_path, "ask.py", "--processing-job", "--role", ROLE, "--s3", S3_PREFIX, *argv)
        assert list_resources(emulator) == []
    assert done.returncode == 143
    assert "MaxRuntimeExceeded" in done.stderr


def test_run_as_sagemaker_job_runs_the_whole_benchmark(tmp_path, monkeypatch):
    """run_as_sagemaker_job with wait=True runs the benchmark's steps in a tagged job and downloads the results."""
    examples = tmp_path / "examples.jsonl"
    examples.write_text('{"Body": "1,2,3"}\n')
    monkeypatch.chdir(tmp_path)
    with job_account() as emulator:
        for name, value in environment(emulator).items():
            monkeypatch.setenv(name, value)
        name = loadgen.run_as_sagemaker_job(
            ROLE,
            "model",
            "examples.jsonl",
            s3_output_path=S3_PREFIX,
            wait=True,
            tags={"CostCenter": "4711"},
            memory_sizes=[1024, 2048],
            stability_benchmark_invocations=15,
            concurrency_benchmark_max_conc=[2],
            concurrency_benchmark_invocations=12,
            concurrency_num_clients_multiplier=[1, 1.5],
            result_save_path=tmp_path,
        )
        assert list_resources(emulator) == []
        with client("sagemaker", emulator) as sagemaker:
            arn = sagemaker.describe_processing_job(ProcessingJobName=name)["ProcessingJobArn"]
            tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]}
    assert tags == {"CostCenter": "4711", RUN_TAG: name.removeprefix("loadgen-")}
    runs = ResultsDirectory.open(tmp_path / name).read_runs()
    assert [(r.step.phase, r.step.config.memory_mb, r.scheduled) for r in runs[:2]] == [
        ("stability", 1024, 15),
        ("stability", 2048, 15),
    ]
    assert [(r.step.load.clients, r.scheduled) for r in runs[2:]] == [(2, 12), (3, 12)]


def test_impossible_jobs_are_refused_before_anything_is_uploaded(tmp_path):
    """A target on this machine gives 78; missing, invalid and contradicting options give 2."""
    file = write_scenario(tmp_path, "ClosedLoop(1, count=1)")
    text = file.read_text()
    with job_account() as emulator:
        file.write_text(
            text.replace("SageMaker('model', metrics_timeout=2.0)", "Emulated()").replace(
                "import SageMaker", "import Emulated"
            )
        )
        done = run_command(emulator, tmp_path, "ask.py", "--processing-job", "--role", ROLE)
        assert (done.returncode, "cannot reach an emulator" in done.stderr) == (78, True)
        file.write_text(text)
        for argv, message in (
            ((), "without --role"),
            (("--role", ROLE, "--workers", "2"), "--workers"),
            (("--role", ROLE, "--workers", "auto"), "--workers"),
            (("--role", "me"), "role 'me'"),
        ):
            done = run_command(emulator, tmp_path, "ask.py", "--processing-job", *argv)
            assert (done.returncode, message in done.stderr) == (2, True), done.stderr
        assert emulator.storage._buckets == {}


def test_fetch_refuses_an_unknown_job(tmp_path):
    """A job that does not exist gives 66, and nothing is written."""
    with job_account() as emulator:
        done = run_command(emulator, tmp_path, "fetch", "loadgen-never")
        assert (done.returncode, "no Processing job loadgen-never" in done.stderr) == (66, True)
    assert not (tmp_path / "results").exists()

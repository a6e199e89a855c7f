"""A scenario as a SageMaker Processing job, end to end on the emulator: the container's command really runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import loadgen
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
def test_a_scenario_runs_as_a_job_and_comes_home(tmp_path, instances):
    """One command: uploaded, run on N instances, fetched, reported; counts equal the ledger; nothing is left behind."""
    write_scenario(tmp_path, "OpenLoop(poisson(constant(60), seed=2), duration=2.0)")
    with job_account() as emulator:
        words = ("--instance-count", instances, "--wait", "--out", "home")
        done = run_command(emulator, tmp_path, "ask.py", "--processing-job", "--role", ROLE, "--s3", S3_PREFIX, *words)
        assert done.returncode in COMPLETED_STATUSES, done.stderr
        assert list_resources(emulator) == []
        (read,) = ResultsDirectory.open(tmp_path / "home").read_runs()
        books = endpoint_counters(emulator, read.endpoint)
        with client("sagemaker", emulator) as sagemaker:
            (row,) = sagemaker.list_processing_jobs(NameContains="loadgen-")["ProcessingJobSummaries"]
        again = run_command(emulator, tmp_path, "fetch", row["ProcessingJobName"], "--out", "home")

    assert row["ProcessingJobStatus"] == "Completed"
    assert "loadgen ended with status" in row["ExitMessage"]
    assert "ml.m5.large for at most 24 h" in done.stderr
    assert read.stop_reason == "schedule"
    assert read.scheduled == len(read.samples) == books["arrivals"] == books["ok"]
    # The same schedule as here: the seed decides it.
    load = loadgen.OpenLoop(loadgen.poisson(loadgen.constant(60), seed=2), duration=2.0)
    assert sorted(read.samples["seq"].tolist()) == [seq for seq, _ in load]
    assert (tmp_path / "home/benchmarking_report/benchmarking_report.html").exists()
    if instances == 2:
        assert_counts_balance(read)
        assert [worker.name for worker in read.workers] == ["algo-1", "algo-2"]
        assert read.workers[0].clock_uncertainty == 0 < read.workers[1].clock_uncertainty < 5
    assert not (tmp_path / "home/loadgen.lock").exists()
    # Fetched twice: nothing new, the same answer.
    assert again.returncode == done.returncode
    assert "home is up to date" in again.stderr


def test_a_stopped_job_ends_politely(tmp_path):
    """StopProcessingJob reaches the run: it removes its endpoint, keeps what it measured, and is told as stopped (C108)."""
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
    (read,) = ResultsDirectory.open(tmp_path / "home").read_runs()
    assert read.stop_reason == "stop"
    assert len(read.samples) > 50
    # While it ran, what had been uploaded by then could be read already.
    (early,) = ResultsDirectory.open(tmp_path / "early").read_runs()
    assert len(early.samples) <= len(read.samples)
    assert any("did not end" in words for words in early.data_errors)


def kill_tree(pid):
    """Kill a process and what it started, as a machine that goes does."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(pid, signal.SIGKILL)
    for child in children:
        kill_tree(int(child))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_dead_instance_left_is_removed_by_whoever_fetches(tmp_path):
    """An instance that dies cannot remove its endpoints: the submitter does, and what it had uploaded is kept (C108)."""
    write_scenario(tmp_path, "ClosedLoop(4, duration=600)")
    with job_account(latency=0.02) as emulator:
        name = submit_job(emulator, tmp_path)
        eventually(lambda: uploaded_keys(emulator, "samples.bin"), within=60)
        for process in emulator.processing._jobs[name].processes:
            kill_tree(process.pid)
        assert wait_for_job(emulator, name)["ProcessingJobStatus"] == "Failed"
        left = list_resources(emulator)
        assert left
        assert all(name[len("loadgen-") :] in thing for thing in left)
        with client("sagemaker", emulator) as sagemaker:  # a namesake of somebody else's is none of ours
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
    assert "which the job left" in done.stderr
    assert "which the job left" not in again.stderr
    assert done.returncode == again.returncode == 69
    (read,) = ResultsDirectory.open(tmp_path / "home").read_runs()
    assert read.stop_reason == "killed"


def test_a_scenario_that_fails_over_there_is_told(tmp_path):
    """Wrong over there alone: the job is Failed, its message says with what, the command line ends with 69."""
    file = write_scenario(tmp_path, "ClosedLoop(1, count=1)")
    here = "import os\nassert 'PROBE' in os.environ, 'not over there'\n"
    file.write_text(file.read_text() + here)
    with job_account() as emulator:
        words = ("ask.py", "--processing-job", "--role", ROLE, "--s3", S3_PREFIX, "--wait", "--out", "home")
        done = subprocess.run(
            [sys.executable, "-m", "loadgen", *words],
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


def test_a_job_that_runs_too_long_is_ended_without_a_leak(tmp_path):
    """At MaxRuntimeInSeconds SageMaker ends the job: told as such, with nothing left behind (C108)."""
    write_scenario(tmp_path, "ClosedLoop(2, duration=600)")
    with job_account(latency=0.02) as emulator:
        words = ("--max-runtime", 6, "--wait", "--out", "home")
        done = run_command(emulator, tmp_path, "ask.py", "--processing-job", "--role", ROLE, "--s3", S3_PREFIX, *words)
        assert list_resources(emulator) == []
    assert done.returncode == 143
    assert "MaxRuntimeExceeded" in done.stderr


def test_the_predecessors_call_runs_the_whole_benchmark(tmp_path, monkeypatch):
    """run_as_sagemaker_job with the predecessor's arguments: the same steps, in the cloud, brought home when it waits."""
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
            memory_sizes=[1024, 2048],
            stability_benchmark_invocations=15,
            concurrency_benchmark_max_conc=[2],
            concurrency_benchmark_invocations=12,
            concurrency_num_clients_multiplier=[1, 1.5],
            result_save_path=tmp_path,
        )
        assert list_resources(emulator) == []
    runs = ResultsDirectory.open(tmp_path / name).read_runs()
    assert [(r.step.phase, r.step.config.memory_mb, r.scheduled) for r in runs[:2]] == [
        ("stability", 1024, 15),
        ("stability", 2048, 15),
    ]
    assert [(r.step.load.clients, r.scheduled) for r in runs[2:]] == [(2, 12), (3, 12)]


def test_an_emulator_of_this_machine_cannot_be_reached_from_a_job(tmp_path):
    """A scenario against Emulated, or contradicting options, are refused before anything is uploaded."""
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
        for words, said in (
            ((), "without --role"),
            (("--role", ROLE, "--workers", "2"), "--workers"),
            (("--role", "me"), "role 'me'"),
        ):
            done = run_command(emulator, tmp_path, "ask.py", "--processing-job", *words)
            assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert emulator.storage._buckets == {}


def test_a_job_that_is_not_there_is_told(tmp_path):
    """No such job, or one that is none of ours: one line that says so, nothing written."""
    with job_account() as emulator:
        done = run_command(emulator, tmp_path, "fetch", "loadgen-never")
        assert (done.returncode, "no Processing job loadgen-never" in done.stderr) == (66, True)
    assert not (tmp_path / "results").exists()

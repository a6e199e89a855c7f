"""The emulator's Processing jobs: inputs, outputs, exit messages, statuses, and the setting that allows them."""

import tempfile
from pathlib import Path

import pytest

from loadgen.aws.s3 import S3Location
from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.services.job_runner import JobRunner
from loadgen.processing_job.job_spec import ProcessingJobSpec, job_request
from tests.support.emulator import client, emulated, eventually
from tests.support.processing_jobs import ROLE, describe_job, job_account, wait_for_job


def test_an_emulator_does_not_run_jobs_by_default():
    """Without runs_jobs a job fails at once, with --run-jobs in its FailureReason."""
    with emulated() as emulator, client("sagemaker", emulator) as sagemaker:
        request = job_request(
            ProcessingJobSpec(ROLE), run_id="r1", region="us-east-1", s3_location=S3Location("bucket")
        )
        sagemaker.create_processing_job(**request)
        described = sagemaker.describe_processing_job(ProcessingJobName="loadgen-r1")
        assert described["ProcessingJobStatus"] == "Failed"
        assert "--run-jobs" in described["FailureReason"]
        assert described["AppSpecification"] == request["AppSpecification"]
        with pytest.raises(sagemaker.exceptions.ResourceInUse):
            sagemaker.create_processing_job(**request)
        with pytest.raises(sagemaker.exceptions.ResourceInUse):
            sagemaker.create_processing_job(**request | {"ProcessingJobName": "Loadgen-R1"})
        with pytest.raises(sagemaker.exceptions.ResourceNotFound):
            sagemaker.describe_processing_job(ProcessingJobName="nothing")
        assert [row["ProcessingJobName"] for row in sagemaker.list_processing_jobs()["ProcessingJobSummaries"]] == [
            "loadgen-r1"
        ]


def job_input(source, **cluster):
    """Return CreateProcessingJob's input for a job that runs one line of Python."""
    return {
        "ProcessingJobName": "job",
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": "any", "ContainerEntrypoint": ["python3", "-c", source]},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1} | cluster
        },
        "ProcessingInputs": [
            {
                "InputName": "in",
                "S3Input": {
                    "S3Uri": "s3://bucket-of-jobs/in",
                    "LocalPath": "/opt/ml/processing/in",
                    "S3DataType": "S3Prefix",
                    "S3DataDistributionType": "ShardedByS3Key",
                },
            }
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "out",
                    "S3Output": {
                        "S3Uri": "s3://bucket-of-jobs/out",
                        "LocalPath": "/opt/ml/processing/out",
                        "S3UploadMode": "Continuous",
                    },
                }
            ]
        },
    }


@pytest.mark.parametrize(("status", "expected"), [(0, "Completed"), (3, "Failed")])
def test_a_job_has_inputs_outputs_an_exit_message_and_a_status(status, expected):
    """Inputs are sharded by key, outputs uploaded, and the exit message and status described."""
    program = (
        "import json, os, pathlib, sys\n"
        "ml = os.environ['ML']\n"
        "host = json.loads(pathlib.Path(ml + 'config/resourceconfig.json').read_text())['current_host']\n"
        "names = sorted(p.name for p in pathlib.Path(ml + 'processing/in').iterdir())\n"
        "pathlib.Path(ml + f'processing/out/{host}.txt').write_text(' '.join(names))\n"
        "pathlib.Path(ml + 'output/message').write_text(host + ';')\n"
        f"sys.exit({status})\n"
    )
    with job_account() as emulator, client("sagemaker", emulator) as sagemaker:
        emulator.storage.create_bucket("bucket-of-jobs")
        for name in "abc":
            emulator.storage.put("bucket-of-jobs", f"in/{name}", name.encode(), 0.0)
        emulator.storage.put("bucket-of-jobs", "code/program.py", program.encode(), 0.0)
        request = job_input("", InstanceCount=2 - status % 2)
        code = {"S3Uri": "s3://bucket-of-jobs/code", "LocalPath": "/opt/ml/processing/code", "S3DataType": "S3Prefix"}
        request["ProcessingInputs"].append({"InputName": "code", "S3Input": code})
        request["Environment"] = {"ML": "/opt/ml/"}
        request["AppSpecification"]["ContainerEntrypoint"] = ["python3", "/opt/ml/processing/code/program.py"]
        sagemaker.create_processing_job(**request)
        described = wait_for_job(emulator, "job")
        outputs = {
            key: emulator.storage.get("bucket-of-jobs", key).body.decode()
            for key in emulator.storage.keys("bucket-of-jobs", "out/")
        }
    assert described["ProcessingJobStatus"] == expected
    if expected == "Completed":
        assert described["ExitMessage"] == "algo-1;algo-2;"
        assert outputs == {"out/algo-1.txt": "a c", "out/algo-2.txt": "b"}
        assert "FailureReason" not in described
    else:
        assert "exit code: 3" in described["FailureReason"]
        assert outputs == {"out/algo-1.txt": "a b c"}
    assert described["ProcessingStartTime"] <= described["ProcessingEndTime"]


def test_a_job_without_its_inputs_fails():
    """Without an object under the prefix the job fails with the URI in its FailureReason; the command is not run."""
    with job_account() as emulator, client("sagemaker", emulator) as sagemaker:
        emulator.storage.create_bucket("bucket-of-jobs")
        sagemaker.create_processing_job(**job_input("raise SystemExit(9)"))
        described = wait_for_job(emulator, "job")
    assert described["ProcessingJobStatus"] == "Failed"
    assert "s3://bucket-of-jobs/in" in described["FailureReason"]


def test_a_job_can_be_stopped_before_it_starts():
    """StopProcessingJob before the instances have started makes the job Stopped."""
    with job_account(time_scale=1.0) as emulator, client("sagemaker", emulator) as sagemaker:
        sagemaker.create_processing_job(**job_input("raise SystemExit(9)"))
        assert describe_job(emulator, "job")["ProcessingJobStatus"] == "InProgress"
        sagemaker.stop_processing_job(ProcessingJobName="job")
        assert wait_for_job(emulator, "job")["ProcessingJobStatus"] == "Stopped"


def job_with(**members):
    """Return CreateProcessingJob's input for a job without inputs and outputs."""
    request = job_input("")
    del request["ProcessingInputs"], request["ProcessingOutputConfig"]
    return request | members


def output_to(local_path):
    output = {"S3Uri": "s3://bucket-of-jobs/out", "LocalPath": local_path, "S3UploadMode": "EndOfJob"}
    return {"ProcessingOutputConfig": {"Outputs": [{"OutputName": "out", "S3Output": output}]}}


def input_at(local_path):
    source = {"S3Uri": "s3://bucket-of-jobs/in", "LocalPath": local_path, "S3DataType": "S3Prefix"}
    return {"ProcessingInputs": [{"InputName": "in", "S3Input": source}]}


def entrypoint(words):
    return {"AppSpecification": {"ImageUri": "any", "ContainerEntrypoint": words}}


REFUSED = [
    {"Environment": {"A=B": "x"}},
    {"Environment": ["A"]},
    {"Environment": {"A": 1}},
    {"Environment": {"": "x"}},
    {"Environment": "A=B"},
    entrypoint("true"),
    entrypoint([1]),
    entrypoint({"0": "true"}),
    {"StoppingCondition": {"MaxRuntimeInSeconds": 1.5}},
    *(
        place(path)
        for place in (output_to, input_at)
        for path in (
            *("/opt/ml/processing/a\0b", "/opt/ml/code", "/opt/ml/processing/../code", "/opt/ml/processing_of_mine"),
            *("/etc", "/tmp/opt/ml/processing", "opt/ml/processing", "", "/opt/ml/processing/a/../../../../etc"),
        )
    ),
]
FAILED = [
    entrypoint(["echo", "a\0b"]),
    entrypoint([""]),
    entrypoint(["/nonexistent"]),
    entrypoint(["\0"]),
    {"Environment": {"A": "x\0y"}},
    entrypoint(["true"]) | output_to("/opt/ml/processing/opt/ml/out") | {"Environment": {"A": "\0"}},
]


@pytest.mark.parametrize("members", REFUSED, ids=str)
def test_an_invalid_job_is_refused(members):
    """Members of the wrong type and a LocalPath outside /opt/ml/processing get 400, and leave no job."""
    with job_account() as emulator:
        with pytest.raises(ServiceError) as refused:
            emulator.processing.operations["CreateProcessingJob"](job_with(**members), 0.0)
        assert refused.value.status == 400
        assert emulator.processing.operations["ListProcessingJobs"]({}, 0.0)["ProcessingJobSummaries"] == []


@pytest.mark.parametrize("members", FAILED, ids=str)
def test_a_job_that_cannot_start_fails_alone(members):
    """A command, environment or directory that the machine refuses makes the job Failed; the next one completes."""
    with job_account() as emulator, client("sagemaker", emulator) as sagemaker:
        sagemaker.create_processing_job(**job_with(**members))
        assert wait_for_job(emulator, "job")["ProcessingJobStatus"] == "Failed"
        sagemaker.create_processing_job(**job_with(ProcessingJobName="next", **entrypoint(["true"])))
        assert wait_for_job(emulator, "next")["ProcessingJobStatus"] == "Completed"


def test_an_internal_failure_of_a_job_ends_that_job_only(monkeypatch):
    """An exception that the runner does not expect makes the job Failed with its type; the emulator goes on."""

    async def fail(*_):
        raise RuntimeError("unexpected")

    monkeypatch.setattr(JobRunner, "run", fail)
    with job_account() as emulator, client("sagemaker", emulator) as sagemaker:
        sagemaker.create_processing_job(**job_with(**entrypoint(["true"])))
        described = wait_for_job(emulator, "job")
    assert described["FailureReason"] == "InternalServerError: RuntimeError: unexpected"


def test_an_output_whose_name_is_not_utf_8_can_be_listed():
    """A file name of any bytes becomes a key with replacement characters, and the bucket can be listed."""
    program = "import os; open(os.environb[b'OUT'] + b'/a\\xff', 'wb').close()"
    with job_account() as emulator, client("sagemaker", emulator) as sagemaker, client("s3", emulator) as s3:
        emulator.storage.create_bucket("bucket-of-jobs")
        members = entrypoint(["python3", "-c", program]) | output_to("/opt/ml/processing/out")
        sagemaker.create_processing_job(**job_with(Environment={"OUT": "/opt/ml/processing/out"}, **members))
        assert wait_for_job(emulator, "job")["ProcessingJobStatus"] == "Completed"
        listed = s3.list_objects_v2(Bucket="bucket-of-jobs")["Contents"]
    assert [row["Key"] for row in listed] == ["out/a\N{REPLACEMENT CHARACTER}"]


@pytest.mark.parametrize("end", ["os._exit(0)", "os.abort()", "time.sleep(600)"])
def test_the_end_of_a_job_ends_all_its_processes(tmp_path, monkeypatch, end):
    """What a command has started ends with it, as in a container, and cannot write into a directory that is removed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    writer = (
        "import itertools, pathlib\n"
        "for i in itertools.count():\n"
        "    folder = pathlib.Path(f'output/{i % 500}')\n"
        "    folder.mkdir(parents=True, exist_ok=True)\n"
        "    (folder / str(i)).touch()\n"
    )
    program = (
        "import os, pathlib, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {writer!r}])\n"
        "while not pathlib.Path('output/499').exists(): pass\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        f"{end}\n"
    )
    with job_account() as emulator, client("sagemaker", emulator) as sagemaker:
        (tmp_path / "program.py").write_text(program)
        request = job_input("pass")
        request["AppSpecification"]["ContainerEntrypoint"] = ["python3", str(tmp_path / "program.py")]
        del request["ProcessingInputs"]
        sagemaker.create_processing_job(**request)
        eventually((tmp_path / "pid").exists, within=30)
        if "sleep" in end:
            sagemaker.stop_processing_job(ProcessingJobName="job")
        job = wait_for_job(emulator, "job")
        assert job["ProcessingJobStatus"] == {"os._exit(0)": "Completed", "os.abort()": "Failed"}.get(end, "Stopped")
        eventually(lambda: not list(tmp_path.glob("loadgen-job-*")), within=30)
    child = Path("/proc") / (tmp_path / "pid").read_text()
    assert not child.exists() or "(zombie)" in (child / "status").read_text()

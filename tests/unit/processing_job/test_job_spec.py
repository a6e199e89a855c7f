"""What a Processing job is asked for and sent: the request, the price, the wheel, the files."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import botocore.session
import pytest
from botocore.validate import ParamValidator

import loadgen
from loadgen.analysis.prices import PriceBook
from loadgen.aws.s3 import S3Location
from loadgen.errors import ConfigError, UsageError
from loadgen.processing_job.bundle import build_bundle, record_opened_files
from loadgen.processing_job.job_spec import ProcessingJob, ProcessingJobSpec, job_request
from loadgen.processing_job.wheel import build_wheel
from tests.support.processing_jobs import ROLE


def test_the_request_is_one_that_the_service_takes():
    """The SDK's own validation accepts it, with every bound of the service model that it knows."""
    hire = ProcessingJobSpec(ROLE, "ml.c5.xlarge", 3, 3600)
    request = job_request(
        hire, run_id="1122213045ab12", region="eu-west-1", s3_location=S3Location.parse("s3://bucket/a/b/")
    )
    model = botocore.session.get_session().get_service_model("sagemaker")
    shape = model.operation_model("CreateProcessingJob").input_shape
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    assert request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 3
    assert request["ProcessingInputs"][0]["S3Input"]["S3Uri"] == "s3://bucket/a/b/input"
    assert ".eu-west-1." in request["AppSpecification"]["ImageUri"]
    assert all(len(word) <= 256 for word in request["AppSpecification"]["ContainerArguments"])


def test_a_hire_that_cannot_be_is_refused():
    """Roles, types, counts and times that CreateProcessingJob would refuse are refused here; so is an unknown image."""
    for bad in (
        {"role": "runner"},
        {"instance_type": "m5.large"},
        {"instances": 0},
        {"instances": 101},
        {"max_runtime": 0},
    ):
        with pytest.raises(UsageError):
            ProcessingJobSpec(**({"role": ROLE} | bad))
    with pytest.raises(ConfigError, match="--image"):
        job_request(ProcessingJobSpec(ROLE), run_id="r", region="mars-north-1", s3_location=S3Location("b"))
    given = job_request(
        ProcessingJobSpec(ROLE, image="mine:1"), run_id="r", region="mars-north-1", s3_location=S3Location("b")
    )
    assert given["AppSpecification"]["ImageUri"] == "mine:1"


def test_what_a_job_costs_at_most_is_said():
    """Instances times hours times the price, with its date; without a price, that there is none."""
    prices = PriceBook.builtin()
    price = prices.instance("us-east-1", "ml.m5.large")
    told = ProcessingJobSpec(ROLE, instances=4, max_runtime=7200).price_summary("us-east-1", prices)
    assert "4 x ml.m5.large for at most 2 h" in told
    assert f"{4 * 2 * price.usd:.2f} USD" in told
    assert price.as_of in told
    assert "no price" in ProcessingJobSpec(ROLE, "ml.c7i.48xlarge").price_summary("mars-north-1", prices)


def test_only_jobs_of_ours_are_read():
    """A job of another name, or without our output, is refused rather than guessed at."""
    ours = {
        "ProcessingJobName": "loadgen-1",
        "ProcessingJobStatus": "Failed",
        "FailureReason": "AlgorithmError",
        "ProcessingOutputConfig": {"Outputs": [{"S3Output": {"S3Uri": "s3://bucket/c/output"}}]},
    }
    state = ProcessingJob.from_description(ours)
    assert (state.run_id, state.is_finished, state.output_location.uri) == ("1", True, "s3://bucket/c/output")
    assert str(state) == "job loadgen-1 is Failed: AlgorithmError"
    with pytest.raises(UsageError):
        ProcessingJob.from_description(ours | {"ProcessingJobName": "other"})
    with pytest.raises(UsageError):
        ProcessingJob.from_description(ours | {"ProcessingOutputConfig": {"Outputs": []}})


def test_the_wheel_is_one_that_pip_installs(tmp_path):
    """The package that runs here, packed: pip takes it, every file is there, and it knows its version and prices."""
    wheel = build_wheel(tmp_path)
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("loadgen/")}
    package = Path(loadgen.__file__).parent
    there = {
        f"loadgen/{p.relative_to(package).as_posix()}"
        for p in package.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert packed == there
    target = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True, timeout=120)
    code = "import loadgen, loadgen.analysis.prices as p; print(loadgen.__file__, p.PriceBook.builtin().name != '')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        check=False,
        env=os.environ | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [str(target / "loadgen/__init__.py"), "True"]
    assert build_wheel(tmp_path).read_bytes() == wheel.read_bytes()


def test_a_parcel_holds_what_a_scenario_opens_and_nothing_else(tmp_path):
    """Files beside the scenario or below the working directory; nothing hidden, nothing of Python's own."""
    for name in ("work/data/a.jsonl", "work/.aws/credentials", "work/skipped.txt", "other/secret", "work/sub/ask.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with record_opened_files() as paths:
        for name in ("work/data/a.jsonl", "work/.aws/credentials", "other/secret"):
            (tmp_path / name).read_text()
        Path(json.__file__).read_text()
    (tmp_path / "work/skipped.txt").read_text()
    parcel = build_bundle(paths, scenario=tmp_path / "work/sub/ask.py", working_directory=tmp_path / "work")
    assert sorted(parcel.files) == ["data/a.jsonl", "sub/ask.py"]
    assert (parcel.working_directory, parcel.remote_path(tmp_path / "work/sub/ask.py")) == ("", "sub/ask.py")
    aside = build_bundle([], scenario=tmp_path / "other/secret", working_directory=tmp_path / "work")
    assert (aside.working_directory, aside.remote_path(tmp_path / "other/secret")) == ("work", "../other/secret")

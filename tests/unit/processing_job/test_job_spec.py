"""The request of CreateProcessingJob, its price, and the description of a job."""

import botocore.session
import pytest
from botocore.validate import ParamValidator

from loadgen.analysis.prices import PriceBook
from loadgen.aws.deployment.names_and_tags import RUN_TAG
from loadgen.aws.s3 import S3Location
from loadgen.errors import ConfigError, UsageError
from loadgen.processing_job.job_spec import ProcessingJob, ProcessingJobSpec, job_request
from tests.support.processing_jobs import ROLE


def test_the_request_conforms_to_the_service_model():
    """The request passes botocore's validation, and the container's arguments have at most 256 characters."""
    spec = ProcessingJobSpec(ROLE, "ml.c5.xlarge", 3, 3600)
    request = job_request(
        spec,
        run_id="1122213045ab12",
        region="eu-west-1",
        s3_location=S3Location.parse("s3://bucket/a/b/"),
        tags={"CostCenter": "4711"},
    )
    model = botocore.session.get_session().get_service_model("sagemaker")
    shape = model.operation_model("CreateProcessingJob").input_shape
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    assert request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 3
    assert request["ProcessingInputs"][0]["S3Input"]["S3Uri"] == "s3://bucket/a/b/input"
    assert ".eu-west-1." in request["AppSpecification"]["ImageUri"]
    assert request["Tags"] == [{"Key": "CostCenter", "Value": "4711"}, {"Key": RUN_TAG, "Value": "1122213045ab12"}]
    assert all(len(argument) <= 256 for argument in request["AppSpecification"]["ContainerArguments"])


def test_an_invalid_spec_is_refused():
    """Values that CreateProcessingJob would reject are usage errors; a region without default image needs --image."""
    for invalid in (
        {"role": "runner"},
        {"instance_type": "m5.large"},
        {"instances": 0},
        {"instances": 101},
        {"max_runtime": 0},
    ):
        with pytest.raises(UsageError):
            ProcessingJobSpec(**({"role": ROLE} | invalid))
    with pytest.raises(ConfigError, match="--image"):
        job_request(ProcessingJobSpec(ROLE), run_id="r", region="mars-north-1", s3_location=S3Location("b"))
    request = job_request(
        ProcessingJobSpec(ROLE, image="mine:1"), run_id="r", region="mars-north-1", s3_location=S3Location("b")
    )
    assert request["AppSpecification"]["ImageUri"] == "mine:1"


def test_the_price_summary_is_the_maximum_cost():
    """It is instances x hours x price, with the price's date; without a price it says so."""
    prices = PriceBook.builtin()
    price = prices.instance("us-east-1", "ml.m5.large")
    summary = ProcessingJobSpec(ROLE, instances=4, max_runtime=7200).price_summary("us-east-1", prices)
    assert "4 x ml.m5.large for at most 2 h" in summary
    assert f"{4 * 2 * price.usd:.2f} USD" in summary
    assert price.as_of in summary
    assert "no price" in ProcessingJobSpec(ROLE, "ml.c7i.48xlarge").price_summary("mars-north-1", prices)


def test_only_jobs_of_loadgen_are_accepted():
    """A job with another name prefix, or without exactly one output, is a usage error."""
    description = {
        "ProcessingJobName": "loadgen-1",
        "ProcessingJobStatus": "Failed",
        "FailureReason": "AlgorithmError",
        "ProcessingOutputConfig": {"Outputs": [{"S3Output": {"S3Uri": "s3://bucket/c/output"}}]},
    }
    job = ProcessingJob.from_description(description)
    assert (job.run_id, job.is_finished, job.output_location.uri) == ("1", True, "s3://bucket/c/output")
    assert str(job) == "job loadgen-1 is Failed: AlgorithmError"
    assert job.certificate_location is None
    several = description | {
        "ProcessingResources": {"ClusterConfig": {"InstanceCount": 2}},
        "ProcessingInputs": [{"S3Input": {"S3Uri": "s3://bucket/c/input"}}],
    }
    assert ProcessingJob.from_description(several).certificate_location == S3Location("bucket", "c/input/run.pem")
    with pytest.raises(UsageError):
        ProcessingJob.from_description(description | {"ProcessingJobName": "other"})
    with pytest.raises(UsageError):
        ProcessingJob.from_description(description | {"ProcessingOutputConfig": {"Outputs": []}})

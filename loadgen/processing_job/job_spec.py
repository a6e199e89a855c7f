"""The request of CreateProcessingJob and the description of a job. No I/O.

A job runs the same command line as a user would. The leader deletes the run's endpoints. Because an instance can be
lost, `--wait` and `fetch` delete what an ended job left behind.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loadgen.analysis.prices import PriceBook, PriceUnavailable
from loadgen.aws.deployment.names_and_tags import NAME_PREFIX, RUN_TAG, tag_value, to_tag_list
from loadgen.aws.s3 import S3Location
from loadgen.errors import ConfigError, UsageError
from loadgen.validation import to_int

INSTANCE_TYPE = "ml.m5.large"  # default of AWS's sm-serverless-benchmarking
MAX_RUNTIME = 24 * 3600  # seconds: the SageMaker SDK's default
_MAX_RUNTIME_LIMIT = 777_600  # botocore service model sagemaker 2017-07-24, ProcessingMaxRuntimeInSeconds
_VOLUME_GB = 30
_INPUT_PATH = "/opt/ml/processing/input"
_OUTPUT_PATH = "/opt/ml/processing/output"
_RESOURCE_CONFIG_PATH = "/opt/ml/config/resourceconfig.json"
_EXIT_MESSAGE_PATH = "/opt/ml/output/message"
# AWS Deep Learning Containers: the image with a recent Python that needs no subscription; account 763104351884 in
# these regions (aws/sagemaker-python-sdk, image_uri_config/pytorch.json; aws/deep-learning-containers, 2025).
_IMAGE = "763104351884.dkr.ecr.{region}.amazonaws.com/pytorch-training:2.6.0-cpu-py312-ubuntu22.04-sagemaker"
_IMAGE_REGIONS = frozenset(
    {
        *("us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1"),
        *("eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3"),
        *("ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2"),
    }
)
JOB_CONFIG_FILE = "job_config.json"
CERTIFICATE_FILE = "run.pem"  # below the job's input; its certificate and key, for jobs with several instances
_FINAL_STATUSES = frozenset({"Completed", "Failed", "Stopped"})

# Source: botocore service model sagemaker 2017-07-24, RoleArn, ProcessingInstanceType and ImageUri. An image's URI has
# no scheme and no space (docker's distribution reference).
_ROLE_PATTERN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[a-zA-Z_0-9+=,.@/-]+")
_INSTANCE_TYPE_PATTERN = re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9]+")
_IMAGE_PATTERN = re.compile(r"(?=.{1,255}$)[A-Za-z0-9.-]+(:\d+)?(/[A-Za-z0-9._-]+)*([:@][A-Za-z0-9._:+-]+)?")


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class ProcessingJobSpec:
    """The instances of a Processing job and its maximum runtime.

    Args:
        role: ARN of the execution role; it needs loadgen's permissions and access to the job's S3 location.
        instance_type: such as `ml.m5.large`.
        instances: number of instances, 1 to 100; each sends one shard.
        max_runtime: seconds after which SageMaker stops the job.
        image: URI of a container image with Python 3.11 or later; empty for an AWS Deep Learning Container.

    Raises:
        UsageError: CreateProcessingJob would reject a value.
    """

    role: str
    instance_type: str = INSTANCE_TYPE
    instances: int = 1
    max_runtime: int = MAX_RUNTIME
    image: str = ""

    def __post_init__(self) -> None:
        if not _matches(_ROLE_PATTERN, self.role):
            raise UsageError(
                f"role {self.role!r:.80}", hint="give the ARN of an execution role: arn:aws:iam::123456789012:role/NAME"
            )
        if not _matches(_INSTANCE_TYPE_PATTERN, self.instance_type):
            raise UsageError(f"instance type {self.instance_type!r:.80}", hint="such as ml.m5.large")
        if self.image != "" and not _matches(_IMAGE_PATTERN, self.image):
            raise UsageError(
                f"image {self.image!r:.80}",
                hint="give the URI of a container image of at most 255 characters, such as "
                "123456789012.dkr.ecr.us-east-1.amazonaws.com/python:3.12",
            )
        object.__setattr__(self, "instances", to_int(self.instances, "number of instances", 1, 100))
        max_runtime = to_int(self.max_runtime, "run time in seconds", 1, _MAX_RUNTIME_LIMIT)
        object.__setattr__(self, "max_runtime", max_runtime)

    def price_summary(self, region: str, prices: PriceBook) -> str:
        """Return a message with the job's maximum cost."""
        price = prices.instance(region, self.instance_type)
        hours = self.max_runtime / 3600
        resources = f"{self.instances} x {self.instance_type} for at most {hours:g} h"
        if isinstance(price, PriceUnavailable):
            return f"{resources}; the price book has no price for it in {region}"
        usd = self.instances * price.usd
        return f"{resources}: {usd:.3f} USD an hour, at most {usd * hours:.2f} USD (hosting price as of {price.as_of})"


def image_uri(spec: ProcessingJobSpec, region: str) -> str:
    """Return the URI of the container image.

    Raises:
        ConfigError: the spec has no image, and the default one is not known in this region.
    """
    if spec.image:
        return spec.image
    if region not in _IMAGE_REGIONS:
        raise ConfigError(f"no default container image for {region}", hint="give --image, with Python 3.11 or later")
    return _IMAGE.format(region=region)


def job_request(
    spec: ProcessingJobSpec,
    *,
    run_id: str,
    region: str,
    s3_location: S3Location,
    tags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the arguments of CreateProcessingJob.

    Args:
        spec: instances and runtime.
        run_id: id of the run; part of the job's name and value of its run tag.
        region: AWS region of the job.
        s3_location: S3 prefix of this job.
        tags: beside the run's; None for none.
    """
    code_path = f"{_INPUT_PATH}/code"
    job_config_path = f"{code_path}/{JOB_CONFIG_FILE}"
    # The arguments of bootstrap.py, then those of `loadgen _processing-instance`; each has at most 256 characters.
    arguments = [
        *(job_config_path, _EXIT_MESSAGE_PATH),
        *("--resource-config", _RESOURCE_CONFIG_PATH),
        *("--job-config", job_config_path),
        *("--out", _OUTPUT_PATH),
    ]
    return {
        "ProcessingJobName": f"{NAME_PREFIX}{run_id}",
        "RoleArn": spec.role,
        "AppSpecification": {
            "ImageUri": image_uri(spec, region),
            "ContainerEntrypoint": ["python3", f"{code_path}/bootstrap.py"],
            "ContainerArguments": arguments,
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": spec.instances,
                "InstanceType": spec.instance_type,
                "VolumeSizeInGB": _VOLUME_GB,
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": spec.max_runtime},
        "Environment": {"AWS_REGION": region, "AWS_DEFAULT_REGION": region},
        "ProcessingInputs": [
            {
                "InputName": "input",
                "S3Input": {
                    "S3Uri": (s3_location / "input").uri,
                    "LocalPath": _INPUT_PATH,
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                    "S3DataDistributionType": "FullyReplicated",
                    "S3CompressionType": "None",
                },
            }
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "output",
                    "S3Output": {
                        "S3Uri": (s3_location / "output").uri,
                        "LocalPath": _OUTPUT_PATH,
                        "S3UploadMode": "Continuous",
                    },
                }
            ]
        },
        "Tags": to_tag_list({**(tags or {}), RUN_TAG: tag_value(run_id)}),
    }


@dataclass(frozen=True, slots=True)
class ProcessingJob:
    """The description of a job from DescribeProcessingJob.

    Args:
        name: name of the job.
        status: `InProgress`, `Completed`, `Failed`, `Stopping` or `Stopped`.
        failure_reason: AWS's reason why the job failed or was stopped; empty otherwise.
        exit_message: exit message of the container; empty while it runs.
        output_location: S3 prefix of its results.
        certificate_location: S3 object with the certificate and the key of its instances; None with one instance.
    """

    name: str
    status: str
    failure_reason: str
    exit_message: str
    output_location: S3Location
    certificate_location: S3Location | None = None

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> "ProcessingJob":
        """Read the response of DescribeProcessingJob.

        Raises:
            UsageError: loadgen did not create this job.
        """
        name = description["ProcessingJobName"]
        outputs = description.get("ProcessingOutputConfig", {}).get("Outputs", ())
        if not name.startswith(NAME_PREFIX) or len(outputs) != 1:
            raise UsageError(f"loadgen did not create job {name}", hint=f"its jobs have names like {NAME_PREFIX}RUN")
        cluster = description.get("ProcessingResources", {}).get("ClusterConfig", {})
        inputs = description.get("ProcessingInputs", ())
        certificate = None
        if cluster.get("InstanceCount", 1) > 1 and inputs:
            certificate = S3Location.parse(inputs[0]["S3Input"]["S3Uri"]) / CERTIFICATE_FILE
        return cls(
            name,
            description["ProcessingJobStatus"],
            description.get("FailureReason", ""),
            description.get("ExitMessage", ""),
            S3Location.parse(outputs[0]["S3Output"]["S3Uri"]),
            certificate,
        )

    @property
    def run_id(self) -> str:
        """The id of the job's run."""
        return self.name.removeprefix(NAME_PREFIX)

    @property
    def is_finished(self) -> bool:
        """True when the job has ended, whatever its result."""
        return self.status in _FINAL_STATUSES

    def __str__(self) -> str:
        messages = "; ".join(filter(None, (self.exit_message, self.failure_reason)))
        return f"job {self.name} is {self.status}{f': {messages}' if messages else ''}"

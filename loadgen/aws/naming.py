"""How what we create is named, tagged and described to SageMaker. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from loadgen.target import ServerlessConfig

VARIANT = "AllTraffic"
_NAME_LIMIT = 63  # botocore service model sagemaker 2017-07-24, EndpointName
# Tag values: letters, digits, blanks and these (Tagging API reference); anything else becomes an underscore.
_NOT_IN_TAGS = re.compile(r"[^a-zA-Z0-9 _.:/=+@-]")
_TAG_LIMIT = 256


def endpoint_name(run_id: str, config: ServerlessConfig, suffix: str) -> str:
    """Name an endpoint so that a person knows whose it is: valid for AWS, at most 63 characters, unique by its suffix.

    Example:
        >>> endpoint_name("2026-11-22 a/b", ServerlessConfig(3072, 8), "x7k2")
        'loadgen-2026-11-22-a-b-3072-8-x7k2'
    """
    tail = f"-{config.memory_mb}-{config.max_concurrency}-{suffix}"
    run = re.sub(r"[^a-zA-Z0-9]+", "-", run_id).strip("-")
    return f"loadgen-{run}"[: _NAME_LIMIT - len(tail)].rstrip("-") + tail


def variant(model: str, config: ServerlessConfig) -> dict[str, Any]:
    """Build the production variant that CreateEndpointConfig takes."""
    serverless = {"MemorySizeInMB": config.memory_mb, "MaxConcurrency": config.max_concurrency}
    if config.provisioned_concurrency:
        serverless["ProvisionedConcurrency"] = config.provisioned_concurrency
    return {"VariantName": VARIANT, "ModelName": model, "ServerlessConfig": serverless}


def tags(*, run_id: str, owner: str, created: str) -> Mapping[str, str]:
    """Build the tags by which what a run left behind is found.

    Args:
        run_id: the run's.
        owner: who made it, such as the caller's ARN.
        created: when, ISO 8601 in UTC.

    Example:
        >>> tags(run_id="r1", owner="arn:aws:iam::1:user/a,b", created="2026-11-22T20:00:00Z")["loadgen:owner"]
        'arn:aws:iam::1:user/a_b'
    """
    values = {"loadgen:run": run_id, "loadgen:owner": owner, "loadgen:created": created}
    return {key: _NOT_IN_TAGS.sub("_", value)[:_TAG_LIMIT] for key, value in values.items()}

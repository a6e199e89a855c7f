"""How what we create is named, tagged and described to SageMaker. Pure."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from loadgen.workload.serverless_config import ServerlessConfig

VARIANT_NAME = "AllTraffic"
NAME_PREFIX = "loadgen-"
_MAX_NAME_LENGTH = 63  # botocore service model sagemaker 2017-07-24, EndpointName
# Tag values: letters, digits, blanks and these (Tagging API reference); anything else becomes an underscore.
_INVALID_TAG_CHARACTERS = re.compile(r"[^a-zA-Z0-9 _.:/=+@-]")
_MAX_TAG_LENGTH = 256
RUN_TAG, OWNER_TAG, CREATED_TAG, EXPIRES_TAG = "loadgen:run", "loadgen:owner", "loadgen:created", "loadgen:expires"
# An endpoint lives for the steps of its configuration; whatever stands a day later was left behind.
RESOURCE_LIFETIME = timedelta(days=1)


def endpoint_name(run_id: str, config: ServerlessConfig, suffix: str) -> str:
    """Name an endpoint so that a person knows whose it is: valid for AWS, at most 63 characters, unique by its suffix.

    Example:
        >>> endpoint_name("2026-11-22 a/b", ServerlessConfig(3072, 8), "x7k2")
        'loadgen-2026-11-22-a-b-3072-8-x7k2'
    """
    tail = f"-{config.memory_mb}-{config.max_concurrency}-{suffix}"
    run = re.sub(r"[^a-zA-Z0-9]+", "-", run_id).strip("-")
    return f"{NAME_PREFIX}{run}"[: _MAX_NAME_LENGTH - len(tail)].rstrip("-") + tail


def production_variant(model: str, config: ServerlessConfig) -> dict[str, Any]:
    """Build the production variant that CreateEndpointConfig takes."""
    serverless = {"MemorySizeInMB": config.memory_mb, "MaxConcurrency": config.max_concurrency}
    if config.provisioned_concurrency:
        serverless["ProvisionedConcurrency"] = config.provisioned_concurrency
    return {"VariantName": VARIANT_NAME, "ModelName": model, "ServerlessConfig": serverless}


def tags(*, run_id: str, owner: str, created: datetime) -> Mapping[str, str]:
    """Build the tags by which what a run left behind is found.

    Args:
        run_id: the run's.
        owner: who made it, such as the caller's ARN.
        created: when, in UTC.

    Example:
        >>> from datetime import UTC
        >>> found = tags(run_id="r1", owner="arn:aws:iam::1:user/a,b", created=datetime(2026, 11, 22, 20, tzinfo=UTC))
        >>> found[OWNER_TAG], found[EXPIRES_TAG]
        ('arn:aws:iam::1:user/a_b', '2026-11-23T20:00:00+00:00')
    """
    values = {
        RUN_TAG: run_id,
        OWNER_TAG: owner,
        CREATED_TAG: created.isoformat(timespec="seconds"),
        EXPIRES_TAG: (created + RESOURCE_LIFETIME).isoformat(timespec="seconds"),
    }
    return {key: tag_value(value) for key, value in values.items()}


def tag_value(text: str) -> str:
    """Return a text as a tag can hold it."""
    return _INVALID_TAG_CHARACTERS.sub("_", text)[:_MAX_TAG_LENGTH]

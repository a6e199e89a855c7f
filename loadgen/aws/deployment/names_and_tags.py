"""Names, tags and descriptions of created resources. Pure; the only place that defines name prefix and tag keys."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from loadgen.workload.serverless_config import ServerlessConfig

VARIANT_NAME = "AllTraffic"
NAME_PREFIX = "loadgen-"
_MAX_NAME_LENGTH = 63  # botocore service model sagemaker 2017-07-24, EndpointName
# Tag values: letters, digits, spaces and these (Tagging API reference); others are replaced by an underscore.
_INVALID_TAG_CHARACTERS = re.compile(r"[^a-zA-Z0-9 _.:/=+@-]")
_MAX_TAG_LENGTH = 256
RUN_TAG, OWNER_TAG, CREATED_TAG, EXPIRES_TAG = "loadgen:run", "loadgen:owner", "loadgen:created", "loadgen:expires"
# An endpoint exists for the steps of its configuration, which take less than this.
RESOURCE_LIFETIME = timedelta(days=1)


def endpoint_name(run_id: str, config: ServerlessConfig, suffix: str) -> str:
    """Name an endpoint after run and configuration: valid for AWS, at most 63 characters, unique by its suffix.

    Example:
        >>> endpoint_name("2026-11-22 a/b", ServerlessConfig(3072, 8), "x7k2")
        'loadgen-2026-11-22-a-b-3072-8-x7k2'
    """
    return _named_after(run_id, f"-{config.memory_mb}-{config.max_concurrency}-{suffix}")


def is_name_of_run(name: str, run_id: str) -> bool:
    """Return whether `endpoint_name` gives such a name to an endpoint of the run.

    Example:
        >>> is_name_of_run("loadgen-r-1024-8-x7k2", "r"), is_name_of_run("loadgen-r2-1024-8-x7k2", "r")
        (True, False)
    """
    tail = re.search(r"-\d+-\d+-[a-z0-9]+$", name)
    return bool(run_id) and tail is not None and name == _named_after(run_id, tail.group())


def _named_after(run_id: str, tail: str) -> str:
    run = re.sub(r"[^a-zA-Z0-9]+", "-", run_id).strip("-")
    return f"{NAME_PREFIX}{run}"[: _MAX_NAME_LENGTH - len(tail)].rstrip("-") + tail


def production_variant(model: str, config: ServerlessConfig) -> dict[str, Any]:
    """Return the production variant of CreateEndpointConfig."""
    serverless = {"MemorySizeInMB": config.memory_mb, "MaxConcurrency": config.max_concurrency}
    if config.provisioned_concurrency:
        serverless["ProvisionedConcurrency"] = config.provisioned_concurrency
    return {"VariantName": VARIANT_NAME, "ModelName": model, "ServerlessConfig": serverless}


def tags(*, run_id: str, owner: str, created: datetime) -> Mapping[str, str]:
    """Return the tags by which cleanup finds the resources of a run.

    Args:
        run_id: of the run.
        owner: the caller's ARN.
        created: in UTC.

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
    """Return a text as a valid tag value."""
    return _INVALID_TAG_CHARACTERS.sub("_", text)[:_MAX_TAG_LENGTH]

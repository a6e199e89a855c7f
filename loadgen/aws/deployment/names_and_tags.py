"""Names, tags and descriptions of created resources. Pure; the only place that defines name prefix and tag keys."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from loadgen.errors import UsageError
from loadgen.workload.serverless_config import ServerlessConfig

VARIANT_NAME = "AllTraffic"
NAME_PREFIX = "loadgen-"
_MAX_NAME_LENGTH = 63  # botocore service model sagemaker 2017-07-24, EndpointName
# Tag values: letters, digits, spaces and these (Tagging API reference); others are replaced by an underscore.
_INVALID_TAG_CHARACTERS = re.compile(r"[^a-zA-Z0-9 _.:/=+@-]")
_MAX_TAG_LENGTH = 256
RUN_TAG, OWNER_TAG, CREATED_TAG, EXPIRES_TAG = "loadgen:run", "loadgen:owner", "loadgen:created", "loadgen:expires"
_OWN_TAG_PREFIX = "loadgen:"
# Limits of tags. Source: botocore service model sagemaker 2017-07-24, TagList (at most 50), TagKey (1 to 128) and
# TagValue (at most 256), pattern ([\p{L}\p{Z}\p{N}_.:/=+\-@]*); "aws:" is reserved (AWS General Reference, "Tagging").
_MAX_TAGS, _MAX_KEY_LENGTH = 50, 128
_TAG_PUNCTUATION = frozenset("_.:/=+-@")
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


def validate_tags(given: Mapping[str, str]) -> dict[str, str]:
    """Return the user's tags as a dict, if AWS accepts them beside loadgen's own.

    Raises:
        UsageError: a key or value is invalid or reserved, or there are too many.

    Example:
        >>> validate_tags({"CostCenter": "4711"})
        {'CostCenter': '4711'}
    """
    if not isinstance(given, Mapping):
        raise UsageError(f"tags {given!r}", hint="give a dict such as {'CostCenter': '4711'}")
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise UsageError(f"tag {key!r}: {value!r}", hint="keys and values of tags are strings")
        _check_tag_text("key", key, key, 1, _MAX_KEY_LENGTH)
        _check_tag_text("value", key, value, 0, _MAX_TAG_LENGTH)
        if key.lower().startswith("aws:"):
            raise UsageError(f"tag key {key!r}", hint="AWS reserves keys that start with aws:")
        if key.lower().startswith(_OWN_TAG_PREFIX):
            raise UsageError(f"tag key {key!r}", hint="loadgen sets the keys that start with loadgen:")
    own = len((RUN_TAG, OWNER_TAG, CREATED_TAG, EXPIRES_TAG))
    if len(given) > _MAX_TAGS - own:
        raise UsageError(
            f"{len(given)} tags", hint=f"at most {_MAX_TAGS - own}: AWS allows {_MAX_TAGS}, and loadgen sets {own}"
        )
    folded = [key.lower() for key in given]
    if repeated := [key for key in given if folded.count(key.lower()) > 1]:
        raise UsageError(f"tag keys {', '.join(repeated)}", hint="keys must differ in more than case")
    return dict(given)


def _check_tag_text(part: str, key: str, text: str, minimum: int, maximum: int) -> None:
    if not minimum <= len(text) <= maximum:
        raise UsageError(f"tag {key[:40]!r}: its {part} has {len(text)} characters", hint=f"{minimum} to {maximum}")
    for character in text:
        if unicodedata.category(character)[0] not in "LZN" and character not in _TAG_PUNCTUATION:
            raise UsageError(
                f"tag {key!r}: its {part} contains {character!r}", hint="letters, digits, spaces and _ . : / = + - @"
            )


def to_tag_list(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as the API spells them."""
    return [{"Key": key, "Value": value} for key, value in values.items()]


def tag_value(text: str) -> str:
    """Return a text as a valid tag value."""
    return _INVALID_TAG_CHARACTERS.sub("_", text)[:_MAX_TAG_LENGTH]

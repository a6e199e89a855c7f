"""Names of SageMaker resources: validation."""

import re

from loadgen.errors import UsageError

# Source: botocore service model sagemaker 2017-07-24, ModelName and EndpointName.
_NAME_PATTERN = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


def validate_resource_name(kind: str, name: str) -> str:
    """Return a valid resource name unchanged.

    Args:
        kind: `model` or `endpoint`, for the message.
        name: to validate.

    Raises:
        UsageError: the name is invalid.
    """
    if not isinstance(name, str) or not _NAME_PATTERN.fullmatch(name):
        raise UsageError(f"{kind} name {name!r}", hint="1 to 63 letters, digits and hyphens, no hyphen at either end")
    return name

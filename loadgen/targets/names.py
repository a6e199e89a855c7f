"""Names of SageMaker resources: validation."""

import re

from loadgen.errors import UsageError

# Source: botocore service model sagemaker 2017-07-24, ModelName and EndpointName.
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


def checked_name(what: str, name: str) -> str:
    """Return a name that SageMaker could have given.

    Raises:
        UsageError: it could not.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"{what} name {name!r}", hint="1 to 63 letters, digits and hyphens, no hyphen at either end")
    return name

"""Whether an endpoint that was in service still is: told apart from errors of its model or of the network."""

from typing import Any

from loadgen.aws.errors import SDK_ERRORS, ErrorKind, classify_error

# EndpointStatus values in which an endpoint serves requests: it keeps serving while it is updated.
SERVING_STATUSES = frozenset({"InService", "Updating", "SystemUpdating", "RollingBack"})


async def endpoint_problem(sagemaker: Any, endpoint: str) -> str:
    """Return why an endpoint no longer serves requests; empty if it does, or if that cannot be read.

    Args:
        sagemaker: client of the control plane.
        endpoint: name of an endpoint that was in service.
    """
    try:
        description = await sagemaker.describe_endpoint(EndpointName=endpoint)
    except SDK_ERRORS as error:
        is_gone = classify_error(error) is ErrorKind.NOT_FOUND
        return f"endpoint {endpoint} no longer exists: it was deleted during the run, by another process" * is_gone
    status = str(description["EndpointStatus"])
    if status in SERVING_STATUSES:
        return ""
    reason = str(description.get("FailureReason") or "another process changes or deletes it")
    return f"endpoint {endpoint} is no longer in service: it is {status} ({reason})"

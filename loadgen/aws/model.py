"""What a SageMaker model may not have to be deployed on a serverless endpoint. Pure."""

from collections.abc import Mapping
from typing import Any


def serverless_exclusions(model: Mapping[str, Any]) -> list[str]:
    """Return the members of a model that serverless endpoints exclude, as the API spells them.

    Args:
        model: output of DescribeModel.

    Source: SageMaker developer guide, "Serverless Inference", feature exclusions (2026-11).

    Example:
        >>> serverless_exclusions({"PrimaryContainer": {"Mode": "MultiModel"}, "EnableNetworkIsolation": True})
        ['EnableNetworkIsolation', 'PrimaryContainer.Mode MultiModel']
    """
    found = [member for member in ("VpcConfig", "EnableNetworkIsolation") if model.get(member)]
    containers = model.get("Containers") or []
    if len(containers) > 1:
        found.append(f"{len(containers)} Containers")
    named = [("PrimaryContainer", model.get("PrimaryContainer") or {})]
    named += [(f"Containers[{number}]", container) for number, container in enumerate(containers)]
    return found + [f"{name}.Mode MultiModel" for name, container in named if container.get("Mode") == "MultiModel"]

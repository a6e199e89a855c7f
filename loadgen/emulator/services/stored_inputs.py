"""StoredInputs: limits the resources that an account keeps, by number and by the size of their inputs.

The emulator keeps everything in memory; its limits are lower than AWS's, and are reported in AWS's words.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from loadgen.emulator.protocol.errors import ServiceError

MAX_RESOURCES = 10_000  # of one kind
MAX_STORED_BYTES = 64 << 20  # of the inputs of one kind, as JSON


class StoredInputs:
    """The sizes of the inputs of the resources of one kind, by name.

    Args:
        noun: what the resources are, in the plural.
        max_resources: limit of their number.
        max_bytes: limit of their inputs together.
    """

    def __init__(self, noun: str, *, max_resources: int = MAX_RESOURCES, max_bytes: int = MAX_STORED_BYTES) -> None:
        self._noun = noun
        self._max_resources = max_resources
        self._max_bytes = max_bytes
        self._sizes: dict[str, int] = {}
        self._total = 0

    def add(self, name: str, payload: Mapping[str, Any]) -> None:
        """Count a new resource.

        Raises:
            ServiceError: ResourceLimitExceeded.
        """
        size = len(orjson.dumps(payload, default=str))
        if len(self._sizes) >= self._max_resources:
            raise limit_exceeded(f"Number of {self._noun}", self._max_resources, len(self._sizes), 1)
        if self._total + size > self._max_bytes:
            raise limit_exceeded(f"Size of {self._noun} in bytes", self._max_bytes, self._total, size)
        self._sizes[name] = size
        self._total += size

    def remove(self, name: str) -> None:
        """Stop to count a resource."""
        self._total -= self._sizes.pop(name, 0)


def limit_exceeded(quota: str, limit: int, current: int, delta: int, unit: str = "Units") -> ServiceError:
    """Build the control plane's error for a quota. Source: ResourceLimitExceeded messages in public issues."""
    return ServiceError(
        "ResourceLimitExceeded",
        f"The account-level service limit '{quota}' is {limit} {unit}, with current utilization of {current} {unit} "
        f"and a request delta of {delta} {unit}. Please use AWS Service Quotas to request an increase for this quota.",
    )

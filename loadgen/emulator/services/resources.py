"""Resources of the control plane: models, endpoint configurations and endpoints, from creation to deletion.

Pure: nothing runs in the background. `EmulatedEndpoint.advance_to(now)` applies the changes that are due when an
endpoint is used. Instants are epoch seconds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loadgen.emulator.behaviour.fleet import Fleet
from loadgen.emulator.behaviour.profile import Profile


@dataclass(slots=True)
class EmulatedModel:
    """A model: the input of CreateModel, and the profile of its behaviour."""

    name: str
    arn: str
    payload: dict[str, Any]
    profile: Profile
    created: float
    status: str = ""

    @property
    def modified(self) -> float:
        """Time of creation: models do not change."""
        return self.created


@dataclass(frozen=True, slots=True)
class Capacity:
    """Memory size, MaxConcurrency and ProvisionedConcurrency of a serverless variant."""

    memory_mb: int
    max_concurrency: int
    provisioned: int = 0

    def serverless_config(self) -> dict[str, int]:
        """Return the members of a ServerlessConfig."""
        provisioned = {"ProvisionedConcurrency": self.provisioned} if self.provisioned else {}
        return {"MemorySizeInMB": self.memory_mb, "MaxConcurrency": self.max_concurrency} | provisioned


@dataclass(slots=True)
class EndpointConfig:
    """An endpoint configuration with its one serverless variant."""

    name: str
    arn: str
    payload: dict[str, Any]
    variant: str
    model: EmulatedModel
    capacity: Capacity
    created: float
    modified: float
    status: str = ""


@dataclass(frozen=True, slots=True)
class PendingDeployment:
    """A deployment in progress: its target and the instant at which it is ready, `math.inf` for never."""

    config: EndpointConfig
    capacity: Capacity
    ready_at: float
    failure_reason: str = ""


class EmulatedEndpoint:
    """One endpoint.

    Args:
        name: name as it was created.
        arn: Amazon resource name.
        pending: the first deployment.
        now: instant of creation.
        create_fleet: creates the fleet of a configuration and a capacity, at an instant.
    """

    def __init__(
        self,
        name: str,
        arn: str,
        pending: PendingDeployment,
        now: float,
        create_fleet: Callable[[EndpointConfig, Capacity, float], Fleet],
    ) -> None:
        self.name = name
        self.arn = arn
        self.created = now
        self.modified = now
        self.status = "Creating"
        self.failure_reason = ""
        self.config = pending.config
        self.capacity = pending.capacity
        self.fleet: Fleet | None = None
        self.pending: PendingDeployment | None = pending
        self._create_fleet = create_fleet
        self._deleted_at = math.inf

    @property
    def is_serving(self) -> bool:
        """Whether it serves requests: from InService on, and while it is updated."""
        return self.fleet is not None and self.status in {"InService", "Updating"}

    @property
    def is_in_progress(self) -> bool:
        """Whether a change is in progress, so that another one is rejected."""
        return self.status in {"Creating", "Updating", "Deleting"}

    def advance_to(self, now: float) -> bool:
        """Apply the changes that are due by `now`; return False if the endpoint is deleted."""
        if now >= self._deleted_at:
            return False
        change = self.pending
        if change is None or now < change.ready_at:
            return True
        self.pending = None
        self.modified = change.ready_at
        if change.failure_reason:
            self.failure_reason = change.failure_reason
            # An update that fails leaves the old deployment serving.
            self.status = "Failed" if self.fleet is None else "InService"
            return True
        if self.fleet is not None and change.config is self.config:
            self.fleet.resize(change.capacity.max_concurrency, change.capacity.provisioned, change.ready_at)
        else:
            self.fleet = self._create_fleet(change.config, change.capacity, change.ready_at)
        self.config, self.capacity = change.config, change.capacity
        self.failure_reason = ""
        self.status = "InService"
        return True

    def update(self, pending: PendingDeployment, now: float) -> None:
        """Start a deployment; the current one serves until it is ready."""
        self.pending = pending
        self.status = "Updating"
        self.modified = now

    def delete(self, now: float, deleted_at: float) -> None:
        """Start the deletion, which ends at `deleted_at`."""
        self.pending = None
        self.status = "Deleting"
        self.modified = now
        self._deleted_at = deleted_at

    def describe(self) -> dict[str, Any]:
        """Return the output of DescribeEndpoint."""
        shown: dict[str, Any] = {
            "EndpointName": self.name,
            "EndpointArn": self.arn,
            "EndpointConfigName": self.config.name,
            "EndpointStatus": self.status,
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
        }
        if self.failure_reason:
            shown["FailureReason"] = self.failure_reason
        if self.fleet is not None:
            desired = self.pending.capacity if self.pending else self.capacity
            shown["ProductionVariants"] = [self._describe_variant(self.config, self.capacity, desired)]
        if self.pending is not None:
            pending = self._describe_variant(self.pending.config, self.pending.capacity, self.pending.capacity)
            pending["VariantStatus"] = [{"Status": self.status, "StartTime": self.modified}]
            shown["PendingDeploymentSummary"] = {
                "EndpointConfigName": self.pending.config.name,
                "ProductionVariants": [pending],
                "StartTime": self.modified,
            }
        return shown

    def _describe_variant(self, config: EndpointConfig, current: Capacity, desired: Capacity) -> dict[str, Any]:
        container = config.model.payload.get("PrimaryContainer") or {}
        image = str(container.get("Image", ""))
        return {
            "VariantName": config.variant,
            "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": self.created}],
            "CurrentWeight": 1.0,
            "DesiredWeight": 1.0,
            "CurrentInstanceCount": 0,
            "CurrentServerlessConfig": current.serverless_config(),
            "DesiredServerlessConfig": desired.serverless_config(),
        }

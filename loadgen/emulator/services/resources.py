"""Endpoint: the life of one emulated endpoint, from Creating to gone.

Pure: nothing runs in the background. What happens by itself with time is worked out by `settle(now)` whenever
somebody looks. Instants are epoch seconds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loadgen.emulator.behaviour.fleet import Fleet
from loadgen.emulator.behaviour.profile import Profile


@dataclass(slots=True)
class EmulatedModel:
    """A registered model: what CreateModel was given, and how it behaves."""

    name: str
    arn: str
    payload: dict[str, Any]
    profile: Profile
    created: float
    status: str = ""

    @property
    def modified(self) -> float:
        """Models do not change."""
        return self.created


@dataclass(frozen=True, slots=True)
class Capacity:
    """The three figures of a serverless variant."""

    memory_mb: int
    max_concurrency: int
    provisioned: int = 0

    def serverless_config(self) -> dict[str, int]:
        """Return them as the API spells them."""
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
    """A deployment under way: what the endpoint becomes, and when; at `math.inf` it never does."""

    config: EndpointConfig
    capacity: Capacity
    ready_at: float
    failure_reason: str = ""


class EmulatedEndpoint:
    """One endpoint.

    Args:
        name: as it was created.
        arn: its resource name.
        pending: the first deployment.
        now: when it was created.
        create_fleet: makes the fleet of instances for a configuration and a capacity, at an instant.
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
        """Whether it takes requests: from InService on, and while it is updated."""
        return self.fleet is not None and self.status in {"InService", "Updating"}

    @property
    def is_in_progress(self) -> bool:
        """Whether a change is under way, so that another one is refused."""
        return self.status in {"Creating", "Updating", "Deleting"}

    def advance_to(self, now: float) -> bool:
        """Let happen what is due by `now`; return False when the endpoint is gone."""
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
        """Begin a change; what serves now goes on until it is ready."""
        self.pending = pending
        self.status = "Updating"
        self.modified = now

    def delete(self, now: float, deleted_at: float) -> None:
        """Begin the end: Deleting, and at `deleted_at` no longer there."""
        self.pending = None
        self.status = "Deleting"
        self.modified = now
        self._deleted_at = deleted_at

    def describe(self) -> dict[str, Any]:
        """Return DescribeEndpoint's output."""
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

"""EmulatedJob: the state of one Processing job."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_DESCRIBED_MEMBERS = (
    *("ProcessingJobName", "ProcessingResources", "AppSpecification", "RoleArn", "ProcessingInputs"),
    *("ProcessingOutputConfig", "StoppingCondition", "Environment", "NetworkConfig"),
)


@dataclass(slots=True)
class EmulatedJob:
    """A Processing job and, while it runs, its processes. Instants are epoch seconds."""

    name: str
    arn: str
    payload: Mapping[str, Any]
    created: float
    modified: float
    status: str = "InProgress"
    started: float | None = None
    ended: float | None = None
    failure_reason: str = ""
    exit_message: str = ""
    stop_requested: asyncio.Event = field(default_factory=asyncio.Event)
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def instance_count(self) -> int:
        """The number of its instances."""
        return int(self.payload["ProcessingResources"]["ClusterConfig"]["InstanceCount"])

    def describe(self) -> dict[str, Any]:
        """Return the output of DescribeProcessingJob."""
        shown: dict[str, Any] = {
            member: self.payload[member] for member in _DESCRIBED_MEMBERS if member in self.payload
        }
        shown |= self.summary()
        return shown | ({"ProcessingStartTime": self.started} if self.started is not None else {})

    def summary(self) -> dict[str, Any]:
        """Return the job's row in the output of ListProcessingJobs."""
        optional = {
            "ProcessingEndTime": self.ended,
            "FailureReason": self.failure_reason,
            "ExitMessage": self.exit_message,
        }
        return {
            "ProcessingJobName": self.name,
            "ProcessingJobArn": self.arn,
            "ProcessingJobStatus": self.status,
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
        } | {name: value for name, value in optional.items() if value}

    def finish(self, status: str, now: float, failure_reason: str = "") -> None:
        """Set the final status."""
        self.status, self.failure_reason = status, failure_reason[:1024]
        self.ended = self.modified = now

"""ResourceRegistry: resources that may exist, from before their Create until they are known not to exist.

The registry is in memory and synchronous, so a cancellation cannot interrupt it. A `Journal` keeps its events on disk,
where they survive a killed process.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol

from loadgen.interfaces import Leftover


class ResourceKind(StrEnum):
    """Kind of a resource; the value is the AWS CLI's term."""

    ENDPOINT = "endpoint"
    CONFIG = "endpoint-config"
    MODEL = "model"


class JournalEvent(StrEnum):
    """Event of a resource in the journal."""

    INTENT = "intent"  # before a Create is sent: the resource may exist from now on
    CREATED = "created"  # a Create was confirmed
    DELETING = "deleting"  # before a Delete is sent
    GONE = "gone"  # known not to exist: never created, or deleted


class Journal(Protocol):
    """Store of events that survives the process."""

    def append(self, event: JournalEvent, kind: ResourceKind, name: str) -> None:
        """Record an event. An intent is on disk when this returns; a power failure may lose the last of the others.

        Raises:
            WriteError: an intent cannot be written, so nothing may be created. Other events do not raise, because a
                deletion must continue.
        """
        ...


class NullJournal:
    """Record nothing: the resources of a killed process are then found by their tags only."""

    def append(self, event: JournalEvent, kind: ResourceKind, name: str) -> None:
        """Record nothing."""


class Existence(IntEnum):
    """How much is known of a resource, in increasing order."""

    NOT_CREATED = 0  # no Create was sent, or each was refused
    UNCERTAIN = 1  # a Create is in flight, or its response was lost
    CREATED = 2  # a Create was confirmed; the control plane is eventually consistent
    OBSERVED = 3  # another call has found it


@dataclass(slots=True)
class TrackedResource:
    """One resource that may exist.

    Args:
        kind: of the resource.
        name: unique in the account and region.
        existence: how much is known of it.
        delete_error: why it could not be deleted, human-readable; empty before a failed attempt.
    """

    kind: ResourceKind
    name: str
    existence: Existence = Existence.NOT_CREATED
    delete_error: str = ""


class ResourceRegistry:
    """Track the resources of one account. O(1) calls, no await.

    Example:
        >>> held = ResourceRegistry(NullJournal(), region="us-east-1")
        >>> held.record_intent(ResourceKind.ENDPOINT, "loadgen-x").existence = Existence.OBSERVED
        >>> held.lines()[0].partition("; ")[2]
        'aws sagemaker delete-endpoint --endpoint-name loadgen-x --region us-east-1'
    """

    def __init__(self, journal: Journal, *, region: str, endpoint_url: str = "") -> None:
        self.journal = journal
        self._region, self._endpoint_url = region, endpoint_url
        self._resources: dict[tuple[ResourceKind, str], TrackedResource] = {}

    def __iter__(self) -> Iterator[TrackedResource]:
        return iter(list(self._resources.values()))

    def record_intent(self, kind: ResourceKind, name: str) -> TrackedResource:
        """Record that a resource is about to be created, and return its entry.

        Raises:
            WriteError: the intent cannot be written.
        """
        self.journal.append(JournalEvent.INTENT, kind, name)
        return self.track(kind, name)

    def track(self, kind: ResourceKind, name: str, existence: Existence = Existence.NOT_CREATED) -> TrackedResource:
        """Add a resource without an intent, such as one of an earlier process, and return its entry."""
        resource = self._resources[kind, name] = TrackedResource(kind, name, existence)
        return resource

    def mark_created(self, resource: TrackedResource) -> None:
        """Record that a Create was confirmed."""
        resource.existence = max(resource.existence, Existence.CREATED)
        self.journal.append(JournalEvent.CREATED, resource.kind, resource.name)

    def mark_deleting(self, resource: TrackedResource) -> None:
        """Record that a Delete is about to be sent."""
        self.journal.append(JournalEvent.DELETING, resource.kind, resource.name)

    def mark_gone(self, resource: TrackedResource) -> None:
        """Record that a resource does not exist. Idempotent."""
        if self._resources.pop((resource.kind, resource.name), None) is not None:
            self.journal.append(JournalEvent.GONE, resource.kind, resource.name)

    def leftovers(self) -> list[Leftover]:
        """Return what may still exist, in the order of deletion."""
        resources = [resource for resource in self if resource.existence is not Existence.NOT_CREATED]
        resources.sort(key=lambda resource: resource.kind is not ResourceKind.ENDPOINT)
        return [
            Leftover(
                resource.kind.value,
                resource.name,
                is_billable=resource.kind is ResourceKind.ENDPOINT,
                reason=_leftover_reason(resource),
                delete_command=delete_command(resource.kind, resource.name, self._region, self._endpoint_url),
            )
            for resource in resources
        ]

    def lines(self) -> list[str]:
        """Return one line for each leftover: resource, reason and the command that deletes it."""
        return [str(leftover) for leftover in self.leftovers()]


def delete_command(kind: ResourceKind, name: str, region: str, endpoint_url: str = "") -> str:
    """Return the AWS CLI's command that deletes a resource."""
    options = f" --region {region}" + (f" --endpoint-url {endpoint_url}" if endpoint_url else "")
    return f"aws sagemaker delete-{kind} --{kind}-name {name}{options}"


def _leftover_reason(resource: TrackedResource) -> str:
    is_certain = resource.existence > Existence.UNCERTAIN
    return resource.delete_error or ("not deleted yet" if is_certain else "its Create may have succeeded")

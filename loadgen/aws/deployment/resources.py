"""Holdings: what may exist in the account because of us, from just before a Create until it is known to be gone.

A register in memory, plain and synchronous, so that no cancellation can interrupt it half-way. Keeping it on disk, so
that it outlives a killed process, is the part of whoever implements `Journal`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol

from loadgen.interfaces import Leftover


class ResourceKind(StrEnum):
    """What can be held; the value is the AWS CLI's word."""

    ENDPOINT = "endpoint"
    CONFIG = "endpoint-config"
    MODEL = "model"


class JournalEvent(StrEnum):
    """What can be noted of a thing."""

    INTENT = "intent"  # a Create for this name is about to go out: from now on it may exist
    CREATED = "created"  # a Create was confirmed
    DELETING = "deleting"  # a Delete is about to go out
    GONE = "gone"  # it is known not to exist: it was never created, or it is removed


class Journal(Protocol):
    """Where events are kept beyond the life of the process."""

    def append(self, event: JournalEvent, kind: ResourceKind, name: str) -> None:
        """Note an event. An intent is safe when this returns; of the others a power cut may cost the last.

        Raises:
            WriteError: an intent cannot be kept, so that nothing may be created. The others never raise: a removal
                must go on.
        """
        ...


class NullJournal:
    """Keep nothing: what a killed process held is then found by its tags only."""

    def append(self, event: JournalEvent, kind: ResourceKind, name: str) -> None:
        """Keep nothing."""


class Existence(IntEnum):
    """How much is known of a thing, in the order in which it becomes known."""

    NOT_CREATED = 0  # no Create has gone out, or each was refused
    UNCERTAIN = 1  # a Create is in flight, or its answer was lost
    CREATED = 2  # a Create was confirmed; not every part of the control plane may know it yet
    OBSERVED = 3  # some other call has found it


@dataclass(slots=True)
class TrackedResource:
    """One thing that may exist.

    Args:
        kind: what it is.
        name: unique in the account and region.
        existence: how much is known of it.
        delete_error: why it could not be removed, in words; empty while nobody has tried in vain.
    """

    kind: ResourceKind
    name: str
    existence: Existence = Existence.NOT_CREATED
    delete_error: str = ""


class ResourceRegistry:
    """The register of one account. O(1) calls, no await.

    Example:
        >>> held = ResourceRegistry(NullJournal(), region="us-east-1")
        >>> held.record_intent(ResourceKind.ENDPOINT, "loadgen-x").existence = Existence.OBSERVED
        >>> held.lines()[0].partition("; ")[2]
        'aws sagemaker delete-endpoint --endpoint-name loadgen-x --region us-east-1'
    """

    def __init__(self, journal: Journal, *, region: str, endpoint_url: str = "") -> None:
        self.journal = journal
        self._cli_options = f" --region {region}" + (f" --endpoint-url {endpoint_url}" if endpoint_url else "")
        self._resources: dict[tuple[ResourceKind, str], TrackedResource] = {}

    def __iter__(self) -> Iterator[TrackedResource]:
        return iter(list(self._resources.values()))

    def record_intent(self, kind: ResourceKind, name: str) -> TrackedResource:
        """Note that this is about to be created, and return its entry.

        Raises:
            WriteError: the intent cannot be kept.
        """
        self.journal.append(JournalEvent.INTENT, kind, name)
        return self.track(kind, name)

    def track(self, kind: ResourceKind, name: str, existence: Existence = Existence.NOT_CREATED) -> TrackedResource:
        """Take in what an earlier process noted, or what is about to be created, and return its entry."""
        resource = self._resources[kind, name] = TrackedResource(kind, name, existence)
        return resource

    def mark_created(self, resource: TrackedResource) -> None:
        """Note that a Create was confirmed."""
        resource.existence = max(resource.existence, Existence.CREATED)
        self.journal.append(JournalEvent.CREATED, resource.kind, resource.name)

    def mark_deleting(self, resource: TrackedResource) -> None:
        """Note that a Delete is about to go out."""
        self.journal.append(JournalEvent.DELETING, resource.kind, resource.name)

    def mark_gone(self, resource: TrackedResource) -> None:
        """Note that this does not exist; again is no harm."""
        if self._resources.pop((resource.kind, resource.name), None) is not None:
            self.journal.append(JournalEvent.GONE, resource.kind, resource.name)

    def leftovers(self) -> list[Leftover]:
        """Return what may still exist, in the order in which it can be removed."""
        resources = [holding for holding in self if holding.existence is not Existence.NOT_CREATED]
        resources.sort(key=lambda holding: holding.kind is not ResourceKind.ENDPOINT)
        return [
            Leftover(
                holding.kind.value,
                holding.name,
                is_billable=holding.kind is ResourceKind.ENDPOINT,
                reason=_leftover_reason(holding),
                delete_command=f"aws sagemaker delete-{holding.kind} --{holding.kind}-name {holding.name}{self._cli_options}",
            )
            for holding in resources
        ]

    def lines(self) -> list[str]:
        """Say what may still exist, why, and the command that removes it, one line each."""
        return [str(leftover) for leftover in self.leftovers()]


def _leftover_reason(resource: TrackedResource) -> str:
    is_certain = resource.existence > Existence.UNCERTAIN
    return resource.delete_error or ("not removed yet" if is_certain else "its Create may have succeeded")

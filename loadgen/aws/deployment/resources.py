"""Holdings: what may exist in the account because of us, from just before a Create until it is known to be gone.

A register in memory, plain and synchronous, so that no cancellation can interrupt it half-way. Keeping it on disk, so
that it outlives a killed process, is the part of whoever implements `Journal`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol

from loadgen.interfaces import Leftover


class Kind(StrEnum):
    """What can be held; the value is the AWS CLI's word."""

    ENDPOINT = "endpoint"
    CONFIG = "endpoint-config"
    MODEL = "model"


class Event(StrEnum):
    """What can be noted of a thing."""

    INTENT = "intent"  # a Create for this name is about to go out: from now on it may exist
    CREATED = "created"  # a Create was confirmed
    DELETING = "deleting"  # a Delete is about to go out
    GONE = "gone"  # it is known not to exist: it was never created, or it is removed


class Journal(Protocol):
    """Where events are kept beyond the life of the process."""

    def note(self, event: Event, kind: Kind, name: str) -> None:
        """Note an event. An intent is safe when this returns; of the others a power cut may cost the last.

        Raises:
            WriteError: an intent cannot be kept, so that nothing may be created. The others never raise: a removal
                must go on.
        """
        ...


class NoJournal:
    """Keep nothing: what a killed process held is then found by its tags only."""

    def note(self, event: Event, kind: Kind, name: str) -> None:
        """Keep nothing."""


class Existence(IntEnum):
    """How much is known of a thing, in the order in which it becomes known."""

    ABSENT = 0  # no Create has gone out, or each was refused
    UNKNOWN = 1  # a Create is in flight, or its answer was lost
    CREATED = 2  # a Create was confirmed; not every part of the control plane may know it yet
    SEEN = 3  # some other call has found it


@dataclass(slots=True)
class Holding:
    """One thing that may exist.

    Args:
        kind: what it is.
        name: unique in the account and region.
        existence: how much is known of it.
        trouble: why it could not be removed, in words; empty while nobody has tried in vain.
    """

    kind: Kind
    name: str
    existence: Existence = Existence.ABSENT
    trouble: str = ""


class Holdings:
    """The register of one account. O(1) calls, no await.

    Example:
        >>> held = Holdings(NoJournal(), region="us-east-1")
        >>> held.expect(Kind.ENDPOINT, "loadgen-x").existence = Existence.SEEN
        >>> held.lines()[0].partition("; ")[2]
        'aws sagemaker delete-endpoint --endpoint-name loadgen-x --region us-east-1'
    """

    def __init__(self, journal: Journal, *, region: str, endpoint_url: str = "") -> None:
        self.journal = journal
        self._where = f" --region {region}" + (f" --endpoint-url {endpoint_url}" if endpoint_url else "")
        self._held: dict[tuple[Kind, str], Holding] = {}

    def __iter__(self) -> Iterator[Holding]:
        return iter(list(self._held.values()))

    def expect(self, kind: Kind, name: str) -> Holding:
        """Note that this is about to be created, and return its entry.

        Raises:
            WriteError: the intent cannot be kept.
        """
        self.journal.note(Event.INTENT, kind, name)
        return self.admit(kind, name)

    def admit(self, kind: Kind, name: str, existence: Existence = Existence.ABSENT) -> Holding:
        """Take in what an earlier process noted, or what is about to be created, and return its entry."""
        holding = self._held[kind, name] = Holding(kind, name, existence)
        return holding

    def confirm(self, holding: Holding) -> None:
        """Note that a Create was confirmed."""
        holding.existence = max(holding.existence, Existence.CREATED)
        self.journal.note(Event.CREATED, holding.kind, holding.name)

    def condemn(self, holding: Holding) -> None:
        """Note that a Delete is about to go out."""
        self.journal.note(Event.DELETING, holding.kind, holding.name)

    def drop(self, holding: Holding) -> None:
        """Note that this does not exist; again is no harm."""
        if self._held.pop((holding.kind, holding.name), None) is not None:
            self.journal.note(Event.GONE, holding.kind, holding.name)

    def leftovers(self) -> list[Leftover]:
        """Return what may still exist, in the order in which it can be removed."""
        held = [holding for holding in self if holding.existence is not Existence.ABSENT]
        held.sort(key=lambda holding: holding.kind is not Kind.ENDPOINT)
        return [
            Leftover(
                holding.kind.value,
                holding.name,
                is_billable=holding.kind is Kind.ENDPOINT,
                trouble=_trouble(holding),
                removal=f"aws sagemaker delete-{holding.kind} --{holding.kind}-name {holding.name}{self._where}",
            )
            for holding in held
        ]

    def lines(self) -> list[str]:
        """Say what may still exist, why, and the command that removes it, one line each."""
        return [str(leftover) for leftover in self.leftovers()]


def _trouble(holding: Holding) -> str:
    is_certain = holding.existence > Existence.UNKNOWN
    return holding.trouble or ("not removed yet" if is_certain else "its Create may have succeeded")

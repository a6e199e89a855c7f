"""Holdings: what may exist in the account because of us, from just before a Create until it is known to be gone.

A register in memory, plain and synchronous, so that no cancellation can interrupt it half-way. Keeping it on disk, so
that it outlives a killed process, is the part of whoever implements `Journal`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol


class Kind(StrEnum):
    """What can be held; the value is the AWS CLI's word."""

    ENDPOINT = "endpoint"
    CONFIG = "endpoint-config"
    MODEL = "model"


class Journal(Protocol):
    """Where intents are kept beyond the life of the process; a call returns when its note is safe."""

    def intent(self, kind: str, name: str) -> None:
        """Note that a Create call for this name is about to go out: from now on it may exist."""
        ...

    def done(self, kind: str, name: str) -> None:
        """Note that it is known not to exist: it was never created, or it is gone."""
        ...


class NoJournal:
    """Keep nothing: what a killed process held is then found by its tags only."""

    def intent(self, kind: str, name: str) -> None:
        """Keep nothing."""

    def done(self, kind: str, name: str) -> None:
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
        self._journal = journal
        self._where = f" --region {region}" + (f" --endpoint-url {endpoint_url}" if endpoint_url else "")
        self._held: dict[tuple[Kind, str], Holding] = {}

    def __iter__(self) -> Iterator[Holding]:
        return iter(list(self._held.values()))

    def expect(self, kind: Kind, name: str) -> Holding:
        """Note that this is about to be created, and return its entry."""
        self._journal.intent(kind, name)
        holding = self._held[kind, name] = Holding(kind, name)
        return holding

    def drop(self, holding: Holding) -> None:
        """Note that this does not exist; again is no harm."""
        if self._held.pop((holding.kind, holding.name), None) is not None:
            self._journal.done(holding.kind, holding.name)

    def lines(self) -> list[str]:
        """Say what may still exist, why, and the command that removes it, one line each."""
        held = [holding for holding in self if holding.existence is not Existence.ABSENT]
        held.sort(key=lambda holding: holding.kind is not Kind.ENDPOINT)  # in the order in which they can be removed
        return [f"{_told(holding)}; {_removal(holding)}{self._where}" for holding in held]


def _told(holding: Holding) -> str:
    price = "billable" if holding.kind is Kind.ENDPOINT else "costs nothing"
    is_certain = holding.existence > Existence.UNKNOWN
    trouble = holding.trouble or ("not removed yet" if is_certain else "its Create may have succeeded")
    return f"{holding.kind} {holding.name} ({price}): {trouble}"


def _removal(holding: Holding) -> str:
    return f"aws sagemaker delete-{holding.kind} --{holding.kind}-name {holding.name}"

"""Whether two measurements can be compared: what differs between them other than what is compared."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of one measurement, as JSON values.

    Args:
        measured_on: `aws`, `emulator`, ...
        region: AWS region.
        payload_sha256: hash of the payloads.
        seed: seed of the payload choice.
        detail: further provenance, such as the emulator's profile.
    """

    measured_on: str
    region: str
    payload_sha256: str
    seed: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StepConditions:
    """The conditions of one step, as JSON values.

    Args:
        load: the load.
        config: the endpoint configuration; None for an existing endpoint.
        transport: the transport that carried the calls.
    """

    load: Mapping[str, Any]
    config: Mapping[str, Any] | None
    transport: str


def differing_conditions(base: Conditions, new: Conditions) -> list[str]:
    """Return what makes two measurements incomparable, one sentence each."""
    found = []
    if base.measured_on != new.measured_on:
        found.append(f"target: BASE was measured on {base.measured_on}, NEW on {new.measured_on}")
    if base.region != new.region:
        found.append(f"region: BASE {base.region or 'unknown'}, NEW {new.region or 'unknown'}")
    if base.payload_sha256 != new.payload_sha256:
        found.append(f"payloads: sha256 BASE {base.payload_sha256[:12]}, NEW {new.payload_sha256[:12]}")
    return found


def differing_steps(label: str, base: StepConditions, new: StepConditions, *, may_differ: bool) -> list[str]:
    """Return what makes two steps incomparable, one sentence each.

    Args:
        label: of the step.
        base: its conditions in the base.
        new: its conditions in the new measurement.
        may_differ: True if the configuration is what is compared, as in an interleaved run.
    """
    found = []
    if base.load != new.load:
        found.append(f"load of {label}: {_changes(base.load, new.load)}")
    if base.config != new.config and not may_differ:
        found.append(f"configuration of {label}: {_changes(base.config or {}, new.config or {})}")
    if base.transport != new.transport:
        found.append(f"transport of {label}: BASE {base.transport or 'unknown'}, NEW {new.transport or 'unknown'}")
    return found


def _changes(base: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    names: Iterable[str] = dict.fromkeys((*base, *new))
    changed = [name for name in names if base.get(name) != new.get(name)]
    return ", ".join(f"{name} BASE {_short(base.get(name))}, NEW {_short(new.get(name))}" for name in changed)


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."

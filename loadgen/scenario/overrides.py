"""Overrides of scenario fields from the command line (`--set name=value`)."""

import ast
import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from loadgen.errors import UsageError
from loadgen.scenario.scenario import ScenarioProtocol


def apply_overrides(scenario: ScenarioProtocol, overrides: Mapping[str, str]) -> ScenarioProtocol:
    """Return a copy of the scenario with some fields replaced.

    Args:
        scenario: a dataclass.
        overrides: field name to text; the text is a Python literal, or else the value itself.

    Raises:
        UsageError: the scenario has no such field, or does not accept the value.
    """
    if not overrides:
        return scenario
    known = [f.name for f in fields(_as_dataclass(scenario))]
    values: dict[str, Any] = {}
    for name, text in overrides.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"its fields are {', '.join(known)}"
            raise UsageError(f"--set {name}: the scenario has no field of this name", hint=hint)
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two: thousands of brackets
            values[name] = text
    try:
        changed: ScenarioProtocol = replace(_as_dataclass(scenario), **values)
    except (TypeError, ValueError, AttributeError) as error:
        given = ", ".join(f"{name}={value!r:.60}" for name, value in values.items())
        raise UsageError(f"--set {given}: invalid type", hint=str(error)) from error
    return changed


def _as_dataclass(scenario: Any) -> Any:
    if not is_dataclass(scenario):
        raise UsageError(
            f"--set needs a scenario that is a dataclass, got {type(scenario).__name__}",
            hint="decorate its class with @dataclass",
        )
    return scenario

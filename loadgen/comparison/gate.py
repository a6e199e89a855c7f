"""Gates: limits on a change, such as `p95 > 5 %`, that decide the exit status of a comparison."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.comparison.metric import METRIC_BY_NAME, METRICS, Metric
from loadgen.comparison.verdict import SIGNIFICANCE, Answer, Judged
from loadgen.errors import UsageError

_RULE = re.compile(
    r"\s*(?P<metric>[\w-]+)\s*(?P<operator>[<>]=?)\s*(?P<number>[+-]?[\w.]+?)\s*(?P<unit>%|[A-Za-z/]*)\s*"
)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit on the change of a metric in the direction that is worse.

    Args:
        metric: the metric.
        limit: the largest change that passes, positive.
        is_absolute: True for a difference in the metric's stored unit (seconds, USD, 1/s), or a difference of shares;
            False for a ratio minus 1.
        text: the rule as given.
    """

    metric: Metric
    limit: float
    is_absolute: bool
    text: str

    def change_of(self, judged: Judged) -> float | None:
        """Return the change in the unit of the limit, positive if worse; None if it is unknown."""
        one = judged.difference
        if one.change is None or one.low is None:
            return None
        if not self.is_absolute or self.metric.is_share:
            return one.worsening
        return None if one.base is None else one.worsening * one.base.value

    def is_exceeded(self, judged: Judged) -> bool:
        """Tell whether a change is larger than the limit, and significant."""
        change = self.change_of(judged)
        return change is not None and change > self.limit and judged.p_value <= SIGNIFICANCE


def parse_gate(text: str) -> Gate:
    """Return the gate of a rule: a metric, `>` (`<` for tps), a number, and `%` or a unit.

    Raises:
        UsageError: the rule cannot be read; the message says which part.

    Example:
        >>> parse_gate("p95 > 5 %").limit, parse_gate("p95>20ms").limit, parse_gate("tps < -5%").limit
        (0.05, 0.02, 0.05)
    """
    found = _RULE.fullmatch(text)
    example = "such as 'p95 > 5 %', 'cost > 3 %', 'p99 > 20 ms', 'failed > 0.5 %' or 'tps < -5 %'"
    if found is None:
        raise UsageError(f"--fail-if {text!r} is not a rule", hint=f"give a metric, > and a limit, {example}")
    name, operator, unit = found["metric"].lower(), found["operator"], found["unit"]
    metric = METRIC_BY_NAME.get(name)
    if metric is None:
        known = ", ".join(metric.name for metric in METRICS)
        raise UsageError(f"--fail-if {text!r}: no metric {found['metric']!r}", hint=f"known: {known}")
    if _NUMBER.fullmatch(found["number"]) is None or not math.isfinite(float(found["number"])):
        raise UsageError(f"--fail-if {text!r}: {found['number']!r} is not a number", hint=example)
    wanted = ">" if metric.more_is_worse else "<"
    limit = float(found["number"]) * (1 if metric.more_is_worse else -1)
    if operator != wanted or limit < 0:
        direction = "more" if metric.more_is_worse else "less"
        rule = f"{name} > 5 %" if metric.more_is_worse else f"{name} < -5 %"
        raise UsageError(f"--fail-if {text!r}: {direction} {name} is worse", hint=f"write it as {rule!r}")
    factors = _units(metric)
    if unit not in factors:
        units = ", ".join(one or "no unit" for one in factors)
        raise UsageError(f"--fail-if {text!r}: {name} has no unit {unit!r}", hint=f"one of: {units}")
    return Gate(metric, limit * factors[unit], unit != "%" or metric.is_share, text)


def _units(metric: Metric) -> dict[str, float]:
    """Return each unit of a limit with its factor to the stored unit; the percent of a share are percentage points."""
    if metric.is_share:
        return {"%": 0.01}
    return {"%": 0.01} | {"ms": {"ms": 1e-3, "s": 1.0}, "USD": {"USD": 1.0}, "/s": {"/s": 1.0}}[metric.unit]


@dataclass(frozen=True, slots=True)
class GateResult:
    """What one gate says about one step.

    Args:
        text: the rule.
        step: label of the step.
        judged: the judged difference.
        is_exceeded: whether it fails the comparison.
        is_unknown: whether the comparison cannot tell.
    """

    text: str
    step: str
    judged: Judged
    is_exceeded: bool
    is_unknown: bool


def check_gates(gates: Sequence[Gate], steps: Sequence[tuple[str, Sequence[Judged]]]) -> tuple[GateResult, ...]:
    """Check every gate on every step; without a gate, every gating metric that is worse fails."""
    results = []
    for label, metrics in steps:
        for one in metrics:
            if not one.is_gating:
                continue
            is_unknown = one.answer is Answer.UNKNOWN
            if not gates:
                text = f"{one.difference.metric.name} worse"
                results.append(GateResult(text, label, one, one.answer is Answer.WORSE, is_unknown))
            for gate in gates:
                if gate.metric is one.difference.metric:
                    is_exceeded = gate.is_exceeded(one)
                    results.append(GateResult(gate.text, label, one, is_exceeded, is_unknown and not is_exceeded))
    return tuple(results)

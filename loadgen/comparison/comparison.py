"""Comparison of two measurements, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.comparison.blocks import block_counts, calls_of, share_block_count
from loadgen.comparison.comparable import differing_conditions, differing_steps
from loadgen.comparison.difference import (
    Difference,
    difference_of_intervals,
    difference_of_runs,
    without_change,
)
from loadgen.comparison.gate import Gate, GateResult, check_gates
from loadgen.comparison.measurement import MeasuredStep, Measurement
from loadgen.comparison.metric import METRICS, Metric
from loadgen.comparison.rounds import difference_of_rounds
from loadgen.comparison.verdict import Answer, Judged, Margins, judge_differences
from loadgen.errors import ConfigError, ExitStatus

BASE_STEP, NEW_STEP = "base", "new"
NOT_INTERLEAVED = "not interleaved: a difference may be the day's"


@dataclass(frozen=True, slots=True)
class StepComparison:
    """One step that both measurements have.

    Args:
        label: label of the step.
        base: the step of the base.
        new: the step of the new measurement.
        metrics: the judged differences, in the order of METRICS.
        invalid_reason: which side is INVALID, and why; empty if neither is.
    """

    label: str
    base: MeasuredStep
    new: MeasuredStep
    metrics: tuple[Judged, ...]
    invalid_reason: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of two measurements.

    Args:
        base: the base.
        new: the new measurement.
        is_interleaved: whether both were called in alternating blocks of one run.
        margins: changes that do not matter.
        steps: the steps that both have.
        gates: what each gate says about each step.
        unanswered_gates: rules whose metric has no difference in any step.
        differences: conditions that differ and INVALID sides, which --anyway accepted.
        notes: what limits the comparison.
        accepts_invalid: whether --anyway was given, so that an INVALID side is compared as well.
        is_strict: whether a gate that cannot be told fails.
    """

    base: Measurement
    new: Measurement
    is_interleaved: bool
    margins: Margins
    steps: tuple[StepComparison, ...]
    gates: tuple[GateResult, ...]
    unanswered_gates: tuple[str, ...]
    differences: tuple[str, ...]
    notes: tuple[str, ...]
    accepts_invalid: bool = False
    is_strict: bool = False

    @property
    def invalid_steps(self) -> tuple[StepComparison, ...]:
        """Steps of which a side is INVALID."""
        return tuple(step for step in self.steps if step.invalid_reason)

    @property
    def exceeded(self) -> tuple[GateResult, ...]:
        """Gates that fail the comparison."""
        return tuple(gate for gate in self.gates if gate.is_exceeded or (self.is_strict and gate.is_unknown))

    @property
    def status(self) -> ExitStatus:
        """The exit status: INVALID, THRESHOLD or OK."""
        if self.invalid_steps and not self.accepts_invalid:
            return ExitStatus.INVALID
        return ExitStatus.THRESHOLD if self.exceeded or self.unanswered_gates else ExitStatus.OK

    def count(self, answer: Answer) -> int:
        """Return how many metrics have a verdict."""
        return sum(one.answer is answer for step in self.steps for one in step.metrics)


def compare(
    base: Measurement,
    new: Measurement,
    *,
    margins: Margins,
    gates: Sequence[Gate] = (),
    accepts_differences: bool = False,
    is_strict: bool = False,
) -> Comparison:
    """Compare two measurements; one of them twice if its steps `base` and `new` were called in alternating blocks.

    Args:
        base: the base.
        new: the new measurement; the same object for an interleaved run.
        margins: changes that do not matter.
        gates: limits that decide the exit status; without one, any default metric that is worse does.
        accepts_differences: True to compare what is not comparable, or INVALID.
        is_strict: True to fail where a gate cannot be told.

    Raises:
        ConfigError: the measurements are not comparable, or have no step in common.
    """
    is_interleaved = base is new
    pairs = [_interleaved_steps(base)] if is_interleaved else _common_steps(base, new)
    problems = [] if is_interleaved else differing_conditions(base.conditions, new.conditions)
    for label, one, other in pairs:
        problems += differing_steps(label, one.conditions, other.conditions, may_differ=is_interleaved)
    invalid = [f"{label}: {reason}" for label, one, other in pairs if (reason := _invalid_reason(one, other))]
    if problems and not accepts_differences:
        raise ConfigError(
            f"{base.name} and {new.name} are not comparable: {problems[0]}",
            hint="--anyway compares them and states the difference",
            details=problems[1:],
        )
    gating = {gate.metric.name for gate in gates} or {m.name for m in METRICS if m.is_default_gate}
    found = [
        []
        if _invalid_reason(one, other) and not accepts_differences
        else _step_differences(one, other, margins, is_interleaved=is_interleaved)
        for _, one, other in pairs
    ]
    judged = judge_differences(found, gating, margins, is_interleaved=is_interleaved)
    steps = tuple(
        StepComparison(label, one, other, tuple(metrics), _invalid_reason(one, other))
        for (label, one, other), metrics in zip(pairs, judged, strict=True)
    )
    results = check_gates(gates, [(step.label, step.metrics) for step in steps])
    return Comparison(
        base=base,
        new=new,
        is_interleaved=is_interleaved,
        margins=margins,
        steps=steps,
        gates=results,
        unanswered_gates=tuple(gate.text for gate in gates if not _has_difference(gate, steps)),
        differences=(*problems, *(invalid if accepts_differences else ())),
        notes=(
            *_notes(base, new, [label for label, _, _ in pairs], margins, is_interleaved=is_interleaved),
            *(note for label, one, other in pairs for note in _early_ends(label, one, other)),
        ),
        accepts_invalid=accepts_differences,
        is_strict=is_strict,
    )


def _has_difference(gate: Gate, steps: Sequence[StepComparison]) -> bool:
    """Tell whether a gate's metric has a difference in some step, or no verdict because a side is INVALID."""
    return any(
        not step.metrics
        or any(one.difference.metric is gate.metric and one.difference.low is not None for one in step.metrics)
        for step in steps
    )


def _invalid_reason(base: MeasuredStep, new: MeasuredStep) -> str:
    sides = (("BASE", base), ("NEW", new))
    return "; ".join(f"{name} is INVALID: {step.invalid_reason}" for name, step in sides if step.invalid_reason)


def _interleaved_steps(measurement: Measurement) -> tuple[str, MeasuredStep, MeasuredStep]:
    steps = {step.label: step for step in measurement.steps}
    base, new = steps.get(BASE_STEP), steps.get(NEW_STEP)
    for name, step in ((BASE_STEP, base), (NEW_STEP, new)):
        if step is None or step.row is None or not step.row.run.blocks:
            raise ConfigError(
                f"{measurement.name} has no step {name!r} that was called in blocks",
                hint="give two directories, BASE and NEW, or one of an Interleaved scenario",
            )
    assert base is not None  # noqa: S101 - checked in the loop
    assert new is not None  # noqa: S101 - checked in the loop
    return "new against base", base, new


def _common_steps(base: Measurement, new: Measurement) -> list[tuple[str, MeasuredStep, MeasuredStep]]:
    """Return the steps with the same label, in order; if each side has one step, whatever the labels."""
    remaining = list(new.steps)
    pairs = []
    for step in base.steps:
        other = next((one for one in remaining if one.label == step.label), None)
        if other is not None:
            remaining.remove(other)
            pairs.append((step.label, step, other))
    if not pairs and len(base.steps) == len(new.steps) == 1:
        pairs = [(f"{base.steps[0].label} -> {new.steps[0].label}", base.steps[0], new.steps[0])]
    if not pairs:
        raise ConfigError(
            f"{base.name} and {new.name} have no step in common",
            hint="steps are matched by their names",
            details=[
                f"{side}: {', '.join(step.label for step in one.steps[:8]) or 'no step'}"
                for side, one in (("BASE", base), ("NEW", new))
            ],
        )
    return pairs


def _notes(
    base: Measurement, new: Measurement, labels: Sequence[str], margins: Margins, *, is_interleaved: bool
) -> tuple[str, ...]:
    notes = []
    if not is_interleaved:
        spread = f"; a spread of {100 * margins.between_runs:g} % between runs of the same thing is assumed"
        notes.append(NOT_INTERLEAVED + (spread if margins.between_runs else ""))
        if base.conditions.seed != new.conditions.seed:
            notes.append(f"seeds: BASE {base.conditions.seed}, NEW {new.conditions.seed}: the payloads differ in order")
        if base.conditions.detail != new.conditions.detail:
            notes.append(f"target: BASE {base.conditions.detail or 'none'}, NEW {new.conditions.detail or 'none'}")
        for side, one in (("BASE", base), ("NEW", new)):
            only = [step.label for step in one.steps if step.label not in labels]
            if only and len(labels) < len(one.steps):
                notes.append(f"only in {side}: {', '.join(only)}")
    return (*notes, *dict.fromkeys((*base.notes, *new.notes)))


def _early_ends(label: str, base: MeasuredStep, new: MeasuredStep) -> list[str]:
    """Return a note for each side whose load was not sent to its end."""
    rows = (("BASE", base.row), ("NEW", new.row))
    early = [(side, row.run.stop_reason) for side, row in rows if row is not None]
    return [f"{side} ended {label} early: {reason}" for side, reason in early if reason not in _WHOLE]


_WHOLE = frozenset({"count", "duration", "schedule"})


def _step_differences(
    base: MeasuredStep, new: MeasuredStep, margins: Margins, *, is_interleaved: bool
) -> list[Difference]:
    if base.row is None or new.row is None or not len(base.row.run.samples) or not len(new.row.run.samples):
        return [_by_intervals(metric, base, new, margins) for metric in METRICS]
    sides = (calls_of(base.row.run), calls_of(new.row.run))
    rows = (base.row, new.row)
    count, reason = (0, "") if is_interleaved else block_counts(sides)
    shares = share_block_count(sides)
    found = []
    for metric in METRICS:
        values = (base.values[metric.name], new.values[metric.name])
        if isinstance(values[0], str) or isinstance(values[1], str):
            found.append(without_change(metric, *values))
        elif metric.is_share and not is_interleaved and not shares:
            found.append(difference_of_intervals(metric, values[0], values[1], between_runs=0.0))
        elif is_interleaved:
            found.append(difference_of_rounds(metric, (values[0], values[1]), sides, rows))
        elif not count and not metric.is_share:
            found.append(without_change(metric, *values, reason=reason))
        else:
            found.append(
                difference_of_runs(
                    metric,
                    (values[0], values[1]),
                    sides,
                    rows,
                    blocks=min(shares, count or shares) if metric.is_share else count,
                    between_runs=margins.between_runs,
                )
            )
    return found


def _by_intervals(metric: Metric, base: MeasuredStep, new: MeasuredStep, margins: Margins) -> Difference:
    one, other = base.values[metric.name], new.values[metric.name]
    if isinstance(one, str) or isinstance(other, str):
        return without_change(metric, one, other)
    return difference_of_intervals(metric, one, other, between_runs=margins.between_runs)

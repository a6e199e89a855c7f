"""The answer of a comparison as text, and its tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.comparison.comparison import Comparison, StepComparison
from loadgen.comparison.measurement import Measurement
from loadgen.comparison.metric import Metric
from loadgen.comparison.verdict import Answer, Judged
from loadgen.report.content.table import (
    MISSING_CELL,
    Cell,
    Column,
    Table,
    interval_cell,
    number_cell,
    percent_cell,
    sanitize_text,
    usd_cell,
)
from loadgen.statistics.interval import Interval

_COLUMNS = (
    Column("Metric", "", "Latencies are response times in an open loop, else service times.", is_text=True),
    Column(
        "Verdict", "", "Worse or better: significant and not within the margin. Same: within the margin.", is_text=True
    ),
    Column("Base", "", "Value of BASE with its 95 % interval."),
    Column("New", "", "Value of NEW with its 95 % interval."),
    Column("Change", "", "New against base, with its 95 % interval; of shares, in percentage points."),
    Column("p", "", "Probability of such a change without a difference, corrected for the comparisons.", is_wide=True),
    Column("Blocks", "", "Blocks of each side, or pairs of blocks, that were tested.", is_wide=True),
    Column("Note", "", "Why a verdict cannot be told, and what could tell.", is_wide=True, is_text=True),
)
_MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class ComparisonHeadline:
    """The answer of a comparison.

    Args:
        title: one word or two, such as `WORSE`.
        sentence: what it rests on.
        is_good: whether it passes.
        is_open: whether it passes only because it cannot be told.
    """

    title: str
    sentence: str
    is_good: bool
    is_open: bool = False


def compared_names(comparison: Comparison) -> str:
    """Return what was compared with what."""
    if comparison.is_interleaved:
        return f"new against base in {comparison.new.name}"
    return f"{comparison.new.name} against {comparison.base.name}"


def comparison_headline(comparison: Comparison) -> ComparisonHeadline:
    """Return the answer: INVALID, WORSE, NOT EVALUATED, NOT DECIDED, BETTER, THE SAME or CANNOT BE TOLD."""
    if comparison.invalid_steps and not comparison.accepts_invalid:
        first = comparison.invalid_steps[0]
        return ComparisonHeadline("INVALID", f"{first.label}: {first.invalid_reason}", is_good=False)
    failed = [gate for gate in comparison.gates if gate.is_exceeded]
    if failed:
        named = [f"{gate.step}: {describe_change(gate.judged)}" for gate in failed]
        return ComparisonHeadline("WORSE", _listed(named), is_good=False)
    if comparison.unanswered_gates:
        rules = ", ".join(comparison.unanswered_gates)
        return ComparisonHeadline("NOT EVALUATED", f"no step has a difference for {rules}", is_good=False)
    unknown = [gate for gate in comparison.gates if gate.is_unknown]
    if unknown and comparison.is_strict:
        named = [f"{gate.step}: {describe_change(gate.judged)}" for gate in unknown]
        return ComparisonHeadline("NOT DECIDED", _listed(named), is_good=False)
    counts = {answer: comparison.count(answer) for answer in Answer}
    summary = ", ".join(f"{number} {answer.value}" for answer, number in counts.items() if number)
    sentence = f"Verdicts: {summary}"
    gating = [one.answer for step in comparison.steps for one in step.metrics if one.is_gating]
    if counts[Answer.WORSE]:
        return ComparisonHeadline("WITHIN THE LIMITS", f"{sentence}. No gate is exceeded", is_good=True)
    if gating and all(answer is Answer.SAME for answer in gating):
        return ComparisonHeadline("THE SAME", f"{sentence}. Margin {100 * comparison.margins.ratio:g} %", is_good=True)
    if Answer.BETTER in gating:
        return ComparisonHeadline("BETTER", sentence, is_good=True)
    return ComparisonHeadline("CANNOT BE TOLD", sentence, is_good=True, is_open=True)


def _listed(named: Sequence[str]) -> str:
    rest = f"; and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
    return "; ".join(named[:_MAX_NAMED]) + rest


def describe_change(judged: Judged) -> str:
    """Return a change in a few words, such as `p95 +12.3 % (8.1 to 16.5 %)`."""
    one = judged.difference
    if one.change is None or one.low is None or one.high is None:
        return f"{one.metric.title} {judged.explanation}"
    unit = "points" if one.metric.is_share else "%"
    return f"{one.metric.title} {100 * one.change:+.1f} {unit} ({100 * one.low:+.1f} to {100 * one.high:+.1f} {unit})"


def step_tables(comparison: Comparison) -> tuple[Table, ...]:
    """Return one table of metrics per step; a step without verdicts has none."""
    return tuple(_step_table(step, comparison) for step in comparison.steps if step.metrics)


def _step_table(step: StepComparison, comparison: Comparison) -> Table:
    rows, margins = tuple(_row(one) for one in step.metrics), comparison.margins
    notes = [
        f"Same: within {100 * margins.ratio:g} %, of shares within {100 * margins.share:g} percentage point.",
        "Metrics in brackets do not decide the exit status.",
    ]
    if step.invalid_reason:
        notes.insert(0, sanitize_text(step.invalid_reason))
    return Table(sanitize_text(step.label), _COLUMNS, rows, tuple(notes))


def _row(judged: Judged) -> tuple[Cell, ...]:
    one, metric = judged.difference, judged.difference.metric
    title = f"{metric.title} ({metric.unit or '%'})"
    change = MISSING_CELL
    if one.change is not None and one.low is not None and one.high is not None:
        change = Cell(f"{100 * one.change:+.2f} %", f"{100 * one.low:+.2f} to {100 * one.high:+.2f}")
        if metric.is_share:
            change = Cell(f"{100 * one.change:+.2f} pt", change.detail)
    return (
        Cell(title if judged.is_gating else f"[{title}]"),
        Cell(judged.answer.value),
        value_cell(metric, one.base),
        value_cell(metric, one.new),
        change,
        Cell("<0.0001" if judged.p_value < 1e-4 else f"{judged.p_value:.4f}") if change is not MISSING_CELL else change,
        Cell(f"{one.blocks}") if one.blocks else MISSING_CELL,
        Cell(sanitize_text(judged.explanation)),
    )


def value_cell(metric: Metric, value: Interval | None) -> Cell:
    """Return a value in the metric's unit, with its interval as detail."""
    if value is None:
        return MISSING_CELL
    if metric.is_share:
        detail = interval_cell(value, factor=100).detail
        return Cell(percent_cell(value.value, 1).text, detail)
    if metric.unit == "USD":
        detail = "" if value.ends is None else " to ".join(usd_cell(end).text for end in value.ends)
        return Cell(usd_cell(value.value).text, detail)
    found = interval_cell(value, factor=metric.factor)
    return found if found.detail else number_cell(value.value * metric.factor)


def measurements_table(comparison: Comparison) -> Table:
    """Return what was compared."""
    columns = (
        Column("", "", is_text=True),
        *(Column(name, "", is_text=True) for name in ("Run", "Created", "Measured on", "Region", "Payloads")),
    )
    sides = (("BASE", comparison.base), ("NEW", comparison.new))
    return Table("What was compared", columns, tuple(_measurement_row(name, one) for name, one in sides))


def _measurement_row(name: str, one: Measurement) -> tuple[Cell, ...]:
    conditions = one.conditions
    texts = (
        *(name, f"{one.name} ({one.run_id})", one.created),
        *(
            ", ".join(filter(None, (conditions.measured_on, conditions.detail))),
            conditions.region,
            conditions.payload_sha256[:12],
        ),
    )
    return tuple(Cell(sanitize_text(text)) for text in texts)


def gates_table(comparison: Comparison) -> Table:
    """Return what each gate says about each step."""
    columns = (
        Column("Gate", "", "A rule of --fail-if, or a metric that must not be worse.", is_text=True),
        Column("Step", "", is_text=True),
        Column("Result", "", is_text=True),
        Column("Observed", "", is_text=True),
    )
    rows = []
    for gate in comparison.gates:
        result = "exceeded" if gate.is_exceeded else "cannot be told" if gate.is_unknown else "passed"
        texts = (gate.text, gate.step, result, describe_change(gate.judged))
        rows.append(tuple(Cell(sanitize_text(text)) for text in texts))
    rows += [tuple(map(Cell, (text, "all", "not evaluated", "no value"))) for text in comparison.unanswered_gates]
    return Table("Rules on each step", columns, tuple(rows))

"""Cost tables: scores and costs of the memory sizes, and the comparison with a real-time instance."""

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.cost import Savings
from loadgen.analysis.recommendation import Recommendation, probability_text
from loadgen.analysis.size_choice import SizeChoice
from loadgen.report.content.columns import MEMORY_COLUMN
from loadgen.report.content.labels import memory_cell, recommended_row, runs_in_phase
from loadgen.report.content.table import (
    MISSING_CELL,
    Cell,
    Column,
    Table,
    count_cell,
    interval_cell,
    milliseconds_cell,
    sanitize_text,
    text_cell,
    usd_cell,
)
from loadgen.statistics.interval import Interval

_SCROLL_ROWS = 24  # a longer table scrolls in a box


def scores_table(analysis: Analysis) -> Table | None:
    """Return the comparison of the memory sizes with its uncertainty; None without a stability benchmark."""
    found = analysis.recommendation
    if found is None:
        return None
    cells = [] if found.choice is None else _score_rows(found, found.choice)
    highlighted = next((row for row, line in enumerate(cells) if line[0].text == str(found.memory_mb)), None)
    cells += [
        (Cell(str(mb)), MISSING_CELL, MISSING_CELL, MISSING_CELL, text_cell(f"excluded: {reason}"))
        for mb, reason in sorted(found.excluded.items())
    ]
    columns = (
        MEMORY_COLUMN,
        Column("Score", "%", "Score of the objective relative to the recommended size; lower is better."),
        Column("95 % interval", "%", "Interval of that difference; calls with the same payload are compared."),
        Column("Best", "", "Probability that the size has the lowest score."),
        Column("", is_text=True),
    )
    notes = (f"Objective: {sanitize_text(found.objective)}; the score is {sanitize_text(found.criterion)}.",)
    return Table(
        "Comparison of the memory sizes",
        columns,
        tuple(cells),
        notes,
        highlighted_row=highlighted,
    )


def _score_rows(found: Recommendation, choice: SizeChoice) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for mb in sorted(choice.scores, key=lambda size: (choice.scores[size], size)):
        ends = choice.ratios[mb].ends
        interval = "" if ends is None or mb == choice.memory_mb else _percent_range(ends)
        score = f"{100 * (choice.ratios[mb].value - 1):+.1f}"
        share = MISSING_CELL if choice.probability is None else _probability_cell(choice, mb)
        rows.append((Cell(str(mb)), Cell(score), Cell(interval), share, Cell(_remark(found, mb))))
    return rows


def _percent_range(ends: tuple[float, float]) -> str:
    return f"{100 * (ends[0] - 1):+.1f} to {100 * (ends[1] - 1):+.1f}"


def _probability_cell(choice: SizeChoice, memory_mb: int) -> Cell:
    shares = dict(choice.alternatives)
    best = 1 - sum(shares.values()) if memory_mb == choice.memory_mb else shares.get(memory_mb, 0.0)
    return Cell(probability_text(best).replace("above ", ">").replace("below ", "<"))


def _remark(found: Recommendation, memory_mb: int) -> str:
    """Return what a row says about its size."""
    if memory_mb == found.memory_mb:
        return "recommended"
    if found.choice is not None and memory_mb in found.choice.equivalent:
        return "equivalent"
    if memory_mb not in found.efficient:
        return "another size is as good or better in both"
    return "runner-up" if memory_mb == found.runner_up else ""


def cost_table(analysis: Analysis) -> Table:
    """Return billed duration and cost of each memory size."""
    rows = runs_in_phase(analysis, "stability")
    cells, notes = [], []
    for row in rows:
        cost = row.cost
        if cost is None:
            cells.append((memory_cell(row), *(MISSING_CELL,) * 5))
            continue
        cells.append(
            (
                memory_cell(row),
                Cell(
                    milliseconds_cell(cost.billed_duration).text,
                    interval_cell(cost.billed_interval, factor=1000).detail,
                ),
                milliseconds_cell(cost.billed_duration_with_cold_starts),
                usd_cell(cost.per_invocation),
                Cell(usd_cell(cost.per_million).text, _usd_ends(cost.per_million_interval)),
                usd_cell(cost.per_million_with_cold_starts),
            )
        )
        notes.append(f"Billed duration: {sanitize_text(cost.billed_source)}.")
        if cost.provisioned_hourly is not None:
            hourly = usd_cell(cost.provisioned_hourly).text
            notes.append(f"{cost.memory_mb} MB: provisioned concurrency costs {hourly} USD per hour in addition.")
        if cost.unavailable_reason:
            notes.append(f"Price unavailable: {sanitize_text(cost.unavailable_reason)}.")
    columns = (
        MEMORY_COLUMN,
        Column("Billed", "ms", "Mean billed duration of a warm call: model latency and overhead."),
        Column("with cold", "ms", "Mean billed duration of all calls of the run, cold starts included."),
        Column("One call", "USD", "Billed duration at the price of the size, plus bytes in and out at the data price."),
        Column("1M calls", "USD", "One million warm calls."),
        Column("1M with cold", "USD", "One million calls with the share of cold starts of this run."),
    )
    notes.append(f"Prices: {sanitize_text(analysis.price_source)}.")
    notes += [sanitize_text(sentence) for sentence in analysis.assumptions]
    notes += _unbilled_notes(analysis)
    return Table(
        "Cost of each memory size",
        columns,
        tuple(cells),
        tuple(dict.fromkeys(notes)),
        highlighted_row=recommended_row(rows, analysis),
    )


def _ends(interval: Interval | None) -> str:
    """Return the ends of an interval of seconds in milliseconds; empty without an interval."""
    return "" if interval is None else interval_cell(interval, factor=1000).detail


def _usd_ends(interval: Interval | None) -> str:
    """Return the ends of an interval in USD; empty without an interval."""
    if interval is None or interval.ends is None:
        return ""
    return " to ".join(usd_cell(end).text for end in interval.ends)


def _unbilled_notes(analysis: Analysis) -> list[str]:
    sizes = [str(row.memory_mb) for row in runs_in_phase(analysis, "stability") if row.cost is None]
    return [f"–: no successful call to bill at {', '.join(sizes)} MB."] if sizes else []


def savings_table(analysis: Analysis) -> Table | None:
    """Return the monthly costs of serverless and of an instance; None if there is nothing to compare."""
    savings = analysis.savings
    if savings is None or not savings.rows:
        return None
    columns = (
        Column("Invocations", "per month"),
        Column("Serverless", "USD per month"),
        Column("Instance", "USD per month", "A comparable real-time instance, 720 hours."),
        Column("Saved", "%", "Share of the instance's cost that serverless saves."),
    )
    cells = tuple(
        (
            count_cell(r.monthly_invocations),
            usd_cell(r.serverless_usd),
            usd_cell(r.instance_usd),
            Cell(f"{r.percent_saved:.1f}"),
        )
        for r in savings.rows
    )
    title = f"Savings: {savings.memory_mb} MB serverless compared with {sanitize_text(savings.instance)}"
    return Table(title, columns, cells, (savings_sentence(analysis),), is_scrollable=len(cells) > _SCROLL_ROWS)


def _break_even_ends(savings: Savings) -> str:
    if savings.break_even_low is None or savings.break_even_high is None:
        return ""
    return f" (95 % interval {savings.break_even_low:,.0f} to {savings.break_even_high:,.0f})"


def savings_sentence(analysis: Analysis) -> str:
    """Return one sentence with the break-even point, or why it is unknown."""
    savings = analysis.savings
    if savings is None:
        return "No memory size is recommended, so there is no comparison with an instance."
    instance = sanitize_text(savings.instance)
    if savings.break_even is None or savings.instance_monthly is None:
        reason = sanitize_text(savings.unavailable_reason) or "a price is missing"
        return f"The break-even point with {instance} is unknown: {reason}."
    monthly = usd_cell(savings.instance_monthly).text
    return (
        f"Below {savings.break_even:,.0f} invocations per month{_break_even_ends(savings)}, serverless at "
        f"{savings.memory_mb} MB is cheaper than one {instance} ({monthly} USD per month); above, the instance is "
        "cheaper."
    )

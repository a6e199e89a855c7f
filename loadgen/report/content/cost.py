"""The tables of money: how the memory sizes score, what a million calls cost, and where an instance is cheaper."""

from loadgen.analysis.analysis import Analysis
from loadgen.report.content.labels import memory_mb_of, recommended_row, runs_in_phase
from loadgen.report.content.table import (
    MISSING_CELL,
    Cell,
    Column,
    Table,
    count_cell,
    milliseconds_cell,
    number_cell,
    sanitize_text,
    text_cell,
    usd_cell,
)

_MEMORY = Column("Memory", "MB", "MemorySizeInMB of the endpoint; its CPU grows with it.")
_SCROLL_ROWS = 24  # rows that are worth a box of their own


def scores_table(analysis: Analysis) -> Table | None:
    """Return how each memory size scored; None when nothing was recommended."""
    choice = analysis.recommendation
    if choice is None:
        return None
    sizes = sorted(choice.scores, key=lambda size: (choice.scores[size], size))
    place = {choice.memory_mb: "recommended", choice.runner_up: "runner-up"}
    cells = [(Cell(str(mb)), number_cell(choice.scores[mb]), Cell(place.get(mb, ""))) for mb in sizes]
    cells += [
        (Cell(str(mb)), MISSING_CELL, text_cell(f"left out: {why}")) for mb, why in sorted(choice.excluded.items())
    ]
    columns = (
        _MEMORY,
        Column("Score", "", "The least is best. What it weighs is named by the objective."),
        Column("", is_text=True),
    )
    notes = (f"Objective: {sanitize_text(choice.objective)}. The least score is best.",)
    return Table(
        "How the memory sizes compare", columns, tuple(cells), notes, highlighted_row=0 if choice.memory_mb else None
    )


def cost_table(analysis: Analysis) -> Table:
    """Return what calling each memory size costs."""
    rows = runs_in_phase(analysis, "stability")
    cells, notes = [], []
    for row in rows:
        memory_mb, cost = memory_mb_of(row), row.cost
        first = MISSING_CELL if memory_mb is None else Cell(str(memory_mb))
        if cost is None:
            cells.append((first, *(MISSING_CELL,) * 5))
            continue
        cells.append(
            (
                first,
                milliseconds_cell(cost.billed_duration),
                milliseconds_cell(cost.billed_duration_with_cold_starts),
                usd_cell(cost.per_invocation),
                usd_cell(cost.per_million),
                usd_cell(cost.per_million_with_cold_starts),
            )
        )
        notes.append(f"Billed time: {sanitize_text(cost.billed_source)}.")
        if cost.provisioned_hourly is not None:
            hourly = usd_cell(cost.provisioned_hourly).text
            notes.append(f"Provisioned concurrency of {memory_mb} MB costs {hourly} USD an hour on top of this.")
        if cost.unavailable_reason:
            notes.append(f"No price: {sanitize_text(cost.unavailable_reason)}.")
    columns = (
        _MEMORY,
        Column("Billed", "ms", "The time of one warm call that AWS bills: model latency and overhead."),
        Column("with cold", "ms", "The same averaged over all calls of the run, cold starts included."),
        Column("One call", "USD", "Billed time at the size's price, and bytes in and out at the data price."),
        Column("1M calls", "USD", "A million warm calls."),
        Column("1M with cold", "USD", "A million calls with as many cold starts among them as this run had."),
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


def _unbilled_notes(analysis: Analysis) -> list[str]:
    left = [str(memory_mb_of(row)) for row in runs_in_phase(analysis, "stability") if row.cost is None]
    return [f"–: {', '.join(left)} MB served nothing, so there is nothing to bill."] if left else []


def savings_table(analysis: Analysis) -> Table | None:
    """Return serverless against an instance by monthly traffic; None when there is nothing to compare."""
    savings = analysis.savings
    if savings is None or not savings.rows:
        return None
    columns = (
        Column("Invocations", "a month"),
        Column("Serverless", "USD a month"),
        Column("Instance", "USD a month", "A comparable real-time instance, 720 hours."),
        Column("Saved", "%", "What serverless saves of the instance's cost."),
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
    title = f"{savings.memory_mb} MB serverless against {sanitize_text(savings.instance)}"
    return Table(title, columns, cells, (savings_sentence(analysis),), is_scrollable=len(cells) > _SCROLL_ROWS)


def savings_sentence(analysis: Analysis) -> str:
    """Say in one sentence where the instance becomes cheaper, or why that is not known."""
    savings = analysis.savings
    if savings is None:
        return "There is no recommended memory size to compare with an instance."
    instance = sanitize_text(savings.instance)
    if savings.break_even is None or savings.instance_monthly is None:
        return f"The break-even point against {instance} is not known: {sanitize_text(savings.unavailable_reason) or 'a price is missing'}."
    return (
        f"Below {savings.break_even:,.0f} invocations a month serverless at {savings.memory_mb} MB is cheaper than one "
        f"{instance} at {usd_cell(savings.instance_monthly).text} USD a month; above, the instance is."
    )

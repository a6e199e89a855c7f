"""The tables of money: how the memory sizes score, what a million calls cost, and where an instance is cheaper."""

from loadgen.analysis.findings import Findings
from loadgen.report.content.labels import marked, memory_of, rows_of
from loadgen.report.content.table import NOTHING, Cell, Column, Table, count, legible, milliseconds, number, usd, words

_MEMORY = Column("Memory", "MB", "MemorySizeInMB of the endpoint; its CPU grows with it.")
_MANY = 24  # rows that are worth a box of their own


def scores_table(findings: Findings) -> Table | None:
    """Return how each memory size scored; None when nothing was recommended."""
    choice = findings.recommendation
    if choice is None:
        return None
    sizes = sorted(choice.scores, key=lambda size: (choice.scores[size], size))
    place = {choice.memory_mb: "recommended", choice.runner_up: "runner-up"}
    cells = [(Cell(str(mb)), number(choice.scores[mb]), Cell(place.get(mb, ""))) for mb in sizes]
    cells += [(Cell(str(mb)), NOTHING, words(f"left out: {why}")) for mb, why in sorted(choice.unstable.items())]
    columns = (
        _MEMORY,
        Column("Score", "", "The least is best. What it weighs is named by the objective."),
        Column("", is_text=True),
    )
    notes = (f"Objective: {legible(choice.objective)}. The least score is best.",)
    return Table("How the memory sizes compare", columns, tuple(cells), notes, marked=0 if choice.memory_mb else None)


def cost_table(findings: Findings) -> Table:
    """Return what calling each memory size costs."""
    rows = rows_of(findings, "stability")
    cells, notes = [], []
    for row in rows:
        memory_mb, cost = memory_of(row), row.cost
        first = NOTHING if memory_mb is None else Cell(str(memory_mb))
        if cost is None:
            cells.append((first, *(NOTHING,) * 5))
            continue
        cells.append(
            (
                first,
                milliseconds(cost.billed),
                milliseconds(cost.billed_with_cold),
                usd(cost.per_invocation),
                usd(cost.per_million),
                usd(cost.per_million_with_cold),
            )
        )
        notes.append(f"Billed time: {legible(cost.billed_from)}.")
        if cost.provisioned_hourly is not None:
            hourly = usd(cost.provisioned_hourly).text
            notes.append(f"Provisioned concurrency of {memory_mb} MB costs {hourly} USD an hour on top of this.")
        if cost.unknown:
            notes.append(f"No price: {legible(cost.unknown)}.")
    columns = (
        _MEMORY,
        Column("Billed", "ms", "The time of one warm call that AWS bills: model latency and overhead."),
        Column("with cold", "ms", "The same averaged over all calls of the run, cold starts included."),
        Column("One call", "USD", "Billed time at the size's price, and bytes in and out at the data price."),
        Column("1M calls", "USD", "A million warm calls."),
        Column("1M with cold", "USD", "A million calls with as many cold starts among them as this run had."),
    )
    notes.append(f"Prices: {legible(findings.price_source)}.")
    notes += [legible(sentence) for sentence in findings.assumptions]
    notes += _unused(findings)
    return Table(
        "Cost of each memory size", columns, tuple(cells), tuple(dict.fromkeys(notes)), marked=marked(rows, findings)
    )


def _unused(findings: Findings) -> list[str]:
    left = [str(memory_of(row)) for row in rows_of(findings, "stability") if row.cost is None]
    return [f"–: {', '.join(left)} MB served nothing, so there is nothing to bill."] if left else []


def savings_table(findings: Findings) -> Table | None:
    """Return serverless against an instance by monthly traffic; None when there is nothing to compare."""
    savings = findings.savings
    if savings is None or not savings.rows:
        return None
    columns = (
        Column("Invocations", "a month"),
        Column("Serverless", "USD a month"),
        Column("Instance", "USD a month", "A comparable real-time instance, 720 hours."),
        Column("Saved", "%", "What serverless saves of the instance's cost."),
    )
    cells = tuple(
        (count(r.monthly_invocations), usd(r.serverless_usd), usd(r.instance_usd), Cell(f"{r.percent_saved:.1f}"))
        for r in savings.rows
    )
    title = f"{savings.memory_mb} MB serverless against {legible(savings.instance)}"
    return Table(title, columns, cells, (savings_sentence(findings),), is_tall=len(cells) > _MANY)


def savings_sentence(findings: Findings) -> str:
    """Say in one sentence where the instance becomes cheaper, or why that is not known."""
    savings = findings.savings
    if savings is None:
        return "There is no recommended memory size to compare with an instance."
    instance = legible(savings.instance)
    if savings.break_even is None or savings.instance_monthly is None:
        return (
            f"The break-even point against {instance} is not known: {legible(savings.unknown) or 'a price is missing'}."
        )
    return (
        f"Below {savings.break_even:,.0f} invocations a month serverless at {savings.memory_mb} MB is cheaper than one "
        f"{instance} at {usd(savings.instance_monthly).text} USD a month; above, the instance is."
    )

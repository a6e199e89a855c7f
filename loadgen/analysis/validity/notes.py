"""Notes on a run: they limit what its numbers say and do not change the verdict."""

from collections.abc import Collection, Iterator

from loadgen.analysis.validity.figures import FigureValidity
from loadgen.analysis.validity.formats import count_with_warmup, format_percent, format_seconds
from loadgen.analysis.validity.limits import ValidityLimits
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome, OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.statistics.order_statistics import calls_needed
from loadgen.workload.load import ClosedLoop, OpenLoop

_NOTED_PERCENTILES = {"p95": 95.0, "p99": 99.0, "p99.9": 99.9}


def notes_on(run: Run, limits: ValidityLimits) -> Iterator[str]:
    """Yield the notes on a run, without those on its figures."""
    for notes in (_stop_notes, _load_notes, _generator_notes, _cloudwatch_notes):
        yield from notes(run, limits)


def notes_on_figures(figures: Collection[FigureValidity], used: Collection[str]) -> Iterator[str]:
    """Yield one note on the figures that no conclusion uses and that are not valid.

    A maximum is one call, so that nearly every stall moves it; it is judged only when an SLO uses it.
    """
    others = (figure for figure in figures if figure.name not in used and not figure.name.endswith("_max"))
    moved = [figure for figure in others if not figure.is_valid]
    if moved:
        limit = format_percent(moved[0].limit)
        yield f"not valid: {'; '.join(str(figure) for figure in moved)} (limit {limit})"


def _generator_notes(run: Run, limits: ValidityLimits) -> Iterator[str]:
    stats = run.generator_stats
    if stats.longest_saturated > limits.longest_saturated:
        yield f"the generator's thread used more than 90 % of a core for {stats.longest_saturated:.1f} s at a stretch"
    if stats.wall_clock_change > limits.wall_clock_change:
        changed = format_seconds(stats.wall_clock_change)
        yield (
            f"the wall clock changed by {changed} during the run; "
            "its times of day, and CloudWatch's metrics of the interval, may be wrong"
        )


def _stop_notes(run: Run, limits: ValidityLimits) -> Iterator[str]:
    ok = run.count(OutcomeCategory.OK)
    if run.stop_reason == "errors":
        yield f"stopped at the error limit after {run.scheduled:,} requests; results are partial"
    if run.stop_reason == "stop":
        yield f"stopped early after {run.scheduled:,} requests; results are partial"
    if cancelled := count_with_warmup(run, Outcome.CANCELLED_IN_FLIGHT):
        yield f"{cancelled:,} requests in flight at the end of the run were cancelled"
    if 0 < ok < limits.min_ok_calls:
        needed = ", ".join(f"{name} needs {calls_needed(p):,}" for name, p in _NOTED_PERCENTILES.items())
        yield f"{ok} ok call{'' if ok == 1 else 's'}: {needed}"


def _load_notes(run: Run, limits: ValidityLimits) -> Iterator[str]:
    load, stats = run.step.load, run.generator_stats
    if isinstance(load, ClosedLoop) and run.count(OutcomeCategory.THROTTLED):
        yield (
            "the throttle percentage depends on the backoff because throttled clients retry; "
            "compare throttles per second, or use an open loop"
        )
    dropped = count_with_warmup(run, Outcome.DROPPED)
    if isinstance(load, OpenLoop) and 0 < dropped <= limits.dropped_share * run.scheduled:
        yield f"{dropped:,} requests dropped at max_in_flight (limit {format_percent(limits.dropped_share)})"
    if run.together:
        yield "other endpoints were measured at the same time from this machine; they may have influenced each other"
    if run.transport_note:
        yield run.transport_note
    for worker in run.workers:
        if worker.duplicate_starts:
            yield f"{worker.name} was started {worker.duplicate_starts + 1} times; it sent its shard once"
    if stats.pool_wait_max > limits.pool_wait:
        waited = format_seconds(stats.pool_wait_max)
        yield f"requests waited up to {waited} for a connection; the service time does not include the wait"
    if stats.connections_opened > load.connections:
        yield f"{stats.connections_opened:,} connections opened during the run: the target closes connections early"
    if out_of_range := sum(run.tally.service[category].out_of_range for category in COMPLETED_CATEGORIES):
        yield f"{out_of_range:,} latencies outside the histogram range (1 us to 1 h)"


_EXPECTED_METRICS = ("ModelLatency", "OverheadLatency", "MemoryUtilization")


def _cloudwatch_notes(run: Run, _: ValidityLimits) -> Iterator[str]:
    metrics = run.metrics
    by_reason: dict[str, list[str]] = {}
    for name in _EXPECTED_METRICS:
        if name not in metrics.values and name in metrics.unavailable:
            by_reason.setdefault(metrics.unavailable[name], []).append(name)
    for reason, names in by_reason.items():
        yield f"CloudWatch metrics unavailable: {', '.join(names)}: {reason}"
    if metrics.values and not metrics.is_final:
        delay = f"{metrics.publish_delay:.0f} s"
        yield f"CloudWatch counts were not final {delay} after the run; its metrics may be incomplete"

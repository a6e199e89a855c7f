"""Checks that make a run INVALID: each yields a reason with its observed value, limit and remedy.

What the load generator changed in the figures is one of them; the others concern requests that were lost, dropped,
refused by this machine or counted differently by the target.
"""

import math
from collections.abc import Collection, Iterator

import numpy as np

from loadgen.analysis.commonest_failure import commonest_failure, has_ok_calls
from loadgen.analysis.validity.figures import FigureValidity
from loadgen.analysis.validity.formats import count_with_warmup, format_percent, format_seconds
from loadgen.analysis.validity.limits import ValidityLimits
from loadgen.analysis.validity.reason import NO_OK_CALLS, Reason
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome, OutcomeCategory
from loadgen.measurement.run import Run

REDUCE_LOAD = "use fewer clients or a lower rate, the wire transport, or spread the load over processes"


def check_run(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    """Yield the failed checks of a run, without those of its figures."""
    for check in (
        _ok_calls,
        _dropped_arrivals,
        _rate_shortfall,
        _os_limits,
        _lost_workers,
        _worker_alignment,
        _server_counts,
        _data_errors,
    ):
        yield from check(run, limits)


def check_ok_calls(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    """Yield the reason of a run in which no call was ok."""
    return _ok_calls(run, limits)


def check_figures(run: Run, figures: Collection[FigureValidity], used: Collection[str]) -> Iterator[Reason]:
    """Yield a reason for the figures of the conclusions that the generator or a late emulator moved too far.

    One reason for each cause: the figure that is moved most, and the names of the others.
    """
    moved = [figure for figure in figures if figure.name in used and not figure.is_valid]
    for is_generator in (True, False):
        found = sorted(
            (figure for figure in moved if figure.is_generator_the_cause is is_generator),
            key=lambda figure: figure.share,
            reverse=True,
        )
        if not found:
            continue
        others = f"; not valid either: {', '.join(figure.name for figure in found[1:])}" if found[1:] else ""
        yield Reason(
            "figures moved by the generator" if is_generator else "emulator answered late",
            f"{found[0]}{others}",
            format_percent(found[0].limit),
            _remedy(run) if is_generator else "run the emulator on a core of its own, or send less load",
        )


def _remedy(run: Run) -> str:
    """Return what to change, by what kept the generator from running."""
    stats = run.generator_stats
    if stats.runqueue_wait > _BUSY_SHARE * run.duration:
        waited = f"{stats.runqueue_wait / run.duration:.0%}".replace("%", " %")
        return f"give the generator a core of its own: it waited for one for {waited} of the run"
    if stats.cpu_share > _SATURATED_SHARE:
        return REDUCE_LOAD
    return f"find what blocks the event loop (another task, the disk, the garbage collector); {REDUCE_LOAD}"


_BUSY_SHARE = 0.02  # of the run in which the generator waited for a core
_SATURATED_SHARE = 0.9  # of a core


def _ok_calls(run: Run, _: ValidityLimits) -> Iterator[Reason]:
    """Check that there is something to measure: a latency is that of an ok call."""
    if has_ok_calls(run):
        if run.failure:
            remedy = "find out who deleted it, and run again"
            yield Reason("endpoint lost", run.failure, "in service to the end", remedy)
        return
    failure = commonest_failure([run])
    observed = run.failure or (str(failure) if failure is not None else "no request was due after the warm-up")
    yield Reason(NO_OK_CALLS, observed, "at least 1 ok call", "remove the cause of the failures, and run again")


def _dropped_arrivals(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    dropped = count_with_warmup(run, Outcome.DROPPED)
    if dropped > limits.dropped_share * run.scheduled:
        yield Reason(
            "requests dropped at max_in_flight",
            f"{dropped:,} of {run.scheduled:,} ({format_percent(dropped / run.scheduled)})",
            format_percent(limits.dropped_share),
            "raise max_in_flight, or lower the rate: the target does not keep up with it",
        )


def _rate_shortfall(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    target, achieved = run.generator_stats.target_rate, _achieved_rate(run)
    minimum = target * (1 - limits.rate_shortfall)
    if achieved < minimum:
        observed = f"{achieved:.1f} of {target:.1f} requests/s"
        yield Reason("target rate not reached", observed, f"{minimum:.1f} requests/s", REDUCE_LOAD)


def _achieved_rate(run: Run) -> float:
    """Return the rate at which requests were sent during the schedule, in requests/s.

    The drain after the schedule is excluded: waiting for a slow last response does not lower the rate.
    """
    target = run.generator_stats.target_rate
    if not target or not run.scheduled:
        return target
    not_dropped = target * (1 - count_with_warmup(run, Outcome.DROPPED) / run.scheduled)
    if not len(run.samples):
        return not_dropped
    scheduled, sent = run.samples["scheduled"], run.samples["sent"]
    planned = float(scheduled.max() - scheduled.min())
    taken = float(np.nanmax(sent, initial=-math.inf)) - float(scheduled.min())
    return not_dropped * planned / taken if 0 < planned < taken else not_dropped


def _os_limits(run: Run, _: ValidityLimits) -> Iterator[Reason]:
    for outcome, remedy in (
        (Outcome.FD_EXHAUSTED, "raise the limit of open files (ulimit -n), or use fewer clients"),
        (Outcome.PORTS_EXHAUSTED, "use fewer connections, or widen the range of local ports"),
    ):
        if count := count_with_warmup(run, outcome):
            yield Reason(f"OS limit reached: {outcome.label}", f"{count:,} calls", "0", remedy)


def _lost_workers(run: Run, _: ValidityLimits) -> Iterator[Reason]:
    count = count_with_warmup(run, Outcome.LOST_WITH_WORKER)
    lost = [worker for worker in run.workers if worker.lost_reason]
    if count or lost:
        observed = "; ".join(f"{worker.name} {worker.lost_reason}" for worker in lost)
        observed += f"{'; ' if lost else ''}{count:,} of {run.scheduled:,} requests lost in flight"
        if unsent := sum(worker.unsent for worker in lost):
            observed += f", {unsent:,} more never sent"
        yield Reason("worker lost", observed, "0", "find out why it ended (memory, machine), and run again")


def _worker_alignment(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    """Check that the workers started at one instant and that their clocks agree."""
    for worker in run.workers:
        if worker.start_delay > limits.worker_start_delay:
            observed = f"{worker.name} {format_seconds(worker.start_delay)} after the common start"
            limit = format_seconds(limits.worker_start_delay)
            yield Reason("worker started late", observed, limit, "find out what delays it")
        if worker.clock_uncertainty > limits.clock_uncertainty:
            observed = f"{worker.name} {format_seconds(worker.clock_uncertainty)}"
            limit = format_seconds(limits.clock_uncertainty)
            remedy = "use machines that are closer to each other, and idle"
            yield Reason("clock uncertainty between workers", observed, limit, remedy)


def _server_counts(run: Run, _: ValidityLimits) -> Iterator[Reason]:
    """Compare the client's counts with the target's. Requests without a response may be in the target's counts."""
    server = run.server_counts
    if server is None:
        return
    if retries := server.get("hidden_retries", 0):
        yield Reason(
            "requests sent more than once",
            f"target received {retries:,} repeated attempts",
            "0",
            "turn off retries in proxies between loadgen and the target",
        )
    client, unanswered = _comparable_counts(run)
    for name, count in client.items():
        counted = server.get(name)
        if counted is not None and not count <= counted <= count + unanswered:
            yield Reason(
                f"server-side count mismatch for {name}",
                f"target {counted:,}, client {count:,}",
                f"{count:,} to {count + unanswered:,}" if unanswered else f"{count:,}",
                "look for other callers of the endpoint, or for retries",
            )


def _comparable_counts(run: Run) -> tuple[dict[str, int], int]:
    """Return the client's counts by the names of the server's, and how many requests the server may have in addition.

    A response that only the client's check calls a failure was ok for the server.
    """
    by_category = dict.fromkeys(COMPLETED_CATEGORIES, 0)
    unanswered = 0
    for outcome in Outcome:
        count = count_with_warmup(run, outcome)
        if _is_unanswered(outcome):
            unanswered += count
        elif outcome in (Outcome.CHECK_FAILED, Outcome.SCRIPT_ERROR):
            by_category[OutcomeCategory.OK] += count
        elif outcome.category in by_category:
            by_category[outcome.category] += count
    counts = {category.value: count for category, count in by_category.items()}
    return counts | {"arrivals": sum(counts.values())}, unanswered


def _is_unanswered(outcome: Outcome) -> bool:
    """Tell whether a request without a complete response may be in the target's counts."""
    return outcome >= Outcome.DNS and outcome is not Outcome.DROPPED


def _data_errors(run: Run, _: ValidityLimits) -> Iterator[Reason]:
    for error in run.data_errors:
        yield Reason("result files damaged", error, "no damage", "intact records are reported; run again")

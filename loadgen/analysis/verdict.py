"""The verdict on a run: VALID, or INVALID with reasons, from what the load generator measured about itself.

Errors, throttles and slow responses of the target are results and not reasons, unless no call was ok: then nothing was
measured. Any other reason is a fault of the generator, of this machine, of the result files, or a mismatch with the
server-side counts. A note limits what the numbers say and does not change the verdict.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from loadgen.analysis.commonest_failure import commonest_failure, has_ok_calls
from loadgen.measurement.histogram import Histogram
from loadgen.measurement.order_statistics import calls_needed
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome, OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.workload.load import ClosedLoop, OpenLoop


@dataclass(frozen=True, slots=True)
class Reason:
    """A failed validity check.

    Args:
        problem: what is wrong, such as `event loop blocked`.
        observed: the observed value with its unit.
        limit: the limit with its unit.
        remedy: what to change.

    Example:
        >>> print(Reason("event loop blocked", "maximum loop lag 310 ms", "100 ms", "use fewer clients"))
        event loop blocked: maximum loop lag 310 ms (limit 100 ms)
    """

    problem: str
    observed: str
    limit: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.observed} (limit {self.limit})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """VALID, or INVALID with reasons. Notes limit what the numbers say and do not change the verdict."""

    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_valid(self) -> bool:
        """True if no check failed."""
        return not self.reasons

    def __str__(self) -> str:
        return "VALID" if self.is_valid else "INVALID"


@dataclass(frozen=True, slots=True)
class ValidityLimits:
    """Limits of the validity checks.

    Args:
        longest_saturated: longest period in which the loop's thread uses more than 90 % of a core, seconds.
        loop_lag: maximum event-loop lag, seconds.
        send_lag: p99 send lag, seconds, independent of the service time.
        send_lag_share: p99 send lag as a share of the median service time; the larger of the two limits applies.
        read_lag: p99 event-loop lag, seconds, independent of the service time.
        read_lag_share: p99 event-loop lag as a share of the median service time; the larger of the two limits applies.
        dropped_share: share of the scheduled requests dropped at `max_in_flight`.
        rate_shortfall: share by which the achieved rate may be below the target rate.
        pool_wait: longest wait for a connection, seconds; above it there is a note.
        worker_start_delay: delay of a worker after the common start, seconds.
        clock_uncertainty: uncertainty of a worker's clock against the others, seconds.
        min_ok_calls: ok calls below which there is a note; p95 needs this many.
    """

    longest_saturated: float = 5.0
    loop_lag: float = 0.1
    send_lag: float = 0.002
    send_lag_share: float = 0.1
    # Wider than the send lag's: measured on two shared cores, the p99 loop lag of an idle generator is 1 to 5 ms, that
    # of a saturated one half of the service time and more.
    read_lag: float = 0.005
    read_lag_share: float = 0.25
    dropped_share: float = 0.001
    rate_shortfall: float = 0.01
    pool_wait: float = 0.1
    worker_start_delay: float = 0.1
    clock_uncertainty: float = 0.1
    min_ok_calls: int = calls_needed(95)


DEFAULT_LIMITS = ValidityLimits()
NO_OK_CALLS = "no call was ok"  # the problem of a step that measured nothing
_REDUCE_LOAD = "use fewer clients or a lower rate, the wire transport, or spread the load over processes"
_CHUNK = 1 << 18  # samples per chunk
_NOTED_PERCENTILES = {"p95": 95.0, "p99": 99.0, "p99.9": 99.9}
_MIN_DURATION_FOR_P99 = 1.0  # seconds; in a shorter run a single pause is the p99 of the ticker


def judge(run: Run, limits: ValidityLimits = DEFAULT_LIMITS) -> Verdict:
    """Return the verdict on a run."""
    if run.failure and not run.scheduled:
        return Verdict(tuple(_ok_calls(run, limits)))
    checks = (
        _ok_calls,
        _cpu_saturation,
        _loop_lag,
        _read_lag,
        _send_lag,
        _dropped_arrivals,
        _rate_shortfall,
        _os_limits,
        _lost_workers,
        _worker_alignment,
        _server_counts,
        _data_errors,
    )
    return Verdict(
        tuple(reason for check in checks for reason in check(run, limits)),
        tuple(note for notes in (_stop_notes, _load_notes, _cloudwatch_notes) for note in notes(run, limits)),
    )


# --- reasons ---------------------------------------------------------------------------------------------------------


def _ok_calls(run: Run, _: ValidityLimits) -> Iterator[Reason]:
    """Check that there is something to measure: a latency is that of an ok call."""
    if has_ok_calls(run):
        return
    failure = commonest_failure([run])
    observed = run.failure or (str(failure) if failure is not None else "no request was due after the warm-up")
    yield Reason(NO_OK_CALLS, observed, "at least 1 ok call", "remove the cause of the failures, and run again")


def _cpu_saturation(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    if run.generator_stats.longest_saturated > limits.longest_saturated:
        observed = f"{run.generator_stats.longest_saturated:.1f} s above 90 % of a core"
        yield Reason("CPU saturated", observed, f"{limits.longest_saturated:g} s", _REDUCE_LOAD)


def _loop_lag(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    if run.generator_stats.loop_lag_max > limits.loop_lag:
        yield Reason(
            "event loop blocked",
            f"maximum loop lag {_format_seconds(run.generator_stats.loop_lag_max)}",
            _format_seconds(limits.loop_lag),
            f"run the generator on a core of its own; {_REDUCE_LOAD}",
        )


def _read_lag(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    """Compare the p99 loop lag with the service times, which include it."""
    ok = run.tally.service[OutcomeCategory.OK]
    if not ok.total or run.duration < _MIN_DURATION_FOR_P99:
        return
    limit = max(limits.read_lag, limits.read_lag_share * ok.percentile(50))
    if run.generator_stats.loop_lag_p99 > limit:
        observed = f"p99 loop lag {_format_seconds(run.generator_stats.loop_lag_p99)}"
        yield Reason("responses read late", observed, _format_seconds(limit), _REDUCE_LOAD)


def _send_lag(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    lag = _send_lag_p99(run)
    ok = run.tally.service[OutcomeCategory.OK]
    share = limits.send_lag_share * ok.percentile(50) if ok.total else 0.0
    limit = max(limits.send_lag, share)
    if lag is not None and lag > limit:
        observed = f"p99 send lag (sent - scheduled) {_format_seconds(lag)}"
        yield Reason("requests sent late", observed, _format_seconds(limit), _REDUCE_LOAD)


def _send_lag_p99(run: Run) -> float | None:
    """Return the p99 of the delay that the generator added before sending; None if it is unknown.

    Excluded are the wait for a connection (`pool_wait`), and in a closed loop the first call of each client: all
    clients start at the same instant, so one of them is last. With fewer than 100 calls the p99 would be the maximum;
    the second largest value is taken, so that a single pause of the machine does not count.
    """
    load = run.step.load
    initial_burst = load.clients if isinstance(load, ClosedLoop) else 0
    if not len(run.samples):
        # GeneratorStats covers all calls: its p99 is meaningful if the initial burst is at most 1 % of them.
        return run.generator_stats.send_lag_p99 if run.scheduled > 100 * initial_burst else None
    lag = Histogram()
    for start in range(0, len(run.samples), _CHUNK):
        chunk = np.asarray(run.samples[start : start + _CHUNK])
        chunk = chunk[~np.isnan(chunk["sent"]) & (chunk["seq"] >= initial_burst)]
        lag.record_values(np.maximum(chunk["sent"] - chunk["scheduled"] - chunk["pool_wait"], 0.0))
    return lag.value_at_rank(min(math.ceil(lag.total * 0.99), lag.total - 1)) if lag.total > 1 else None


def _dropped_arrivals(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    dropped = _count_with_warmup(run, Outcome.DROPPED)
    if dropped > limits.dropped_share * run.scheduled:
        yield Reason(
            "requests dropped at max_in_flight",
            f"{dropped:,} of {run.scheduled:,} ({_format_percent(dropped / run.scheduled)})",
            _format_percent(limits.dropped_share),
            "raise max_in_flight, or lower the rate: the target does not keep up with it",
        )


def _rate_shortfall(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    target, achieved = run.generator_stats.target_rate, _achieved_rate(run)
    minimum = target * (1 - limits.rate_shortfall)
    if achieved < minimum:
        observed = f"{achieved:.1f} of {target:.1f} requests/s"
        yield Reason("target rate not reached", observed, f"{minimum:.1f} requests/s", _REDUCE_LOAD)


def _achieved_rate(run: Run) -> float:
    """Return the rate at which requests were sent during the schedule, in requests/s.

    The drain after the schedule is excluded: waiting for a slow last response does not lower the rate.
    """
    target = run.generator_stats.target_rate
    if not target or not run.scheduled:
        return target
    not_dropped = target * (1 - _count_with_warmup(run, Outcome.DROPPED) / run.scheduled)
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
        if count := _count_with_warmup(run, outcome):
            yield Reason(f"OS limit reached: {outcome.label}", f"{count:,} calls", "0", remedy)


def _lost_workers(run: Run, _: ValidityLimits) -> Iterator[Reason]:
    count = _count_with_warmup(run, Outcome.LOST_WITH_WORKER)
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
            observed = f"{worker.name} {_format_seconds(worker.start_delay)} after the common start"
            limit = _format_seconds(limits.worker_start_delay)
            yield Reason("worker started late", observed, limit, "find out what delays it")
        if worker.clock_uncertainty > limits.clock_uncertainty:
            observed = f"{worker.name} {_format_seconds(worker.clock_uncertainty)}"
            limit = _format_seconds(limits.clock_uncertainty)
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
        count = _count_with_warmup(run, outcome)
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


def _count_with_warmup(run: Run, outcome: Outcome) -> int:
    """Return the number of requests with an outcome, including the warm-up."""
    return run.tally.counts[outcome] + run.tally.warmup[outcome]


def _format_seconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def _format_percent(share: float) -> str:
    return f"{100 * share:.2f} %"


# --- notes -----------------------------------------------------------------------------------------------------------


def _stop_notes(run: Run, limits: ValidityLimits) -> Iterator[str]:
    ok = run.count(OutcomeCategory.OK)
    if run.failure:
        yield f"results are partial: {run.failure}"
    if run.stop_reason == "errors":
        yield f"stopped at the error limit after {run.scheduled:,} requests; results are partial"
    if run.stop_reason == "stop":
        yield f"stopped early after {run.scheduled:,} requests; results are partial"
    if cancelled := _count_with_warmup(run, Outcome.CANCELLED_IN_FLIGHT):
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
    dropped = _count_with_warmup(run, Outcome.DROPPED)
    if isinstance(load, OpenLoop) and 0 < dropped <= limits.dropped_share * run.scheduled:
        yield f"{dropped:,} requests dropped at max_in_flight (limit {_format_percent(limits.dropped_share)})"
    if run.together:
        yield "other endpoints were measured at the same time from this machine; they may have influenced each other"
    if run.transport_note:
        yield run.transport_note
    for worker in run.workers:
        if worker.duplicate_starts:
            yield f"{worker.name} was started {worker.duplicate_starts + 1} times; it sent its shard once"
    if stats.pool_wait_max > limits.pool_wait:
        waited = _format_seconds(stats.pool_wait_max)
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

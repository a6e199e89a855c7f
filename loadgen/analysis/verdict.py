"""Verdict: may the numbers of a run be believed? The generator judges itself, before any number is shown.

What the target did, however bad, is a result and never a reason. A reason is what the generator, this machine, the
files or the books got wrong; a note must be read with the numbers and does not spoil them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from loadgen.measurement.histogram import Histogram
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome, OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.workload.load import ClosedLoop, OpenLoop


@dataclass(frozen=True, slots=True)
class Reason:
    """One way in which a run fails to be trustworthy.

    Args:
        problem: what is wrong, in words.
        observed: what was seen, with its unit.
        limit: what would have been accepted.
        remedy: what to change.
    """

    problem: str
    observed: str
    limit: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """VALID, or INVALID with reasons. Notes do not spoil a run but must be read with its numbers."""

    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_valid(self) -> bool:
        """True when nothing speaks against the numbers."""
        return not self.reasons

    def __str__(self) -> str:
        return "VALID" if self.is_valid else "INVALID"


@dataclass(frozen=True, slots=True)
class ValidityLimits:
    """What a run must keep to be VALID.

    Args:
        longest_saturated: seconds at a stretch in which the loop's thread may use more than 90 % of a core.
        loop_lag: seconds the event loop may come back late, at worst.
        send_lag: seconds that requests may leave late at the 99th percentile, whatever the service time.
        send_lag_share: the same as a share of the median service time; the larger of the two holds.
        read_lag: seconds that answers may be read late at the 99th percentile, whatever the service time.
        read_lag_share: the same as a share of the median service time; the larger of the two holds.
        dropped_share: of the scheduled requests, that `max_in_flight` kept from being sent.
        rate_shortfall: share by which the achieved rate may stay below the asked one.
        pool_wait: seconds for a connection that are worth a note.
        worker_start_delay: seconds after the common start at which a worker may begin.
        clock_uncertainty: seconds that the instants of two workers may be off against each other.
        min_ok_calls: ok calls below which there is a note, since not even the 95th percentile can be told.
    """

    longest_saturated: float = 5.0
    loop_lag: float = 0.1
    send_lag: float = 0.002
    send_lag_share: float = 0.1
    # Wider than the send lag's: measured on two shared cores, a quiet generator's loop is 1 to 5 ms late at its 99th
    # percentile, a saturated one's half of the service time and more.
    read_lag: float = 0.005
    read_lag_share: float = 0.25
    dropped_share: float = 0.001
    rate_shortfall: float = 0.01
    pool_wait: float = 0.1
    worker_start_delay: float = 0.1
    clock_uncertainty: float = 0.1
    min_ok_calls: int = 72  # 0.95^71 is above 2.5 %: the largest of 71 values is no upper bound


DEFAULT_LIMITS = ValidityLimits()
_REDUCE_LOAD = "use fewer clients or a lower rate, the wire transport, or spread the load over processes"
_CHUNK = 1 << 18
_MIN_DURATION_FOR_P99 = 1.0  # seconds below which one hiccup is the ticker's 99th percentile


def judge(run: Run, limits: ValidityLimits = DEFAULT_LIMITS) -> Verdict:
    """Judge whether the numbers of a run may be believed."""
    if run.failure and not run.scheduled:
        return Verdict(notes=(f"nothing was measured: {run.failure}",))
    checks = (
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


def _cpu_saturation(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    if run.generator_stats.longest_saturated > limits.longest_saturated:
        figure = f"{run.generator_stats.longest_saturated:.1f} s at a stretch above 90 % of a core"
        yield Reason("the generator used up its core", figure, f"at most {limits.longest_saturated:g} s", _REDUCE_LOAD)


def _loop_lag(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    if run.generator_stats.loop_lag_max > limits.loop_lag:
        yield Reason(
            "the generator stood still",
            f"its event loop came back {_format_seconds(run.generator_stats.loop_lag_max)} late at worst",
            f"at most {_format_seconds(limits.loop_lag)}",
            f"give it a core of its own; {_REDUCE_LOAD}",
        )


def _read_lag(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    """Compare how late the loop came to what waited for it with what was measured: that is in every service time."""
    ok = run.tally.service[OutcomeCategory.OK]
    if not ok.total or run.duration < _MIN_DURATION_FOR_P99:
        return
    bound = max(limits.read_lag, limits.read_lag_share * ok.percentile(50))
    if run.generator_stats.loop_lag_p99 > bound:
        figure = f"its event loop was {_format_seconds(run.generator_stats.loop_lag_p99)} late at the 99th percentile"
        yield Reason("answers were read late", figure, f"at most {_format_seconds(bound)}", _REDUCE_LOAD)


def _send_lag(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    lag = _send_lag_p99(run)
    ok = run.tally.service[OutcomeCategory.OK]
    share = limits.send_lag_share * ok.percentile(50) if ok.total else 0.0
    bound = max(limits.send_lag, share)
    if lag is not None and lag > bound:
        figure = f"sent minus scheduled is {_format_seconds(lag)} at the 99th percentile"
        yield Reason("requests left late", figure, f"at most {_format_seconds(bound)}", _REDUCE_LOAD)


def _send_lag_p99(run: Run) -> float | None:
    """Return the 99th percentile of what the generator itself added before requests left; None when not known.

    Not the generator's: the time to open a connection (`waited`), and in a closed loop the first call of each client,
    since all clients start at one instant and one of them must be last. Of fewer than a hundred calls the 99th
    percentile would be the worst one: a single hiccup of the machine is no habit, so the second worst is taken.
    """
    load = run.step.load
    volley = load.clients if isinstance(load, ClosedLoop) else 0
    if not len(run.samples):
        # The watch knows all calls only: its p99 tells when the volley is within the last hundredth.
        is_told = run.scheduled > 100 * volley
        return run.generator_stats.send_lag_p99 if is_told else None
    lag = Histogram()
    for start in range(0, len(run.samples), _CHUNK):
        chunk = np.asarray(run.samples[start : start + _CHUNK])
        chunk = chunk[~np.isnan(chunk["sent"]) & (chunk["seq"] >= volley)]
        lag.record_values(np.maximum(chunk["sent"] - chunk["scheduled"] - chunk["pool_wait"], 0.0))
    return lag.value_at_rank(min(math.ceil(lag.total * 0.99), lag.total - 1)) if lag.total > 1 else None


def _dropped_arrivals(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    dropped = _count_with_warmup(run, Outcome.DROPPED)
    if dropped > limits.dropped_share * run.scheduled:
        yield Reason(
            "arrivals were dropped",
            f"{dropped} of {run.scheduled} ({dropped / run.scheduled:.2%}) found max_in_flight reached",
            f"at most {limits.dropped_share:.2%}",
            "raise max_in_flight, or lower the rate: the target does not keep up with it",
        )


def _rate_shortfall(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    asked, achieved = run.generator_stats.target_rate, _achieved_rate(run)
    if achieved < asked * (1 - limits.rate_shortfall):
        yield Reason(
            "the asked rate was not reached",
            f"{achieved:.1f} of {asked:.1f} requests a second",
            f"at least {asked * (1 - limits.rate_shortfall):.1f}",
            _REDUCE_LOAD,
        )


def _achieved_rate(run: Run) -> float:
    """Return the rate at which requests left while the schedule lasted, in requests a second.

    The drain after the schedule is no part of it: waiting for a slow last answer is not a low rate.
    """
    asked = run.generator_stats.target_rate
    if not asked or not run.scheduled:
        return asked
    kept = asked * (1 - _count_with_warmup(run, Outcome.DROPPED) / run.scheduled)
    if not len(run.samples):
        return kept
    due, sent = run.samples["scheduled"], run.samples["sent"]
    planned = float(due.max() - due.min())
    last = float(np.nanmax(sent, initial=-math.inf))
    stretched = last - float(due.min())
    return kept * planned / stretched if 0 < planned < stretched else kept


def _os_limits(run: Run, _: ValidityLimits) -> Iterator[Reason]:
    for outcome, advice in (
        (Outcome.FD_EXHAUSTED, "raise the limit of open files (ulimit -n), or use fewer clients"),
        (Outcome.PORTS_EXHAUSTED, "use fewer connections, or widen the range of local ports"),
    ):
        if count := _count_with_warmup(run, outcome):
            yield Reason(f"this machine refused calls: {outcome.label}", f"{count} calls", "none", advice)


def _lost_workers(run: Run, _: ValidityLimits) -> Iterator[Reason]:
    count = _count_with_warmup(run, Outcome.LOST_WITH_WORKER)
    lost = [worker for worker in run.workers if worker.lost_reason]
    if count or lost:
        figure = "; ".join(f"{worker.name} {worker.lost_reason}" for worker in lost)
        figure += f"{'; ' if lost else ''}{count} of {run.scheduled} requests went with it"
        if unsent := sum(worker.unsent for worker in lost):
            figure += f", {unsent} more were never sent"
        yield Reason("a worker was lost", figure, "none", "see why it ended (memory, the machine), and run again")


def _worker_alignment(run: Run, limits: ValidityLimits) -> Iterator[Reason]:
    """Several workers make one load only if they begin at one instant and mean the same by it."""
    for worker in run.workers:
        if worker.start_delay > limits.worker_start_delay:
            figure = f"{worker.name} began {_format_seconds(worker.start_delay)} after the others"
            yield Reason(
                "a worker started late",
                figure,
                f"at most {_format_seconds(limits.worker_start_delay)}",
                "see what holds it up",
            )
        if worker.clock_uncertainty > limits.clock_uncertainty:
            figure = f"{worker.name} is known to {_format_seconds(worker.clock_uncertainty)} only"
            advice = "use machines that are nearer to each other, and not busy"
            yield Reason(
                "the workers' clocks differ", figure, f"at most {_format_seconds(limits.clock_uncertainty)}", advice
            )


def _server_counts(run: Run, _: ValidityLimits) -> Iterator[Reason]:
    """Compare our counts with the target's own. What got no answer here may have been counted there: a margin."""
    books = run.server_counts
    if books is None:
        return
    if retries := books.get("hidden_retries", 0):
        yield Reason(
            "requests were sent more than once",
            f"the target saw {retries} repeated attempts",
            "none",
            "turn retries off in whatever stands between",
        )
    ours = {
        column: sum(_count_with_warmup(run, o) for o in Outcome if o.category is column)
        for column in COMPLETED_CATEGORIES
    }
    # Not judged by the target: calls that the network or we cut short; and answers that only we call a failure.
    unanswered = sum(_count_with_warmup(run, o) for o in Outcome if _is_unanswered(o))
    doubted = sum(_count_with_warmup(run, o) for o in (Outcome.CHECK_FAILED, Outcome.SCRIPT_ERROR))
    ours[OutcomeCategory.FAILED] -= sum(
        _count_with_warmup(run, o) for o in Outcome if o.category is OutcomeCategory.FAILED and _is_unanswered(o)
    )
    ours[OutcomeCategory.FAILED] -= doubted
    ours[OutcomeCategory.OK] += doubted
    counted: list[tuple[str, int]] = [(column.value, ours[column]) for column in COMPLETED_CATEGORIES]
    for name, mine in (*counted, ("arrivals", sum(ours.values()))):
        theirs = books.get(name)
        if theirs is not None and not mine <= theirs <= mine + unanswered:
            margin = f" to {mine + unanswered}" if unanswered else ""
            yield Reason(
                f"the target's books disagree on {name}",
                f"it counted {theirs}",
                f"{mine}{margin}, as counted here",
                "look for other callers of the endpoint, or for retries in between",
            )


def _is_unanswered(outcome: Outcome) -> bool:
    """Tell whether the target may have counted a call that got no whole answer here."""
    return outcome >= Outcome.DNS and outcome is not Outcome.DROPPED


def _data_errors(run: Run, _: ValidityLimits) -> Iterator[Reason]:
    for words in run.data_errors:
        yield Reason("the run's files are damaged", words, "whole files", "what can be read is shown; run it again")


def _count_with_warmup(run: Run, outcome: Outcome) -> int:
    """Return how many requests had an outcome, warm-up included."""
    return run.tally.counts[outcome] + run.tally.warmup[outcome]


def _format_seconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


# --- notes -----------------------------------------------------------------------------------------------------------


def _stop_notes(run: Run, limits: ValidityLimits) -> Iterator[str]:
    ok = run.count(OutcomeCategory.OK)
    if run.failure:
        yield f"only a part was measured: {run.failure}"
    if run.stop_reason == "errors":
        yield f"given up at its error limit after {run.scheduled} requests: the figures are of a part"
    if run.stop_reason == "stop":
        yield f"stopped from outside after {run.scheduled} requests: the figures are of a part"
    if cut := _count_with_warmup(run, Outcome.CANCELLED_IN_FLIGHT):
        yield f"{cut} requests had no answer when the run ended, and were cut short"
    if not ok:
        yield "no call was answered well"
    elif ok < limits.min_ok_calls:
        calls = "1 ok call" if ok == 1 else f"{ok} ok calls"
        yield f"only {calls}: the 95th percentile needs 72, the 99th 368, the 99.9th 3,688"


def _load_notes(run: Run, limits: ValidityLimits) -> Iterator[str]:
    load, watch = run.step.load, run.generator_stats
    if isinstance(load, ClosedLoop) and run.count(OutcomeCategory.THROTTLED):
        yield (
            "the share of throttles depends on the backoff, since refused clients call again: "
            "read throttles per second, or use an open loop"
        )
    if (
        isinstance(load, OpenLoop)
        and 0 < _count_with_warmup(run, Outcome.DROPPED) <= limits.dropped_share * run.scheduled
    ):
        yield f"{_count_with_warmup(run, Outcome.DROPPED)} arrivals were dropped, within the bound"
    if run.together:
        yield "other endpoints were measured at the same time, by the same machine: they may have disturbed each other"
    if run.transport_note:
        yield run.transport_note
    for worker in run.workers:
        if worker.duplicate_starts:
            yield f"{worker.name} was given its share {worker.duplicate_starts + 1} times; it was sent once"
    if watch.pool_wait_max > limits.pool_wait:
        yield f"requests waited up to {_format_seconds(watch.pool_wait_max)} for a connection; the wait is no part of the service time"
    if watch.connections_opened > load.connections:
        yield f"{watch.connections_opened} connections were opened in mid-run: the target closes them early"
    if clamped := sum(run.tally.service[column].out_of_range for column in COMPLETED_CATEGORIES):
        yield f"{clamped} latencies lay outside of the histograms' range (1 us to 1 h)"


_EXPECTED_METRICS = ("ModelLatency", "OverheadLatency", "MemoryUtilization")


def _cloudwatch_notes(run: Run, _: ValidityLimits) -> Iterator[str]:
    metrics = run.metrics
    why: dict[str, list[str]] = {}
    for name in _EXPECTED_METRICS:
        if name not in metrics.values and name in metrics.unavailable:
            why.setdefault(metrics.unavailable[name], []).append(name)
    for words, names in why.items():
        yield f"CloudWatch has no {', '.join(names)}: {words}"
    if metrics.values and not metrics.is_final:
        yield f"CloudWatch's counts had not settled {metrics.publish_delay:.0f} s after the run: its figures may be of a part"

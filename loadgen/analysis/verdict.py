"""Verdict: may the numbers of a run be believed? The generator judges itself, before any number is shown.

What the target did, however bad, is a result and never a reason. A reason is what the generator, this machine, the
files or the books got wrong; a note must be read with the numbers and does not spoil them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from loadgen.measurement.histogram import Histogram
from loadgen.measurement.outcome import Column, Outcome
from loadgen.measurement.run import Run
from loadgen.measurement.sample import ANSWERED
from loadgen.workload.load import ClosedLoop, OpenLoop


@dataclass(frozen=True, slots=True)
class Reason:
    """One way in which a run fails to be trustworthy.

    Args:
        what: what is wrong, in words.
        figure: what was seen, with its unit.
        bound: what would have been accepted.
        advice: what to change.
    """

    what: str
    figure: str
    bound: str
    advice: str


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
class Bounds:
    """What a run must keep to be VALID.

    Args:
        busiest: seconds at a stretch in which the loop's thread may use more than 90 % of a core.
        loop_lag: seconds the event loop may come back late, at worst.
        send_lag: seconds that requests may leave late at the 99th percentile, whatever the service time.
        send_lag_share: the same as a share of the median service time; the larger of the two holds.
        read_lag: seconds that answers may be read late at the 99th percentile, whatever the service time.
        read_lag_share: the same as a share of the median service time; the larger of the two holds.
        dropped_share: of the scheduled requests, that `max_in_flight` kept from being sent.
        rate_shortfall: share by which the achieved rate may stay below the asked one.
        wait: seconds for a connection that are worth a note.
        worker_late: seconds after the common start at which a worker may begin.
        clock: seconds that the instants of two workers may be off against each other.
        few: ok calls below which there is a note, since not even the 95th percentile can be told.
    """

    busiest: float = 5.0
    loop_lag: float = 0.1
    send_lag: float = 0.002
    send_lag_share: float = 0.1
    # Wider than the send lag's: measured on two shared cores, a quiet generator's loop is 1 to 5 ms late at its 99th
    # percentile, a saturated one's half of the service time and more.
    read_lag: float = 0.005
    read_lag_share: float = 0.25
    dropped_share: float = 0.001
    rate_shortfall: float = 0.01
    wait: float = 0.1
    worker_late: float = 0.1
    clock: float = 0.1
    few: int = 72  # 0.95^71 is above 2.5 %: the largest of 71 values is no upper bound


DEFAULT_BOUNDS = Bounds()
_LIGHTER = "use fewer clients or a lower rate, the wire transport, or spread the load over processes"
_CHUNK = 1 << 18
_HABIT = 1.0  # seconds below which one hiccup is the ticker's 99th percentile


def judge(run: Run, bounds: Bounds = DEFAULT_BOUNDS) -> Verdict:
    """Judge whether the numbers of a run may be believed."""
    if run.failure and not run.scheduled:
        return Verdict(notes=(f"nothing was measured: {run.failure}",))
    checks = (_busy, _loop_lag, _read_lag, _send_lag, _dropped, _rate, _machine, _lost, _aligned, _books, _damage)
    return Verdict(
        tuple(reason for check in checks for reason in check(run, bounds)),
        tuple(note for notes in (_about_the_end, _about_the_load, _about_metrics) for note in notes(run, bounds)),
    )


# --- reasons ---------------------------------------------------------------------------------------------------------


def _busy(run: Run, bounds: Bounds) -> Iterator[Reason]:
    if run.watch.busiest > bounds.busiest:
        figure = f"{run.watch.busiest:.1f} s at a stretch above 90 % of a core"
        yield Reason("the generator used up its core", figure, f"at most {bounds.busiest:g} s", _LIGHTER)


def _loop_lag(run: Run, bounds: Bounds) -> Iterator[Reason]:
    if run.watch.loop_lag_max > bounds.loop_lag:
        yield Reason(
            "the generator stood still",
            f"its event loop came back {_ms(run.watch.loop_lag_max)} late at worst",
            f"at most {_ms(bounds.loop_lag)}",
            f"give it a core of its own; {_LIGHTER}",
        )


def _read_lag(run: Run, bounds: Bounds) -> Iterator[Reason]:
    """Compare how late the loop came to what waited for it with what was measured: that is in every service time."""
    ok = run.tally.service[Column.OK]
    if not ok.total or run.duration < _HABIT:
        return
    bound = max(bounds.read_lag, bounds.read_lag_share * ok.percentile(50))
    if run.watch.loop_lag_p99 > bound:
        figure = f"its event loop was {_ms(run.watch.loop_lag_p99)} late at the 99th percentile"
        yield Reason("answers were read late", figure, f"at most {_ms(bound)}", _LIGHTER)


def _send_lag(run: Run, bounds: Bounds) -> Iterator[Reason]:
    lag = _late(run)
    ok = run.tally.service[Column.OK]
    share = bounds.send_lag_share * ok.percentile(50) if ok.total else 0.0
    bound = max(bounds.send_lag, share)
    if lag is not None and lag > bound:
        figure = f"sent minus scheduled is {_ms(lag)} at the 99th percentile"
        yield Reason("requests left late", figure, f"at most {_ms(bound)}", _LIGHTER)


def _late(run: Run) -> float | None:
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
        return run.watch.send_lag_p99 if is_told else None
    lag = Histogram()
    for start in range(0, len(run.samples), _CHUNK):
        chunk = np.asarray(run.samples[start : start + _CHUNK])
        chunk = chunk[~np.isnan(chunk["sent"]) & (chunk["seq"] >= volley)]
        lag.fold(np.maximum(chunk["sent"] - chunk["scheduled"] - chunk["waited"], 0.0))
    return lag.value_at_rank(min(math.ceil(lag.total * 0.99), lag.total - 1)) if lag.total > 1 else None


def _dropped(run: Run, bounds: Bounds) -> Iterator[Reason]:
    dropped = _count(run, Outcome.DROPPED)
    if dropped > bounds.dropped_share * run.scheduled:
        yield Reason(
            "arrivals were dropped",
            f"{dropped} of {run.scheduled} ({dropped / run.scheduled:.2%}) found max_in_flight reached",
            f"at most {bounds.dropped_share:.2%}",
            "raise max_in_flight, or lower the rate: the target does not keep up with it",
        )


def _rate(run: Run, bounds: Bounds) -> Iterator[Reason]:
    asked, achieved = run.watch.asked_rate, _achieved(run)
    if achieved < asked * (1 - bounds.rate_shortfall):
        yield Reason(
            "the asked rate was not reached",
            f"{achieved:.1f} of {asked:.1f} requests a second",
            f"at least {asked * (1 - bounds.rate_shortfall):.1f}",
            _LIGHTER,
        )


def _achieved(run: Run) -> float:
    """Return the rate at which requests left while the schedule lasted, in requests a second.

    The drain after the schedule is no part of it: waiting for a slow last answer is not a low rate.
    """
    asked = run.watch.asked_rate
    if not asked or not run.scheduled:
        return asked
    kept = asked * (1 - _count(run, Outcome.DROPPED) / run.scheduled)
    if not len(run.samples):
        return kept
    due, sent = run.samples["scheduled"], run.samples["sent"]
    planned = float(due.max() - due.min())
    last = float(np.nanmax(sent, initial=-math.inf))
    stretched = last - float(due.min())
    return kept * planned / stretched if 0 < planned < stretched else kept


def _machine(run: Run, _: Bounds) -> Iterator[Reason]:
    for outcome, advice in (
        (Outcome.LOCAL_FD, "raise the limit of open files (ulimit -n), or use fewer clients"),
        (Outcome.LOCAL_PORT, "use fewer connections, or widen the range of local ports"),
    ):
        if count := _count(run, outcome):
            yield Reason(f"this machine refused calls: {outcome.label}", f"{count} calls", "none", advice)


def _lost(run: Run, _: Bounds) -> Iterator[Reason]:
    count = _count(run, Outcome.LOST_WITH_WORKER)
    lost = [worker for worker in run.workers if worker.lost]
    if count or lost:
        figure = "; ".join(f"{worker.name} {worker.lost}" for worker in lost)
        figure += f"{'; ' if lost else ''}{count} of {run.scheduled} requests went with it"
        if unsent := sum(worker.unsent for worker in lost):
            figure += f", {unsent} more were never sent"
        yield Reason("a worker was lost", figure, "none", "see why it ended (memory, the machine), and run again")


def _aligned(run: Run, bounds: Bounds) -> Iterator[Reason]:
    """Several workers make one load only if they begin at one instant and mean the same by it."""
    for worker in run.workers:
        if worker.late > bounds.worker_late:
            figure = f"{worker.name} began {_ms(worker.late)} after the others"
            yield Reason("a worker started late", figure, f"at most {_ms(bounds.worker_late)}", "see what holds it up")
        if worker.clock_bound > bounds.clock:
            figure = f"{worker.name} is known to {_ms(worker.clock_bound)} only"
            advice = "use machines that are nearer to each other, and not busy"
            yield Reason("the workers' clocks differ", figure, f"at most {_ms(bounds.clock)}", advice)


def _books(run: Run, _: Bounds) -> Iterator[Reason]:
    """Compare our counts with the target's own. What got no answer here may have been counted there: a margin."""
    books = run.ledger
    if books is None:
        return
    if retries := books.get("hidden_retries", 0):
        yield Reason(
            "requests were sent more than once",
            f"the target saw {retries} repeated attempts",
            "none",
            "turn retries off in whatever stands between",
        )
    ours = {column: sum(_count(run, o) for o in Outcome if o.column is column) for column in ANSWERED}
    # Not judged by the target: calls that the network or we cut short; and answers that only we call a failure.
    unanswered = sum(_count(run, o) for o in Outcome if _is_unanswered(o))
    doubted = sum(_count(run, o) for o in (Outcome.CHECK_FAILED, Outcome.SCRIPT_ERROR))
    ours[Column.FAILED] -= sum(_count(run, o) for o in Outcome if o.column is Column.FAILED and _is_unanswered(o))
    ours[Column.FAILED] -= doubted
    ours[Column.OK] += doubted
    counted: list[tuple[str, int]] = [(column.value, ours[column]) for column in ANSWERED]
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


def _damage(run: Run, _: Bounds) -> Iterator[Reason]:
    for words in run.damage:
        yield Reason("the run's files are damaged", words, "whole files", "what can be read is shown; run it again")


def _count(run: Run, outcome: Outcome) -> int:
    """Return how many requests had an outcome, warm-up included."""
    return run.tally.counts[outcome] + run.tally.warmup[outcome]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


# --- notes -----------------------------------------------------------------------------------------------------------


def _about_the_end(run: Run, bounds: Bounds) -> Iterator[str]:
    ok = run.count(Column.OK)
    if run.failure:
        yield f"only a part was measured: {run.failure}"
    if run.ended_by == "errors":
        yield f"given up at its error limit after {run.scheduled} requests: the figures are of a part"
    if run.ended_by == "stop":
        yield f"stopped from outside after {run.scheduled} requests: the figures are of a part"
    if cut := _count(run, Outcome.CANCELLED_IN_FLIGHT):
        yield f"{cut} requests had no answer when the run ended, and were cut short"
    if not ok:
        yield "no call was answered well"
    elif ok < bounds.few:
        calls = "1 ok call" if ok == 1 else f"{ok} ok calls"
        yield f"only {calls}: the 95th percentile needs 72, the 99th 368, the 99.9th 3,688"


def _about_the_load(run: Run, bounds: Bounds) -> Iterator[str]:
    load, watch = run.step.load, run.watch
    if isinstance(load, ClosedLoop) and run.count(Column.THROTTLED):
        yield (
            "the share of throttles depends on the backoff, since refused clients call again: "
            "read throttles per second, or use an open loop"
        )
    if isinstance(load, OpenLoop) and 0 < _count(run, Outcome.DROPPED) <= bounds.dropped_share * run.scheduled:
        yield f"{_count(run, Outcome.DROPPED)} arrivals were dropped, within the bound"
    if run.together:
        yield "other endpoints were measured at the same time, by the same machine: they may have disturbed each other"
    if run.transport_note:
        yield run.transport_note
    for worker in run.workers:
        if worker.repeats:
            yield f"{worker.name} was given its share {worker.repeats + 1} times; it was sent once"
    if watch.wait_max > bounds.wait:
        yield f"requests waited up to {_ms(watch.wait_max)} for a connection; the wait is no part of the service time"
    if watch.connections_opened > load.connections:
        yield f"{watch.connections_opened} connections were opened in mid-run: the target closes them early"
    if clamped := sum(run.tally.service[column].clamped for column in ANSWERED):
        yield f"{clamped} latencies lay outside of the histograms' range (1 us to 1 h)"


_WANTED = ("ModelLatency", "OverheadLatency", "MemoryUtilization")


def _about_metrics(run: Run, _: Bounds) -> Iterator[str]:
    metrics = run.metrics
    why: dict[str, list[str]] = {}
    for name in _WANTED:
        if name not in metrics.values and name in metrics.missing:
            why.setdefault(metrics.missing[name], []).append(name)
    for words, names in why.items():
        yield f"CloudWatch has no {', '.join(names)}: {words}"
    if metrics.values and not metrics.settled:
        yield f"CloudWatch's counts had not settled {metrics.lag:.0f} s after the run: its figures may be of a part"

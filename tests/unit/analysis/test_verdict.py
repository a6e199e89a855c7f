"""The verdict: which checks make a run INVALID, and what is only a note."""

from dataclasses import replace

import numpy as np
import pytest

from loadgen.analysis.verdict import ValidityLimits, judge
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import SAMPLE
from tests.support import example_runs as made


def with_stats(run, **fields):
    return replace(run, generator_stats=replace(run.generator_stats, **fields))


def problems(run, limits=ValidityLimits()):
    return [reason.problem for reason in judge(run, limits).reasons]


def recounted(run, outcome, count):
    """Return the run with its last `count` calls having another outcome."""
    samples = run.samples.copy()
    samples["outcome"][-count:] = outcome
    if outcome in (Outcome.DROPPED, Outcome.CANCELLED_IN_FLIGHT, Outcome.LOST_WITH_WORKER):
        samples["sent"][-count:] = np.nan
    again = made.run_of_samples(run.step, samples)
    return replace(run, tally=again.tally, samples=samples)


@pytest.mark.parametrize("run", made.benchmark_runs(), ids=lambda run: run.step.name)
def test_a_clean_run_is_valid(run):
    """Throttles, cold starts and slow calls are the target's: all runs of a healthy benchmark are VALID."""
    assert judge(run).is_valid
    assert str(judge(run)) == "VALID"


@pytest.mark.parametrize(
    "run",
    [
        made.out_of_memory(),
        made.one_sample(),
        made.open_loop(),
    ],
)
def test_failures_of_the_target_are_not_reasons(run):
    """A run in which calls failed is VALID if one was ok."""
    assert judge(run).is_valid


@pytest.mark.parametrize(
    ("run", "observed"),
    [
        (made.all_failed(), "20 of 20 calls"),
        (made.zero_samples(), "no request was due"),
        (made.failed_deploy(), "the endpoint failed"),
    ],
)
def test_a_run_without_an_ok_call_is_invalid(run, observed):
    """A run that measured nothing is INVALID; the reason names the commonest failure."""
    assert problems(run) == ["no call was ok"]
    assert observed in judge(run).reasons[0].observed


def test_drops_above_the_limit_are_invalid():
    """0.1 % dropped requests are a note, more are a reason."""
    run = replace(made.open_loop(rate=50, duration=40), server_counts=None)
    few, many = recounted(run, Outcome.DROPPED, 2), recounted(run, Outcome.DROPPED, 3)

    assert run.scheduled == 2000
    assert judge(few).is_valid
    assert any("2 requests dropped at max_in_flight (limit 0.10 %)" in note for note in judge(few).notes)
    assert "requests dropped at max_in_flight" in problems(many)
    assert "3 of 2,000 (0.15 %)" in judge(many).reasons[0].observed


def test_a_missed_target_rate_is_invalid():
    """30 s of schedule sent in 33 s are 18.2 of 20 requests/s; waiting for late responses does not count."""
    run = made.open_loop(rate=20, duration=30)
    stretched, waiting = run.samples.copy(), run.samples.copy()
    stretched["sent"] = stretched["scheduled"] * 1.1
    stretched["done"] = stretched["sent"] + 0.1
    waiting["done"][-1] += 40

    found = judge(replace(run, samples=stretched)).reasons

    assert [reason.problem for reason in found] == ["target rate not reached", "figures moved by the generator"]
    assert "18.2 of 20.0" in found[0].observed
    assert problems(replace(run, samples=waiting, duration=70.0)) == []


@pytest.mark.parametrize("outcome", [Outcome.FD_EXHAUSTED, Outcome.PORTS_EXHAUSTED])
def test_exhausted_os_limits_are_invalid(outcome):
    """One call that failed for lack of descriptors or ports is a reason."""
    run = replace(recounted(made.stability_run(), outcome, 1), server_counts=None)

    assert outcome.label in problems(run)[0]


def test_a_lost_worker_is_invalid():
    """One request lost with its worker is a reason."""
    run = replace(recounted(made.stability_run(), Outcome.LOST_WITH_WORKER, 1), server_counts=None)

    assert problems(run) == ["worker lost"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"ok": -1}, ["count mismatch for ok"]),
        ({"ok": 1}, ["count mismatch for ok"]),
        ({"throttled": 5}, ["count mismatch for throttled"]),
        ({"failed": 1}, ["count mismatch for failed"]),
        ({"arrivals": 3}, ["count mismatch for arrivals"]),
        ({"hidden_retries": 2}, ["sent more than once"]),
    ],
)
def test_a_server_side_count_mismatch_is_invalid(change, what):
    """The target's counts must equal the client's exactly."""
    run = made.concurrency_run(2, 3)
    counts = dict(run.server_counts)
    for name, by in change.items():
        counts[name] = counts.get(name, 0) + by

    found = problems(replace(run, server_counts=counts))

    assert len(found) == len(what)
    assert all(text in said for text, said in zip(what, found, strict=True))


def test_unanswered_calls_widen_the_accepted_counts():
    """A call without a response may be in the target's counts or not; both are accepted."""
    run = recounted(made.stability_run(), Outcome.TIMEOUT_TTFB, 1)
    here, there = dict(run.server_counts, ok=199, arrivals=199), dict(run.server_counts, ok=200, arrivals=200)

    assert problems(replace(run, server_counts=here)) == []
    assert problems(replace(run, server_counts=there)) == []
    assert len(problems(replace(run, server_counts=dict(run.server_counts, ok=201, arrivals=201)))) == 2


def test_check_failures_are_ok_for_the_target():
    """A response that fails the scenario's check is ok in the target's counts."""
    run = recounted(made.stability_run(), Outcome.CHECK_FAILED, 4)

    assert run.server_counts["ok"] == 200
    assert problems(run) == []


def test_missing_server_counts_are_not_a_reason():
    """AWS has no server-side counts; that is not a reason."""
    assert judge(replace(made.stability_run(), server_counts=None)).is_valid


def test_damaged_files_are_invalid():
    """Each damage of the run's files is a reason."""
    found = judge(replace(made.stability_run(), data_errors=("3 records fail their check", "windows.hlog ends early")))

    assert [reason.observed for reason in found.reasons] == ["3 records fail their check", "windows.hlog ends early"]
    assert str(found) == "INVALID"


def test_every_reason_has_value_limit_and_remedy():
    """No field of a reason is empty."""
    run = replace(made.starved(), data_errors=("torn",), server_counts={"ok": 1, "arrivals": 9, "hidden_retries": 1})

    reasons = judge(run).reasons

    assert len(reasons) == 5
    assert all(reason.problem and reason.observed and reason.limit and reason.remedy for reason in reasons)


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (
            made.without_metrics(),
            "CloudWatch metrics unavailable: ModelLatency, OverheadLatency, MemoryUtilization: AccessDenied",
        ),
        (made.one_sample(), "1 ok call: p95 needs 72, p99 needs 368, p99.9 needs 3,688"),
        (made.stability_run(count=71), "71 ok calls: p95 needs 72"),
        (made.out_of_memory(), "stopped at the error limit after 44 requests"),
        (replace(made.stability_run(), stop_reason="stop"), "stopped early after 200 requests"),
        (made.concurrency_run(2, 4), "depends on the backoff"),
        (replace(made.stability_run(), together=True), "measured at the same time"),
        (replace(made.stability_run(), transport_note="the wire transport cannot use a proxy"), "cannot use a proxy"),
        (with_stats(made.stability_run(), longest_saturated=5.1), "more than 90 % of a core for 5.1 s"),
        (with_stats(made.stability_run(), wall_clock_change=3600.0), "the wall clock changed by 3600.00 s"),
        (with_stats(made.stability_run(), pool_wait_max=0.3), "waited up to 300 ms for a connection"),
        (with_stats(made.stability_run(), connections_opened=40), "40 connections opened during the run"),
        (
            recounted(made.stability_run(), Outcome.CANCELLED_IN_FLIGHT, 2),
            "2 requests in flight at the end of the run were cancelled",
        ),
        (
            replace(made.stability_run(), metrics=replace(made.stability_run().metrics, is_final=False)),
            "were not final 72 s after the run",
        ),
    ],
)
def test_notes_do_not_change_the_verdict(run, text):
    """Limitations of a run are notes, and the run stays VALID."""
    found = judge(replace(run, server_counts=None))

    assert found.is_valid
    assert any(text in note for note in found.notes)


def test_a_lost_endpoint_makes_the_run_invalid():
    """A run whose endpoint was deleted in the middle is INVALID, however many calls were ok before."""
    (reason,) = judge(replace(made.stability_run(), failure="endpoint loadgen-x no longer exists")).reasons
    assert str(reason) == "endpoint lost: endpoint loadgen-x no longer exists (limit in service to the end)"


def test_a_clean_run_has_no_notes():
    """A healthy run has no notes; the missing ModelSetupTime of a warm run is not one."""
    assert judge(made.stability_run()).notes == ()
    assert judge(made.open_loop()).notes == ()
    assert judge(made.open_loop(max_concurrency=1, rate=20)).notes == ()


def test_a_target_without_cloudwatch_has_no_note():
    """A target without CloudWatch has no note on missing metrics."""
    assert judge(replace(made.stability_run(), metrics=CloudWatchMetrics())).notes == ()


def test_an_empty_run_has_a_verdict():
    """A run without samples has a verdict."""
    run = made.run_of_samples(made.stability_step(1024), np.empty(0, SAMPLE))

    assert not judge(run).is_valid

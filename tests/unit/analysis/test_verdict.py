"""The verdict: what spoils a run, what is only worth a note, and what is the target's own doing."""

from dataclasses import replace

import numpy as np
import pytest

from loadgen.analysis.verdict import ValidityLimits, judge
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import SAMPLE
from loadgen.workload.load import ClosedLoop
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support import example_runs as made
from tests.support.fleet_samples import simulate


def watched(run, **fields):
    return replace(run, generator_stats=replace(run.generator_stats, **fields))


def whats(run, bounds=ValidityLimits()):
    return [reason.problem for reason in judge(run, bounds).reasons]


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
    """Throttles, cold starts and slow calls are the target's: nothing in a healthy benchmark is INVALID."""
    assert judge(run).is_valid
    assert str(judge(run)) == "VALID"


@pytest.mark.parametrize(
    "run",
    [
        made.all_failed(),
        made.out_of_memory(),
        made.zero_samples(),
        made.one_sample(),
        made.failed_deploy(),
        made.open_loop(),
    ],
)
def test_what_the_target_does_is_no_reason(run):
    """A run in which every call failed is a true result."""
    assert judge(run).is_valid


@pytest.mark.parametrize(
    ("kept", "broken", "what"),
    [
        ({"longest_saturated": 5.0}, {"longest_saturated": 5.1}, "the generator used up its core"),
        ({"loop_lag_max": 0.1}, {"loop_lag_max": 0.101}, "the generator stood still"),
    ],
)
def test_the_generators_bounds(kept, broken, what):
    """Five seconds of a full core and 100 ms of a stopped loop are accepted, and a little more is not."""
    assert whats(watched(made.stability_run(), **kept)) == []
    assert whats(watched(made.stability_run(), **broken)) == [what]


def late(run, by, share=0.05):
    """Return the run with a share of its calls sent late, service times unchanged."""
    samples = run.samples.copy()
    chosen = samples["seq"] % round(1 / share) == round(1 / share) - 1
    samples["scheduled"][chosen] -= by
    return replace(run, samples=samples)


def test_requests_that_leave_late_spoil_a_run():
    """A tenth of the median service time of 108 ms is accepted at the 99th percentile, and a fifth is not."""
    run = made.stability_run()

    assert whats(late(run, 0.009)) == []
    assert whats(late(run, 0.020)) == ["requests left late"]
    assert whats(late(run, 0.020, share=0.005)) == []
    assert whats(late(run, 0.020), ValidityLimits(send_lag_share=0.3)) == []


def test_one_late_call_of_a_few_is_a_hiccup_two_are_a_habit():
    """Below a hundred calls the 99th percentile is the worst one: it takes a second late call to spoil the run."""
    for late_calls, expected in ((1, []), (2, ["requests left late"])):
        run = made.stability_run(count=50)
        samples = run.samples.copy()
        samples["sent"][10 : 10 + late_calls] = samples["scheduled"][10 : 10 + late_calls] + 0.05
        samples["done"][10 : 10 + late_calls] += 0.05
        assert whats(replace(run, samples=samples)) == expected


def test_two_milliseconds_late_are_accepted_whatever_the_target():
    """Against a target of a millisecond the bound stays at 2 ms: a tenth of it no clock can keep."""
    made_up = simulate(service=0.001, count=300)
    samples = made_up.samples
    samples["done"] = samples["sent"] + 0.001
    run = made.run_of_samples(made.stability_step(2048, 300), samples)

    assert whats(late(run, 0.0015)) == []
    assert whats(late(run, 0.0025)) == ["requests left late"]


def test_opening_connections_is_not_the_generators_lateness():
    """What a call waited for its connection is taken off: the network's time is not ours."""
    run = late(made.stability_run(), 0.05)
    samples = run.samples.copy()
    samples["pool_wait"][:] = np.where(samples["sent"] - samples["scheduled"] > 0.04, 0.05, 0)

    assert whats(run) == ["requests left late"]
    assert whats(replace(run, samples=samples)) == []


def test_the_first_volley_of_a_closed_loop_is_no_lateness():
    """All clients start at one instant and one must be last: their first calls are left out, their later ones are not."""
    run = made.concurrency_run(8, 16, count=400)
    first, second = run.samples.copy(), run.samples.copy()
    first["scheduled"][first["seq"] < 16] -= 0.5
    second["scheduled"][(second["seq"] >= 16) & (second["seq"] < 32)] -= 0.5

    assert whats(replace(run, samples=first)) == []
    assert whats(replace(run, samples=second)) == ["requests left late"]


def test_without_samples_the_watch_is_asked():
    """A long run without samples is judged by the watch; in a short one the first volley would be all it knows."""
    run = watched(made.without_samples(made.stability_run(count=200)), send_lag_p99=0.05)
    volley = replace(run, step=Step(ServerlessConfig(2048, 8), ClosedLoop(16, count=200)))

    assert whats(run) == ["requests left late"]
    assert whats(volley) == []


def test_dropped_arrivals_spoil_a_run():
    """One drop in a thousand is accepted and noted; one more is not."""
    run = replace(made.open_loop(rate=50, duration=40), server_counts=None)
    few, many = recounted(run, Outcome.DROPPED, 2), recounted(run, Outcome.DROPPED, 3)

    assert run.scheduled == 2000
    assert judge(few).is_valid
    assert any("2 arrivals were dropped" in note for note in judge(few).notes)
    assert "arrivals were dropped" in whats(many)
    assert "3 of 2000 (0.15%)" in judge(many).reasons[0].observed


def test_a_rate_that_was_not_reached_spoils_a_run():
    """30 s of schedule that took 33 s to send are 18.2 of 20 requests a second; waiting for late answers is not slow."""
    run = made.open_loop(rate=20, duration=30)
    stretched, waiting = run.samples.copy(), run.samples.copy()
    stretched["sent"] = stretched["scheduled"] * 1.1
    stretched["done"] = stretched["sent"] + 0.1
    waiting["done"][-1] += 40

    found = judge(replace(run, samples=stretched)).reasons

    assert "the asked rate was not reached" in [reason.problem for reason in found]
    assert "18.2 of 20.0" in found[-1].observed
    assert whats(replace(run, samples=waiting, duration=70.0)) == []


@pytest.mark.parametrize("outcome", [Outcome.FD_EXHAUSTED, Outcome.PORTS_EXHAUSTED])
def test_a_machine_that_runs_out_spoils_a_run(outcome):
    """Calls that this machine refused for want of files or ports say nothing of the target."""
    run = replace(recounted(made.stability_run(), outcome, 1), server_counts=None)

    assert outcome.label in whats(run)[0]


def test_a_lost_worker_spoils_a_run():
    """One request that went with its worker is enough."""
    run = replace(recounted(made.stability_run(), Outcome.LOST_WITH_WORKER, 1), server_counts=None)

    assert whats(run) == ["a worker was lost"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"ok": -1}, ["books disagree on ok"]),
        ({"ok": 1}, ["books disagree on ok"]),
        ({"throttled": 5}, ["books disagree on throttled"]),
        ({"failed": 1}, ["books disagree on failed"]),
        ({"arrivals": 3}, ["books disagree on arrivals"]),
        ({"hidden_retries": 2}, ["sent more than once"]),
    ],
)
def test_books_that_disagree_spoil_a_run(change, what):
    """The target's own counts must equal ours, to one request."""
    run = made.concurrency_run(2, 3)
    books = dict(run.server_counts)
    for name, by in change.items():
        books[name] = books.get(name, 0) + by

    found = whats(replace(run, server_counts=books))

    assert len(found) == len(what)
    assert all(words in said for words, said in zip(what, found, strict=True))


def test_unanswered_calls_leave_the_books_a_margin():
    """A call that was cut short here may have been counted there or not: both are accepted, two for one are not."""
    run = recounted(made.stability_run(), Outcome.TIMEOUT_TTFB, 1)
    here, there = dict(run.server_counts, ok=199, arrivals=199), dict(run.server_counts, ok=200, arrivals=200)

    assert whats(replace(run, server_counts=here)) == []
    assert whats(replace(run, server_counts=there)) == []
    assert len(whats(replace(run, server_counts=dict(run.server_counts, ok=201, arrivals=201)))) == 2


def test_answers_that_only_we_call_wrong_are_ok_in_the_books():
    """A reply that failed the scenario's own check was an ok one for the target."""
    run = recounted(made.stability_run(), Outcome.CHECK_FAILED, 4)

    assert run.server_counts["ok"] == 200
    assert whats(run) == []


def test_books_that_are_not_kept_are_not_missed():
    """AWS keeps no ledger: that is no reason."""
    assert judge(replace(made.stability_run(), server_counts=None)).is_valid


def test_damage_spoils_a_run():
    """Each damage of the run's files is a reason in its own words."""
    found = judge(replace(made.stability_run(), data_errors=("3 records fail their check", "windows.hlog ends early")))

    assert [reason.observed for reason in found.reasons] == ["3 records fail their check", "windows.hlog ends early"]
    assert str(found) == "INVALID"


def test_every_reason_says_what_was_seen_and_what_to_do():
    """A reason without its figure, its bound or its advice helps nobody."""
    run = replace(made.starved(), data_errors=("torn",), server_counts={"ok": 1, "arrivals": 9, "hidden_retries": 1})

    reasons = judge(run).reasons

    assert len(reasons) == 7
    assert all(reason.problem and reason.observed and reason.limit and reason.remedy for reason in reasons)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (made.without_metrics(), "CloudWatch has no ModelLatency, OverheadLatency, MemoryUtilization: AccessDenied"),
        (made.one_sample(), "only 1 ok call: the 95th percentile needs 72"),
        (made.stability_run(count=71), "only 71 ok calls"),
        (made.all_failed(), "no call was answered well"),
        (made.out_of_memory(), "given up at its error limit after 44 requests"),
        (made.zero_samples(), "stopped from outside after 0 requests"),
        (made.failed_deploy(), "nothing was measured: the endpoint failed"),
        (made.concurrency_run(2, 4), "depends on the backoff"),
        (replace(made.stability_run(), together=True), "measured at the same time"),
        (replace(made.stability_run(), transport_note="the wire transport cannot use a proxy"), "cannot use a proxy"),
        (replace(made.stability_run(), failure="the credentials expired"), "only a part was measured: the credentials"),
        (watched(made.stability_run(), pool_wait_max=0.3), "waited up to 300 ms for a connection"),
        (watched(made.stability_run(), connections_opened=40), "40 connections were opened in mid-run"),
        (
            recounted(made.stability_run(), Outcome.CANCELLED_IN_FLIGHT, 2),
            "2 requests had no answer when the run ended",
        ),
        (
            replace(made.stability_run(), metrics=replace(made.stability_run().metrics, is_final=False)),
            "had not settled 72 s",
        ),
    ],
)
def test_notes_do_not_spoil_a_run(run, words):
    """What must be read with the numbers is told and leaves the run VALID."""
    found = judge(replace(run, server_counts=None))

    assert found.is_valid
    assert any(words in note for note in found.notes)


def test_a_clean_run_has_no_notes():
    """Nothing is said where there is nothing to say; the missing set-up time of a warm run is no gap."""
    assert judge(made.stability_run()).notes == ()
    assert judge(made.open_loop()).notes == ()
    assert judge(made.open_loop(max_concurrency=1, rate=20)).notes == ()


def test_cloudwatch_that_was_never_asked_is_not_missed():
    """A place without CloudWatch has nothing missing."""
    assert judge(replace(made.stability_run(), metrics=CloudWatchMetrics())).notes == ()


def test_a_run_of_nothing_at_all_is_judged():
    """No sample, no tally, no watch: a verdict nevertheless."""
    run = made.run_of_samples(made.stability_step(1024), np.empty(0, SAMPLE))

    assert judge(run).is_valid

"""Figures with and without the generator's delays: worked out from made samples, with shares derived by hand."""

from dataclasses import replace

import numpy as np
import pytest

from loadgen.analysis.slo import Slo
from loadgen.analysis.validity.answer_lateness import LATENESS_STEPS_MS, AnswerLateness, answer_lateness
from loadgen.analysis.validity.figures import conclusion_figures
from loadgen.analysis.validity.lateness import BoundedLatencies, without_lateness
from loadgen.analysis.verdict import judge
from loadgen.emulator.behaviour import ledger
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import SAMPLE
from loadgen.measurement.stalls import Stalls
from loadgen.workload.load import ClosedLoop
from loadgen.workload.step import Step
from tests.support import example_runs as made

LATENCY = 0.1


def run_of(latencies, stalls=(), *, late=(), phase="", spacing=0.05):
    """Return a run of one call every 50 ms; those with a number in `late` end 40 ms late, at the end of a stall."""
    samples = np.zeros(len(latencies), SAMPLE)
    samples["seq"] = np.arange(len(latencies))
    samples["scheduled"] = samples["sent"] = np.arange(len(latencies)) * spacing
    samples["done"] = samples["sent"] + latencies
    intervals = list(stalls)
    for number in late:
        end = samples["done"][number] + 0.02
        intervals.append((end - 0.04, end))
        samples["done"][number] = end
    run = made.run_of_samples(replace(made.stability_step(2048, len(latencies)), phase=phase), samples)
    longest = max((end - start for start, end in intervals), default=0.0)
    found = Stalls(len(intervals), len(intervals) * longest, longest, tuple(sorted(intervals)))
    stats = replace(run.generator_stats, stalls=found, loop_lag_p99=0.0)
    return replace(run, generator_stats=stats, server_counts=None)


def figures(run):
    return {figure.name: figure for figure in judge(run).figures}


def test_a_figure_is_invalid_from_5_percent_on():
    """Of 400 calls of 100 ms, 20 ms late: 25 late ones (6 %) move p95 by 20 %, 15 (4 %) move p99 alone."""
    moved = figures(run_of([LATENCY] * 400, late=range(0, 400, 16)))
    less = figures(run_of([LATENCY] * 400, late=range(0, 375, 25)))

    assert moved["service_p95"].share == pytest.approx(0.2)
    assert moved["service_mean"].share == pytest.approx(0.0625 * 0.2)
    assert [name for name, figure in less.items() if not figure.is_valid] == ["service_max", "service_p99"]


def test_a_heavy_tail_is_not_the_generators():
    """Latencies spread over a factor of 100 are not moved by leaving calls out: each stays within its own bounds.

    200 of 2,000 calls are 20 ms late; the tail, from 1.5 s on, can be moved by 40 ms of it (3 %) at most.
    """
    latencies = np.exp(np.random.default_rng(1).normal(-1.0, 1.0, 2000))
    found = figures(run_of(latencies, late=range(0, 2000, 10), spacing=20.0))

    assert found["service_p95"].share <= 0.04 / np.quantile(latencies, 0.95)
    assert found["service_p99"].is_valid


def test_a_delayed_latency_is_replaced_by_one_within_its_bounds():
    """Two delayed calls of 10 and 30 ms bounds take values that occur there; without any, values between the bounds."""
    measured = np.array([0.010, 0.020, 0.030, 0.050, 0.050])
    shortest = np.array([0.010, 0.020, 0.030, 0.015, 0.040])

    estimated = without_lateness(BoundedLatencies(measured, shortest)).tolist()

    assert len(estimated) == 5
    assert sorted(set(estimated) & {0.010, 0.020, 0.030}) == [0.010, 0.020, 0.030]
    assert 0.040 <= estimated[-1] < 0.050
    assert all(value in (0.020, 0.030) for value in estimated[1:-1])


def test_differences_below_one_millisecond_are_valid():
    """A call of 2 ms that is 0.9 ms late is moved by 45 %, but by less than the event loop's own resolution."""
    run = run_of([0.0029] * 100, stalls=[(n * 0.05 + 0.0019, n * 0.05 + 0.0030) for n in range(100)])

    assert figures(run)["service_p50"].is_valid


def test_a_request_that_stalls_while_it_is_sent_is_delayed():
    """A stall of 30 ms that begins at `sent` can keep the request from leaving: half of the calls take 130 of 100 ms."""
    stalls = [(float(n), n + 0.03) for n in range(0, 400, 2)]
    latencies = [0.13 if n % 2 == 0 else 0.1 for n in range(400)]

    assert figures(run_of(latencies, stalls, spacing=1.0))["service_p95"].share == pytest.approx(0.3)
    assert figures(run_of(latencies, [(a + 0.04, b + 0.04) for a, b in stalls], spacing=1.0))["service_p95"].share == 0


def test_an_unlisted_stall_counts_for_every_figure():
    """Stalls that were too many to be listed move each percentile by the longest of them, the mean by half of it."""
    run = run_of([LATENCY] * 400)
    stalls = Stalls(9000, 18.0, 0.03, (), 9000, run.duration, 0.03)
    found = figures(replace(run, generator_stats=replace(run.generator_stats, stalls=stalls)))

    assert found["service_p95"].share == pytest.approx(0.03 / 0.07)
    assert found["service_mean"].share == pytest.approx(0.015 / 0.085)


def test_a_run_without_samples_assumes_the_worst():
    """Without samples all delayed calls may be the slowest: 8 % of the time in stalls of 40 ms can move p95, not p50."""
    run = run_of([0.06] * 379 + [0.1] * 21, late=range(0, 379, 10))
    found = figures(made.without_samples(run))

    assert found["service_p50"].is_valid
    assert not found["service_p95"].is_valid
    assert figures(made.without_samples(run_of([LATENCY] * 400)))["service_p99"].share == 0


def test_a_run_whose_ok_samples_are_damaged_is_judged_by_its_histogram():
    """Samples without an ok call, while the counts have some: the figures come from the histogram."""
    run = run_of([LATENCY] * 400)
    samples = run.samples[:3].copy()
    samples["outcome"] = Outcome.RESET

    assert figures(replace(run, samples=samples))["service_p50"].value == pytest.approx(LATENCY, rel=0.001)


def test_the_headline_follows_from_the_figures_that_conclusions_use():
    """p95 of a memory size decides nothing and is a note; the same run as a step of its own is INVALID."""
    late = range(0, 400, 16)
    size, own = run_of([LATENCY] * 400, late=late, phase="stability"), run_of([LATENCY] * 400, late=late)

    assert judge(size).is_valid
    assert any("not valid: " in note and "service_p95 is moved by 20.0 %" in note for note in judge(size).notes)
    assert not judge(own).is_valid
    assert "service_p95 is moved by 20.0 %: the generator's own delays" in judge(own).reasons[0].observed


def test_throughput_and_median_decide_about_max_concurrency():
    """A run of the concurrency benchmark needs mean, p50 and TPS; its p95 is a note."""
    run = run_of([LATENCY] * 400, late=range(0, 400, 16), phase="concurrency")

    assert conclusion_figures(run) == {"service_mean", "service_p50", "tps_average"}
    assert judge(run).is_valid


def test_slos_decide_which_figures_must_be_valid():
    """A step with an SLO on p50 only needs a valid p50; one on p99 needs that; a cost needs the mean."""
    run = run_of([LATENCY] * 400, late=range(0, 400, 16))

    assert judge(run, slo_metrics=["service_p50"]).is_valid
    assert not judge(run, slo_metrics=["service_p99"]).is_valid
    assert not judge(run, slo_metrics=["response_p99"]).is_valid  # in a closed loop the same figure
    assert conclusion_figures(run, ["cost_per_million", "service_median", "failure_share"]) == {
        "service_mean",
        "service_p50",
    }
    assert Slo("service_p99", at_most=1).metric in figures(run)


def test_delays_lower_the_throughput_of_a_closed_loop():
    """One client whose calls of 100 ms all take 120 ms could have sent 20 % more."""
    run = run_of([LATENCY] * 400, late=range(400), spacing=0.12)
    run = replace(run, step=Step(None, ClosedLoop(1, count=400)), duration=48.0)
    one_call_in_two = run.samples["done"][::2].tolist()

    assert len(one_call_in_two) == 200
    assert 0.1 < figures(run)["tps_average"].share < 0.25


@pytest.mark.parametrize(("late_ms", "is_valid"), [(1, True), (20, False)])
def test_a_late_emulator_makes_a_run_invalid(late_ms, is_valid):
    """The emulator's count of late answers is a share like the generator's: 1 ms of 100 is accepted, 20 ms are not."""
    counters = ledger.EndpointCounters()
    for _ in range(400):
        counters.record_lateness(late_ms / 1e3 + 1e-4)
    counts = {name: count for name, count in counters.to_dict().items() if name.startswith("answered_")}
    run = replace(run_of([LATENCY] * 400), server_counts=counts)

    assert judge(run).is_valid is is_valid
    if not is_valid:
        assert judge(run).reasons[0].problem == "emulator answered late"
        assert figures(run)["service_mean"].share == pytest.approx(0.0201 / 0.0799)


def test_late_answers_move_a_percentile_by_less_than_their_own():
    """6 % of the answers are 7 ms late. p95 of latencies spread evenly over 100 to 200 ms rises by 0.06 x 7.5 = 0.45 ms."""
    latencies = np.linspace(0.1, 0.2, 2000)
    counts = {"answered_on_schedule": 2000, "answered_late_us": 120 * 7000}
    counts |= {f"answered_late_{step}ms": 120 for step in (1, 2, 5)}
    found = figures(replace(run_of(latencies), server_counts=counts))["service_p95"]

    assert found.without_generator - found.without_target == pytest.approx(0.00045, abs=0.0002)


def test_lateness_is_read_from_counts_that_can_be_subtracted():
    """Ten answers, four of them 7 ms late: a mean of 2.8 ms, six on time, four in the step of 5 to 10 ms."""
    counters = ledger.EndpointCounters()
    for seconds in [0.0] * 6 + [0.007] * 4:
        counters.record_lateness(seconds)
    late = answer_lateness({name: count for name, count in counters.to_dict().items() if isinstance(count, int)})

    assert late.mean == pytest.approx(0.0028)
    assert late.values(10).tolist() == [0.0] * 6 + [0.0075] * 4
    assert answer_lateness(None) == answer_lateness({"ok": 3}) == AnswerLateness()
    assert LATENESS_STEPS_MS == ledger.LATENESS_STEPS_MS

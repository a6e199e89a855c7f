"""Recommendations of memory size and MaxConcurrency, against manual scores and a brute-force search."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.analysis.cost import Cost
from loadgen.analysis.latency import Latency, Percentile
from loadgen.analysis.recommendation import recommend_concurrency, recommend_memory
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.analysis.size_choice import OBJECTIVES
from loadgen.analysis.summary import Summary
from loadgen.analysis.verdict import Reason, Verdict
from loadgen.errors import UsageError
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.run import Run
from loadgen.workload.load import ClosedLoop
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support import example_runs as made

INVALID = Verdict((Reason("event loop blocked", "maximum loop lag 1 s", "100 ms", "use fewer clients"),))


def measured(
    memory_mb,
    seconds=0.1,
    usd=5.0,
    *,
    ok=200,
    throttled=0,
    failed=0,
    spread=0.0,
    verdict=Verdict(),
    stop_reason="count",
    failure="",
    max_concurrency=1,
    clients=1,
):
    """Return a measured size with these figures and nothing else."""
    step = Step(ServerlessConfig(memory_mb, max_concurrency), ClosedLoop(clients, count=200), phase="stability")
    service = None
    if ok:
        middle = Percentile(seconds, seconds * (1 - spread), seconds * (1 + spread)) if ok >= 6 else None
        service = Latency(ok, seconds, seconds, seconds, seconds, 0.0, {50.0: middle})
    summary = Summary(
        *(ok + throttled + failed, ok, throttled, failed, 0, {Outcome.OK: ok}, 0),
        *(service, service, None, None, None, 0.0, 100.0, 100.0, 1.0),
    )
    cost = Cost(memory_mb, seconds, None, "here", 100, 100, usd and usd / 1e6, usd, None, "" if usd else "no price")
    run = Run(step, 0.0, 1.0, stop_reason, ok + throttled + failed, failure=failure)
    return RunAnalysis(run, summary, verdict, cost if ok else None)


def test_the_published_example_is_balanced_at_2048():
    """198, 102 and 92 ms at 4.40, 4.52 and 5.96 USD: 2048 MB has the lowest product, 461 against 548 and 871."""
    rows = [measured(1024, 0.198, 4.40), measured(2048, 0.102, 4.52), measured(3072, 0.092, 5.96)]

    found = recommend_memory(rows)

    assert (found.memory_mb, found.runner_up, found.objective) == (2048, 3072, "balanced")
    # The score is the geometric mean of USD per call and seconds.
    assert found.scores[2048] == pytest.approx((4.52e-6 * 0.102) ** 0.5)
    assert found.scores[3072] == pytest.approx((5.96e-6 * 0.092) ** 0.5)
    assert "102 ms median service time, 4.52 USD per million invocations" in found.reason
    assert "3072 MB, is 10 ms faster and costs 32 % more" in found.reason
    assert found.is_trustworthy


@pytest.mark.parametrize(("objective", "chosen"), [("cost", 1024), ("speed", 3072), ("balanced", 2048)])
def test_each_objective_recommends_its_size(objective, chosen):
    """The cheapest, the fastest, and the balanced size."""
    rows = [measured(1024, 0.198, 4.40), measured(2048, 0.102, 4.52), measured(3072, 0.092, 5.96)]

    assert recommend_memory(rows, objective).memory_mb == chosen


@settings(max_examples=200)
@given(
    figures=st.dictionaries(
        st.sampled_from([1024, 2048, 3072, 4096, 5120, 6144]),
        st.tuples(st.integers(1, 50), st.integers(1, 50)),
        min_size=1,
    ),
    objective=st.sampled_from(OBJECTIVES),
)
def test_no_stable_size_has_a_lower_score(figures, objective):
    """A brute-force search finds no size with a lower score, nor a smaller one with the same; speed allows 5 %."""
    found = recommend_memory([measured(mb, ms / 1e3, usd) for mb, (ms, usd) in figures.items()], objective)

    def score(mb):
        ms, usd = figures[mb]
        return {"cost": usd, "speed": ms, "balanced": ms * usd}[objective]  # whole numbers

    best = min(score(mb) for mb in figures)
    allowed = best * 1.05 if objective == "speed" else best
    smallest = min(mb for mb in figures if score(mb) <= allowed)
    # The logarithms of two equal products can differ in the last digit.
    assert found.memory_mb == smallest or (objective == "balanced" and score(found.memory_mb) == best)
    assert set(found.scores) == set(figures)
    assert (found.runner_up is None) == (len(figures) == 1)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_ties_go_to_the_smaller_size(objective):
    """Of two sizes with equal numbers the smaller one is recommended."""
    rows = [measured(4096, 0.1, 5.0), measured(2048, 0.1, 5.0)]

    assert recommend_memory(rows, objective).memory_mb == 2048


def test_speed_takes_the_smallest_size_within_the_margin():
    """92 ms is within 5 % of 91 ms, so the smaller size wins; 102 ms is not."""
    rows = [measured(2048, 0.102), measured(3072, 0.092), measured(6144, 0.091)]

    found = recommend_memory(rows, "speed")

    assert (found.memory_mb, found.runner_up) == (3072, 6144)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            measured(1024, ok=0, stop_reason="not deployed", failure="CannotStartContainerError"),
            "not deployed: CannotStart",
        ),
        (measured(1024, ok=40, failed=3, stop_reason="errors"), "stopped at the error limit: 3 errors in 43 responses"),
        (measured(1024, ok=0, failed=20), "no successful responses"),
        (measured(1024, ok=0), "no successful responses"),
        (measured(1024, ok=197, failed=3), "3 of 200 calls failed (limit 1 %)"),
    ],
)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_unstable_size_is_never_recommended(row, words, objective):
    """A size that was not stable is excluded with the reason, however cheap and fast."""
    cheap = replace(row, cost=replace(measured(1024).cost, per_million=0.01))

    found = recommend_memory([cheap, measured(6144, 0.5, 20.0)], objective)

    assert found.memory_mb == 6144
    assert words in found.excluded[1024]
    assert 1024 not in found.scores
    assert "6144 MB is the only stable size" in found.reason


def test_two_failures_in_two_hundred_are_accepted():
    """A failure share of exactly 1 % is stable."""
    assert recommend_memory([measured(1024, ok=198, failed=2)]).memory_mb == 1024


def test_without_a_stable_size_nothing_is_recommended():
    """Nothing is recommended if every size failed, or none was measured."""
    none = recommend_memory([measured(1024, ok=0), measured(2048, ok=0)])

    assert (none.memory_mb, none.runner_up, dict(none.scores)) == (None, None, {})
    assert none.reason == "no memory size was stable"
    assert set(none.excluded) == {1024, 2048}
    assert recommend_memory([]).reason == "no memory size was measured"


@pytest.mark.parametrize("objective", ["cost", "balanced"])
def test_without_prices_gigabyte_seconds_are_compared(objective):
    """If one size has no price, all are compared in GB-seconds."""
    rows = [measured(1024, 0.4, None), measured(2048, 0.1, 99.0)]

    found = recommend_memory(rows, objective)

    assert found.memory_mb == 2048
    assert "0.2000 GB-seconds per invocation" in found.reason
    assert "because a price is unavailable" in found.reason


def test_an_invalid_run_makes_the_recommendation_untrustworthy():
    """The size is still recommended, but flagged, and the reason says so."""
    rows = [measured(1024, 0.2), measured(2048, 0.1, verdict=INVALID)]

    found = recommend_memory(rows)

    assert not found.is_trustworthy
    assert "INVALID" in found.reason


def test_an_invalid_run_of_an_excluded_size_does_not_matter():
    """The verdict of an excluded size does not affect the recommendation."""
    rows = [measured(1024, ok=0, verdict=INVALID), measured(2048)]

    assert recommend_memory(rows).is_trustworthy


def test_the_last_run_of_a_size_counts():
    """A size that was measured twice is judged by its second run."""
    rows = [measured(1024, ok=0), measured(2048, 0.1), measured(1024, 0.1)]

    assert recommend_memory(rows).memory_mb == 1024


def test_a_size_that_violates_an_slo_is_excluded():
    """A size that meets its SLOs is preferred; if none does, the best is recommended and the reason says so."""
    rows = [measured(1024, ok=0), measured(2048), measured(3072)]

    one = recommend_memory(rows, violations={2048: "too slow", 6144: "not there"})
    none = recommend_memory(rows, violations={2048: "too slow", 3072: "too slow"})

    assert one.memory_mb == 3072
    assert one.excluded == {1024: "no successful responses", 2048: "too slow"}
    assert none.memory_mb == 2048
    assert set(none.excluded) == {1024}
    assert none.reason.endswith("No stable size meets all SLOs.")


def test_an_unknown_objective_is_rejected():
    """A misspelt objective is a UsageError."""
    with pytest.raises(UsageError, match="balanced, cost, speed"):
        recommend_memory([measured(1024)], "cheap")


@pytest.mark.parametrize("run", [made.failed_deploy(), made.zero_samples()])
def test_an_empty_run_is_excluded(run):
    """A run without samples is excluded."""
    empty = measured(1024, ok=0)

    assert recommend_memory([replace(empty, run=run)]).memory_mb is None


# --- concurrency -----------------------------------------------------------------------------------------------------


def cell(max_concurrency, clients, throttled=0, **fields):
    return measured(2048, max_concurrency=max_concurrency, clients=clients, throttled=throttled, **fields)


def recommended(*cells):
    return {item.clients: item.max_concurrency for item in recommend_concurrency(cells)}


def test_the_smallest_max_concurrency_without_throttles_is_recommended():
    """4 clients were throttled at 2 and served at 4 and 8: 4 is recommended."""
    assert recommended(cell(8, 4), cell(4, 4), cell(2, 4, throttled=90)) == {4: 4}


def test_what_served_more_clients_serves_fewer():
    """3 clients were measured at 2 only, but 4 were served at 4: 4 is recommended, and the reason says why."""
    cells = [cell(2, 2), cell(2, 3, throttled=50), cell(4, 4)]

    two, three, four = recommend_concurrency(cells)

    assert (two.max_concurrency, three.max_concurrency, four.max_concurrency) == (2, 4, 4)
    assert three.reason == "MaxConcurrency 4 served 4 clients without throttles, so it serves 3"
    assert "so it serves" not in four.reason


def test_without_a_clean_run_nothing_is_recommended():
    """If every run of 16 clients was throttled, none is recommended, and the reason has the counts."""
    (found,) = recommend_concurrency([cell(8, 16, throttled=2), cell(4, 16, throttled=300)])

    assert found.max_concurrency is None
    assert "4: 300 of 500 calls throttled, 8: 2 of 202 calls throttled" in found.reason


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"verdict": INVALID}, "INVALID"),
        ({"ok": 0, "failed": 9}, "no successful responses"),
        ({"ok": 0, "stop_reason": "not deployed", "failure": "quota"}, "not deployed: quota"),
        ({"failed": 50}, "50 of 250 calls failed"),
    ],
)
def test_invalid_and_unstable_runs_are_ignored(fields, words):
    """A run that is INVALID or not stable does not count as serving its clients."""
    (found,) = recommend_concurrency([cell(2, 2, **fields)])

    assert found.max_concurrency is None
    assert words in found.reason


@settings(max_examples=100)
@given(
    st.dictionaries(st.tuples(st.sampled_from([1, 2, 4, 8, 16]), st.integers(1, 20)), st.integers(0, 2), max_size=12)
)
def test_recommended_concurrency_does_not_decrease_with_clients(throttles):
    """More clients never need less, every client count has a recommendation, and it had no throttles."""
    found = recommend_concurrency([cell(size, clients, throttled=n) for (size, clients), n in throttles.items()])

    assert [item.clients for item in found] == sorted({clients for _, clients in throttles})
    sizes = [item.max_concurrency or 1000 for item in found]
    assert sizes == sorted(sizes)
    for item in found:
        if item.max_concurrency is not None:
            clean = [c for (size, c), n in throttles.items() if size == item.max_concurrency and n == 0]
            assert max(clean) >= item.clients

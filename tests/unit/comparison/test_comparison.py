"""Comparisons of measurements whose truth is known: verdicts, gates, refusals and the exit status."""

from dataclasses import replace

import numpy as np
import pytest

from loadgen.comparison.comparison import compare
from loadgen.comparison.gate import parse_gate
from loadgen.comparison.measurement import measurement_of_summary
from loadgen.comparison.metric import METRICS
from loadgen.comparison.verdict import Answer, Margins
from loadgen.errors import ConfigError, DataError, ExitStatus, UsageError
from loadgen.interfaces import Identity
from tests.support import example_runs
from tests.support.compared_runs import interleaved, measured, measurement, run_of_latencies
from tests.support.report_examples import analyze_runs, manifest


def latencies(count, seed, factor=1.0):
    """Return independent latencies with a median of 100 ms times a factor."""
    return 0.1 * factor * np.exp(0.1 * np.random.default_rng(seed).standard_normal(count))


def answers(comparison):
    """Return the verdict of each metric of the first step."""
    return {one.difference.metric.name: one.answer for one in comparison.steps[0].metrics}


def metric_of(comparison, name):
    """Return one judged metric of the first step."""
    return next(one for one in comparison.steps[0].metrics if one.difference.metric.name == name)


@pytest.fixture(scope="module")
def base():
    """The measurement that others are compared with."""
    return measured("base", latencies(2000, 1))


def test_the_same_is_the_same(base):
    """Two runs of one model differ by less than 5 % in every metric but the p99, and the status is 0."""
    found = compare(base, measured("new", latencies(2000, 2)), margins=Margins())

    assert {name for name, answer in answers(found).items() if answer is not Answer.SAME} <= {"p99"}
    assert found.status is ExitStatus.OK
    assert not found.is_interleaved
    assert "not interleaved" in found.notes[0]


def test_a_slower_model_is_worse(base):
    """A model that is 10 % slower is worse in latency, cost and TPS; the interval of the ratio contains 1.1."""
    found = compare(base, measured("new", latencies(2000, 2, 1.1)), margins=Margins())

    worse = {name for name, answer in answers(found).items() if answer is Answer.WORSE}
    assert {"mean", "p50", "p95", "cost", "tps"} <= worse
    assert metric_of(found, "p50").difference.low < 0.1 < metric_of(found, "p50").difference.high
    assert metric_of(found, "tps").difference.low < 1 / 1.1 - 1 < metric_of(found, "tps").difference.high
    assert found.status is ExitStatus.THRESHOLD


def test_a_faster_model_is_better(base):
    """A model that is 10 % faster is better, and the status is 0."""
    found = compare(base, measured("new", latencies(2000, 2, 0.9)), margins=Margins())

    assert answers(found)["p50"] is answers(found)["tps"] is Answer.BETTER
    assert found.status is ExitStatus.OK


def test_a_significant_change_within_the_margin_is_the_same(base):
    """2 % slower with 20,000 calls is significant, and the same within 5 %; with a margin of 1 % it is worse."""
    first, new = measured("base", latencies(20_000, 1)), measured("new", latencies(20_000, 2, 1.02))
    found, strict = (compare(first, new, margins=Margins(margin)) for margin in (0.05, 0.01))

    assert metric_of(found, "p50").p_value < 0.01
    assert answers(found)["p50"] is Answer.SAME
    assert answers(strict)["p50"] is Answer.WORSE


def test_few_calls_cannot_tell_and_say_how_many_could(base):
    """200 calls against 200 of a varied model cannot tell 5 %; the explanation names a larger number that could."""
    wide = [0.1 * np.exp(0.6 * np.random.default_rng(seed).standard_normal(200)) for seed in (1, 2)]
    found = compare(measured("base", wide[0]), measured("new", wide[1]), margins=Margins())
    p50 = metric_of(found, "p50")

    assert p50.answer is Answer.UNKNOWN
    assert p50.calls_needed > 200
    assert f"{p50.calls_needed:,} calls" in p50.explanation
    more = [0.1 * np.exp(0.6 * np.random.default_rng(seed).standard_normal(2 * p50.calls_needed)) for seed in (1, 2)]
    told = compare(measured("base", more[0]), measured("new", more[1]), margins=Margins())
    assert answers(told)["p50"] is Answer.SAME


def test_the_spread_between_runs_widens_the_interval(base):
    """With 3 % between runs, 6 % slower cannot be told: the difference of two runs has a spread of 4.2 %."""
    new = measured("new", latencies(2000, 2, 1.06))
    without, with_spread = (compare(base, new, margins=Margins(between_runs=spread)) for spread in (0.0, 0.03))
    one, other = (metric_of(found, "p50").difference for found in (without, with_spread))

    assert answers(without)["p50"] is Answer.WORSE
    assert answers(with_spread)["p50"] is Answer.UNKNOWN
    # Half-widths of logarithms add in quadrature: the new one is sqrt(old^2 + (1.96 sqrt(2) 0.03)^2).
    halves = [(np.log1p(found.high) - np.log1p(found.low)) / 2 for found in (one, other)]
    assert halves[1] == pytest.approx(np.hypot(halves[0], 1.96 * np.sqrt(2) * 0.03), rel=0.02)
    assert "measure interleaved" in metric_of(with_spread, "p50").explanation


def test_a_gate_needs_size_and_significance(base):
    """10 % slower exceeds 'p95 > 5 %', not 'p95 > 20 %' nor 'p95 > 50 ms'; 3 % of noise exceeds nothing."""
    slower = measured("new", latencies(2000, 2, 1.1))
    statuses = {
        rule: compare(base, slower, margins=Margins(), gates=[parse_gate(rule)]).status
        for rule in ("p95 > 5 %", "p95 > 20 %", "p95 > 50 ms", "p95 > 5 ms", "failed > 1 %", "tps < -5 %")
    }
    noise = [0.1 * np.exp(0.6 * np.random.default_rng(seed).standard_normal(400)) for seed in (1, 4)]
    noisy = compare(
        measured("base", noise[0]), measured("new", noise[1]), margins=Margins(), gates=[parse_gate("p95 > 0.1 %")]
    )

    assert {rule for rule, status in statuses.items() if status is ExitStatus.THRESHOLD} == {
        "p95 > 5 %",
        "p95 > 5 ms",
        "tps < -5 %",
    }
    assert metric_of(noisy, "p95").p_value > 0.01
    assert noisy.status is ExitStatus.OK


def test_strict_fails_what_cannot_be_told():
    """With --strict a gate that cannot be told fails with 99; without it the status is 0."""
    wide = [0.1 * np.exp(0.6 * np.random.default_rng(seed).standard_normal(200)) for seed in (1, 2)]
    sides = measured("base", wide[0]), measured("new", wide[1])

    assert compare(*sides, margins=Margins(), gates=[parse_gate("p50 > 5 %")]).status is ExitStatus.OK
    strict = compare(*sides, margins=Margins(), gates=[parse_gate("p50 > 5 %")], is_strict=True)
    assert strict.status is ExitStatus.THRESHOLD


def test_a_gate_without_a_value_never_passes():
    """'p99 > 5 %' on 200 calls has no p99 to judge: the status is 99, and the rule is named."""
    sides = measured("base", latencies(200, 1)), measured("new", latencies(200, 2))
    found = compare(*sides, margins=Margins(), gates=[parse_gate("p99 > 5 %")])

    assert found.unanswered_gates == ("p99 > 5 %",)
    assert found.status is ExitStatus.THRESHOLD


def test_more_failures_are_worse(base):
    """5 % of failures against none is worse by 5 percentage points; TPS and shares say so, latency does not."""
    failed = np.random.default_rng(3).random(2000) < 0.05
    new = measurement("new", run_of_latencies(latencies(2000, 2), failed=failed))
    found = compare(base, new, margins=Margins())
    share = metric_of(found, "failed")

    assert share.answer is Answer.WORSE
    assert share.difference.change == pytest.approx(failed.mean())
    assert share.difference.low < 0.05 < share.difference.high
    assert answers(found)["p50"] is Answer.SAME


@pytest.mark.parametrize(("count", "share"), [(1000, 0.9), (1000, 0.999), (100, 0.4)])
def test_failures_are_told_where_few_calls_are_ok(count, share):
    """90 % of failures leave too few ok calls for latencies, not for the failed share: it is worse, and the status 99."""
    failed = np.random.default_rng(5).random(count) < share
    new = measurement("new", run_of_latencies(latencies(count, 2), failed=failed))
    found = compare(measured("base", latencies(count, 1)), new, margins=Margins())

    assert answers(found)["p50"] is Answer.UNKNOWN
    assert answers(found)["failed"] is Answer.WORSE
    assert found.status is ExitStatus.THRESHOLD


def test_a_memory_size_without_an_ok_call_is_a_result():
    """A size of a benchmark on which no call is ok makes neither side INVALID; if it was ok before, it is worse."""
    good = example_runs.stability_run(2048, 300)
    before, after = (
        measurement(name, good, run)
        for name, run in (
            ("base", example_runs.stability_run(1024, 40)),
            ("new", example_runs.all_failed(1024, 40)),
        )
    )
    same, worse = compare(after, replace(after), margins=Margins()), compare(before, after, margins=Margins())
    failed = next(one for one in worse.steps[1].metrics if one.difference.metric.name == "failed")

    assert same.status is ExitStatus.OK
    assert failed.answer is Answer.WORSE
    assert worse.status is ExitStatus.THRESHOLD


def test_steps_with_the_same_name_are_matched_in_order():
    """Two steps named alike on both sides are compared first with first and second with second."""
    sides = [
        measurement(
            name, *(run_of_latencies(latencies(600, seed, factor), "x") for seed, factor in ((1, 1.0), (2, 2.0)))
        )
        for name in ("base", "new")
    ]
    found = compare(*sides, margins=Margins())

    assert [step.metrics[1].difference.change for step in found.steps] == [0, 0]


def test_a_side_that_ended_early_is_named(base):
    """A run that its error limit stopped is compared, and a note says that it ended early."""
    stopped = replace(run_of_latencies(latencies(2000, 2)), stop_reason="errors")
    found = compare(base, measurement("new", stopped), margins=Margins())

    assert "NEW ended one client early: errors" in found.notes


def test_no_failures_of_few_calls_do_not_prove_that_there_are_none():
    """0 of 250 against 0 of 250: up to 1.5 % more failures are possible, which is not within one point."""
    found = compare(measured("base", latencies(250, 1)), measured("new", latencies(250, 2)), margins=Margins())
    share = metric_of(found, "failed")

    assert share.answer is Answer.UNKNOWN
    assert share.difference.high == pytest.approx(1 - 0.025 ** (1 / 250))


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"payloads": {"sha256": "cd" * 32}}, "emulator", "payloads: sha256 BASE abababababab, NEW cdcdcdcdcdcd"),
        ({}, "aws", "target: BASE was measured on emulator, NEW on aws"),
    ],
)
def test_other_conditions_are_refused(base, fields, kind, message):
    """Other payloads, and the emulator against AWS, are refused with the difference; --anyway states it."""
    new = measured("new", latencies(2000, 2), kind=kind, **fields)
    with pytest.raises(ConfigError) as raised:
        compare(base, new, margins=Margins())
    accepted = compare(base, new, margins=Margins(), accepts_differences=True)

    assert message in str(raised.value)
    assert raised.value.status is ExitStatus.CONFIG
    assert any(message in text for text in accepted.differences)
    assert answers(accepted)["p50"] is Answer.SAME


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"load": {"kind": "open loop"}}, "load of one client: kind BASE closed loop, NEW open loop"),
        ({"config": None}, "configuration of one client: memory_mb BASE 2048, NEW none"),
        ({"transport": "botocore"}, "transport of one client: BASE wire, NEW botocore"),
    ],
)
def test_other_steps_are_refused(base, change, message):
    """A step with another load, configuration or transport is refused, and the difference is named."""
    step = base.steps[0]
    new = replace(base, name="new", steps=(replace(step, conditions=replace(step.conditions, **change)),))
    with pytest.raises(ConfigError) as raised:
        compare(base, new, margins=Margins())

    assert message in str(raised.value)


def test_another_region_is_refused(base):
    """A measurement in another region is refused."""
    new = replace(base, conditions=replace(base.conditions, region="eu-west-1"))
    with pytest.raises(ConfigError, match="region: BASE us-east-1, NEW eu-west-1"):
        compare(base, new, margins=Margins())


def test_another_load_is_refused(base):
    """A load of another number of calls is refused, since cold starts weigh less in a longer run."""
    with pytest.raises(ConfigError, match="load of one client: count BASE 2000, NEW 1000"):
        compare(base, measured("new", latencies(1000, 2)), margins=Margins())


def test_no_common_step_is_refused(base):
    """Measurements of several steps without a common name are refused, and both lists are shown."""
    new = measurement("new", *(run_of_latencies(latencies(200, 1), name) for name in ("one", "two")))
    with pytest.raises(ConfigError, match="no step in common") as raised:
        compare(base, new, margins=Margins())

    assert raised.value.details == ("BASE: one client", "NEW: one, two")


def test_an_invalid_side_has_no_verdict(base):
    """An INVALID run gives no verdict and the status 110; --anyway compares it and says which side it is."""
    step = base.steps[0]
    invalid = replace(base, name="new", steps=(replace(step, invalid_reason="event loop blocked: 310 ms"),))
    found = compare(base, invalid, margins=Margins())
    accepted = compare(base, invalid, margins=Margins(), accepts_differences=True)

    assert found.status is ExitStatus.INVALID
    assert found.steps[0].metrics == ()
    assert found.steps[0].invalid_reason == "NEW is INVALID: event loop blocked: 310 ms"
    assert accepted.status is ExitStatus.OK
    assert accepted.differences == ("one client: NEW is INVALID: event loop blocked: 310 ms",)


def test_interleaved_blocks_cancel_what_the_time_contributes():
    """Minutes that differ by 20 % hide nothing: 6 % slower is told from 24 pairs, and the same is the same."""
    minutes = np.repeat(np.exp(0.2 * np.random.default_rng(9).standard_normal(24)), 100)
    for factor, answer in ((1.06, Answer.WORSE), (1.0, Answer.SAME)):
        both = interleaved(minutes * latencies(2400, 1), minutes * latencies(2400, 2, factor), 24)
        found = compare(both, both, margins=Margins())

        assert found.is_interleaved
        assert answers(found)["p50"] is answer
        assert metric_of(found, "p50").difference.blocks == 24
        assert not any("not interleaved" in note for note in found.notes)


def test_nine_pairs_are_too_few():
    """9 pairs of blocks are not compared; the reason says that 10 are needed."""
    both = interleaved(latencies(900, 1), latencies(900, 2), 9)
    found = compare(both, both, margins=Margins())

    assert "needs 10 pairs of blocks" in metric_of(found, "p50").explanation


def test_one_directory_must_be_interleaved(base):
    """A single measurement without the steps `base` and `new` in blocks is refused."""
    with pytest.raises(ConfigError, match="no step 'base' that was called in blocks"):
        compare(base, base, margins=Margins())


def summary_of(run):
    """Return the parsed summary.json of a run, without its calls."""
    import json

    from loadgen.report.formats.summary_json import summary_json

    return json.loads(
        summary_json(manifest(identity=Identity("emulator", "", "us-east-1", "a detail")), analyze_runs(run))
    )


def test_a_summary_is_compared_by_its_intervals(base):
    """summary.json carries intervals: 10 % slower is worse, without blocks, and the note says what is missing."""
    new = measurement_of_summary("summary.json", summary_of(run_of_latencies(latencies(2000, 2, 1.1))))
    found = compare(base, new, margins=Margins())
    p50 = metric_of(found, "p50").difference

    assert answers(found)["p50"] is Answer.WORSE
    assert p50.blocks == 0
    assert p50.low < 0.1 < p50.high
    assert any("no calls" in note for note in found.notes)
    assert answers(found)["cost"] is Answer.WORSE


def test_something_else_is_not_a_summary():
    """A JSON object without the fields of a summary is a DataError that names the first missing field."""
    with pytest.raises(DataError, match=r"not a summary\.json of this version: KeyError 'manifest'"):
        measurement_of_summary("x.json", {"runs": []})


@pytest.mark.parametrize("values", [{"ratio": 0.0}, {"ratio": 1.0}, {"ratio": -0.1}, {"between_runs": 1.0}])
def test_margins_are_checked(values):
    """A margin of 0 or 100 %, and a spread of 100 %, are refused."""
    with pytest.raises(UsageError):
        Margins(**values)


def test_every_metric_is_in_every_comparison(base):
    """Each step lists all nine metrics, and a metric without a value says why."""
    short = measured("short", latencies(60, 1)), measured("new", latencies(60, 2))
    found = compare(*short, margins=Margins())

    assert list(answers(found)) == [metric.name for metric in METRICS]
    assert set(answers(found).values()) == {Answer.UNKNOWN}
    assert all(one.explanation for one in found.steps[0].metrics)

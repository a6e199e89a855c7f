"""Verdicts on differences that are given as numbers."""

import pytest

from loadgen.comparison.difference import Difference
from loadgen.comparison.metric import METRIC_BY_NAME
from loadgen.comparison.verdict import Answer, Margins, judge_differences
from loadgen.statistics.interval import Interval

VALUE = Interval(0.1, 0.09, 0.11, 1000, None)


@pytest.mark.parametrize(
    ("name", "change", "low", "high", "p_value", "answer"),
    [
        ("p50", 0.10, 0.07, 0.13, 1e-5, Answer.WORSE),
        ("p50", -0.10, -0.13, -0.07, 1e-5, Answer.BETTER),
        ("tps", 0.10, 0.07, 0.13, 1e-5, Answer.BETTER),
        ("tps", -0.10, -0.13, -0.07, 1e-5, Answer.WORSE),
        ("p50", 0.03, 0.01, 0.05, 1e-5, Answer.SAME),  # significant, and within 5 %
        ("p50", 0.05, 0.03, 0.07, 1e-5, Answer.WORSE),  # exactly the margin: a certain change, not within it
        ("p50", 0.10, 0.01, 0.20, 0.02, Answer.UNKNOWN),  # not significant at 1 %
        ("p50", 0.00, -0.06, 0.06, 1.0, Answer.UNKNOWN),
        ("failed", 0.02, 0.012, 0.03, 1e-5, Answer.WORSE),
        ("failed", 0.02, -0.001, 0.04, 1e-5, Answer.UNKNOWN),  # the counts leave open what the blocks tell
        ("failed", 0.00, -0.004, 0.004, 1.0, Answer.SAME),
    ],
)
def test_a_verdict_follows_from_interval_and_p_value(name, change, low, high, p_value, answer):
    """Same: within the margin. Worse or better: significant and on one side of no change. Otherwise: cannot be told."""
    one = Difference(METRIC_BY_NAME[name], VALUE, VALUE, change, low, high, p_value, 20, 1000)
    (judged,) = judge_differences([[one]], {name}, Margins(), is_interleaved=True)[0]

    assert judged.answer is answer
    assert (judged.calls_needed is not None) == (answer is Answer.UNKNOWN)


def test_many_metrics_need_a_smaller_p_value():
    """P = 0.004 is significant alone, and not as one of five: Holm multiplies it by 5."""
    given = [
        Difference(METRIC_BY_NAME[name], VALUE, VALUE, 0.1, 0.05, 0.15, p_value, 20, 1000)
        for name, p_value in (("p50", 0.004), ("mean", 0.5), ("p90", 0.5), ("p95", 0.5), ("cost", 0.5))
    ]
    names = {one.metric.name for one in given}

    assert judge_differences([given[:1]], names, Margins(), is_interleaved=True)[0][0].answer is Answer.WORSE
    together = judge_differences([given], names, Margins(), is_interleaved=True)[0][0]
    assert together.answer is Answer.UNKNOWN
    assert together.p_value == pytest.approx(0.02)


def test_shares_of_zero_do_not_count_as_comparisons():
    """Two metrics without a throttle or failure on either side can never be worse: p = 0.004 stays 0.004."""
    none = Interval(0.0, 0.0, 0.003, 1000, None)
    given = [
        Difference(METRIC_BY_NAME["p50"], VALUE, VALUE, 0.1, 0.05, 0.15, 0.004, 20, 1000),
        *(
            Difference(METRIC_BY_NAME[name], none, none, 0.0, -0.003, 0.003, 1.0, 20)
            for name in ("throttled", "failed")
        ),
    ]
    found = judge_differences([given], {"p50", "throttled", "failed"}, Margins(), is_interleaved=True)[0]

    assert found[0].p_value == 0.004
    assert [one.answer for one in found] == [Answer.WORSE, Answer.SAME, Answer.SAME]

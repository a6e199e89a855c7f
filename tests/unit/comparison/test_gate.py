"""Gates: the rules of --fail-if, and the messages for those that cannot be read."""

import pytest

from loadgen.comparison.gate import parse_gate
from loadgen.errors import UsageError


@pytest.mark.parametrize(
    ("text", "metric", "limit", "is_absolute"),
    [
        ("p95 > 5 %", "p95", 0.05, False),
        ("p95>5%", "p95", 0.05, False),
        ("P99 > 20 ms", "p99", 0.02, True),
        ("mean > 1.5 s", "mean", 1.5, True),
        ("cost > 0.2 USD", "cost", 0.2, True),
        ("cost > 0 %", "cost", 0.0, False),
        ("failed > 0.5 %", "failed", 0.005, True),
        ("throttled > 1%", "throttled", 0.01, True),
        ("tps < -5 %", "tps", 0.05, False),
        ("tps < -2 /s", "tps", 2.0, True),
        ("  p50  >  1e1 ms ", "p50", 0.01, True),
    ],
)
def test_a_rule_is_read(text, metric, limit, is_absolute):
    """A rule names a metric, the direction that is worse, and a limit in percent or in the metric's unit."""
    gate = parse_gate(text)

    assert (gate.metric.name, gate.is_absolute) == (metric, is_absolute)
    assert gate.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a rule"),
        ("p95", "is not a rule"),
        ("p95 5 %", "is not a rule"),
        ("p95 > 5 % or so", "is not a rule"),
        ("p75 > 5 %", "no metric 'p75'"),
        ("latency > 5 %", "known: mean, p50"),
        ("p95 > five %", "'five' is not a number"),
        ("p95 > nan %", "'nan' is not a number"),
        ("p95 > 1e999 %", "is not a number"),
        ("p95 < 5 %", "more p95 is worse"),
        ("p95 > -5 %", "more p95 is worse"),
        ("tps > 5 %", "write it as 'tps < -5 %'"),
        ("tps < 5 %", "less tps is worse"),
        ("p95 >= 5 %", "more p95 is worse"),
        ("p95 > 5", "p95 has no unit ''; one of: %, ms, s"),
        ("p95 > 5 USD", "p95 has no unit 'USD'"),
        ("failed > 5 ms", "failed has no unit 'ms'; one of: %"),
    ],
)
def test_a_rule_that_cannot_be_read_is_refused(text, message):
    """The message names the part of the rule that is wrong and what is allowed."""
    with pytest.raises(UsageError) as raised:
        parse_gate(text)

    assert message in str(raised.value)

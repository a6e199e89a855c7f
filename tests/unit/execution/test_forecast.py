"""The forecast bounds what a run creates and costs, and limits the number of endpoints."""

import pytest

from loadgen import (
    ClosedLoop,
    Emulated,
    OpenLoop,
    Request,
    ServerlessBenchmark,
    ServerlessConfig,
    Step,
    constant,
    even,
    trace,
)
from loadgen.analysis.prices import PriceBook
from loadgen.errors import ConfigError
from loadgen.execution.forecast import DEFAULT_MAX_ENDPOINTS, INVOCATION_TIMEOUT, forecast_run
from loadgen.interfaces import Identity

AWS = Identity("aws", "123456789012", "us-east-1")
# The price list of us-east-1 (2026): USD for a second of 1 GB, and for a GB of data.
USD_PER_GB_SECOND, USD_PER_GB = 0.00002, 0.016


def forecast(steps, requests=(Request(b"x"),), identity=AWS, waves=1):
    return forecast_run(steps, requests, identity, waves=waves, prices=PriceBook.builtin())


def steps(*sizes, count=100, slots=1):
    return [Step(ServerlessConfig(size, slots), ClosedLoop(1, count=count)) for size in sizes]


def test_worst_case_is_every_call_at_its_longest():
    """The worst case of 2 x 100 calls is 60 s each: memory x seconds x price, and twice the body in data."""
    bound = forecast(steps(1024, 3072), [Request(b"x" * 1000)])
    by_hand = 100 * INVOCATION_TIMEOUT * USD_PER_GB_SECOND * (1 + 3) + 200 * 2000 * USD_PER_GB / 2**30
    assert bound.worst_case.usd == pytest.approx(by_hand)
    assert bound.worst_case.invocations == 200
    assert any("2 endpoints" in line for line in bound.lines())


def test_an_unknown_price_is_shown_as_unknown():
    """In a region without prices the forecast says that the cost is unknown, not 0 (C64)."""
    lines = forecast(steps(1024), identity=Identity("aws", "1", "nowhere-1")).lines()
    assert any("unknown" in line for line in lines)


def test_a_run_on_an_existing_endpoint_creates_no_resources():
    """Steps without a configuration are forecast as billed calls to an existing endpoint."""
    (line,) = forecast([Step(None, ClosedLoop(1, count=5))]).lines()
    assert line.startswith("will create no resources")


def test_too_many_endpoints_are_refused():
    """1200 configurations are refused with their number and cost, unless the limit allows them (C05)."""
    many = [
        Step(ServerlessConfig(m, c), ClosedLoop(1, count=1)) for m in range(1024, 7168, 1024) for c in range(1, 201)
    ]
    enormous = forecast(many, waves=24)
    with pytest.raises(ConfigError, match="1200 endpoints, the limit is 50") as caught:
        enormous.check_endpoint_limit(None)
    assert any("USD" in line for line in caught.value.details)
    enormous.check_endpoint_limit(1200)


def test_the_default_limit_allows_the_default_benchmark():
    """The default benchmark needs fewer endpoints than the default limit."""
    usual = ServerlessBenchmark(Emulated(), [Request(b"x")])
    assert len(set(usual.configs())) <= DEFAULT_MAX_ENDPOINTS


@pytest.mark.parametrize(
    ("load", "text"),
    [
        (OpenLoop(trace([0, 1.5])), "at least 1.5 s"),
        (OpenLoop(trace([0, 1500.0])), "at least 25 min"),
        (OpenLoop(trace([0, 3_600_000.0])), "at least 41.7 days"),
        (OpenLoop(even(constant(1)), 7200), "at least 2 h"),
        (ClosedLoop(1, duration=90), "at least 90 s"),
    ],
)
@pytest.mark.parametrize("config", [ServerlessConfig(1024), None])
def test_the_forecast_says_how_long_the_load_lasts(load, text, config):
    """A schedule in the wrong unit shows before the run: 1.5 s, 25 minutes and 41 days are told apart."""
    assert any(text in line for line in forecast([Step(config, load)]).lines())


def test_steps_add_up_unless_they_run_together():
    """Two loads of 60 s last 120 s one after the other, and 60 s at the same time; a count has no duration."""
    two = [Step(ServerlessConfig(size), ClosedLoop(1, duration=60)) for size in (1024, 2048)]
    both = forecast_run(two, [Request(b"x")], AWS, waves=1, prices=PriceBook.builtin(), together=True)
    assert (forecast(two).load_duration, both.load_duration) == (120, 60)
    assert not any("at least" in line for line in forecast(steps(1024)).lines())

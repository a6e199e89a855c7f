"""Scenario: the values that are refused when it is built, and the plan of its steps."""

import math
from functools import partial

import pytest

from loadgen import ClosedLoop, Emulated, Request, Scenario, ServerlessBenchmark, Step
from loadgen.errors import UsageError

REQUESTS = [Request(b"{}")]
STEPS = [Step(None, ClosedLoop(1, count=1))]


@pytest.mark.parametrize("value", ["abc", [5], [], 5])
@pytest.mark.parametrize("field", ["steps", "requests"])
def test_a_scenario_holds_steps_and_requests(field, value):
    """Steps and requests of another type, or none at all, are refused when the scenario is built."""
    values = {"requests": REQUESTS, "steps": STEPS, field: value}
    with pytest.raises((UsageError, TypeError)):
        Scenario(Emulated(), **values)


@pytest.mark.parametrize(
    "fields",
    [
        {"timeout": math.nan},
        {"timeout": -1},
        {"timeout": math.inf},
        {"seed": -1},
        {"seed": 1.5},
        {"objective": "best"},
        {"slos": ["x"]},
        {"failure_share_limit": 1.01},
        {"failure_share_limit": -0.01},
        {"failure_share_limit": math.nan},
        {"failure_share_limit": "1 %"},
        {"failure_share_limit": True},
    ],
)
@pytest.mark.parametrize(
    "build",
    [partial(Scenario, Emulated(), REQUESTS, STEPS), partial(ServerlessBenchmark, Emulated(), REQUESTS)],
    ids=["Scenario", "ServerlessBenchmark"],
)
def test_invalid_common_fields_are_refused(build, fields):
    """An invalid timeout, seed, objective or SLO is refused by both classes of scenario."""
    with pytest.raises(UsageError):
        build(**fields)


def test_the_plan_is_one_batch_of_all_steps():
    """The plan of a Scenario yields its steps as one batch and ends."""
    assert list(Scenario(Emulated(), REQUESTS, STEPS).plan()) == [tuple(STEPS)]


def test_a_target_of_another_type_is_refused():
    """A target that has no account is refused with its type."""
    with pytest.raises(UsageError, match="got str"):
        Scenario("somewhere", REQUESTS, STEPS)

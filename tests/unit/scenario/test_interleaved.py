"""Interleaved: its steps and rounds, what it refuses, and the scenarios that can be compared."""

from dataclasses import replace

import pytest

from loadgen import (
    ClosedLoop,
    Emulated,
    Existing,
    Interleaved,
    OpenLoop,
    Request,
    Scenario,
    ServerlessBenchmark,
    ServerlessConfig,
    Slo,
    Step,
    Variant,
    constant,
    even,
)
from loadgen.errors import ConfigError, UsageError
from loadgen.scenario.interleaved import interleave
from loadgen.scenario.target_pair import TargetPair

REQUESTS = [Request(b"{}"), Request(b"[]")]
TARGET = Emulated("mobilenet-v2")
SMALL, LARGE = Variant(TARGET, ServerlessConfig(2048)), Variant(TARGET, ServerlessConfig(3072))


def one_step(memory_mb=2048, *, target=TARGET, load=ClosedLoop(1, count=1200), step=None, **settings):
    config = None if isinstance(target, Existing) else ServerlessConfig(memory_mb)
    return Scenario(target, settings.pop("requests", REQUESTS), [Step(config, load, **(step or {}))], **settings)


def test_two_configurations_of_one_target_are_two_steps():
    """Base and new have the same load in the phase `comparison`, and 12 rounds of 100 calls each."""
    scenario = Interleaved(SMALL, LARGE, REQUESTS, seed=4)
    (batch,) = scenario.plan()

    assert [(s.name, s.config.memory_mb, s.phase, s.variant) for s in batch.steps] == [
        ("base", 2048, "comparison", ""),
        ("new", 3072, "comparison", ""),
    ]
    assert batch.steps[0].load == batch.steps[1].load == ClosedLoop(1, count=1200)
    assert (batch.block_size, batch.seed, batch.is_one_wave, batch.policy) == (100, 4, True, None)
    assert scenario.target == TARGET


def test_two_targets_are_opened_as_a_pair():
    """Each step names the target that it calls."""
    scenario = Interleaved(Variant(Existing("blue")), Variant(Existing("green")), REQUESTS)

    assert scenario.target == TargetPair(Existing("blue"), Existing("green"))
    assert [step.variant for step in scenario.possible_steps()] == ["base", "new"]


@pytest.mark.parametrize(
    ("load", "block_size", "sent"),
    [
        (ClosedLoop(4, count=1200), 100, 1200),
        (ClosedLoop(4, count=1300), 108, 1296),
        (OpenLoop(even(constant(20)), duration=61), 102, None),
    ],
    ids=["exact", "rounded to equal blocks", "open loop"],
)
def test_the_load_is_divided_into_pairs(load, block_size, sent):
    """A closed loop is divided into 12 equal blocks; the last block of an open loop may have fewer calls."""
    scenario = Interleaved(SMALL, LARGE, REQUESTS, load=load)

    assert scenario.block_size == block_size
    if sent is not None:
        assert {step.load.count for step in scenario.possible_steps()} == {sent}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": 5}, "pairs"),
        ({"load": ClosedLoop(1, count=1100)}, "91 in each block, the minimum is 100"),
        ({"load": ClosedLoop(1, count=3), "min_block_size": 1}, "the minimum is 1"),
        ({"load": ClosedLoop(1, duration=60)}, "no count"),
        ({"new": Variant(TARGET)}, "only one of base and new"),
        ({"new": ServerlessConfig(3072)}, "Variant"),
        ({"requests": []}, "requests"),
    ],
)
def test_what_cannot_be_compared_is_refused(settings, message):
    """Too few pairs or calls, a load without a count, a missing configuration or payload: the error names it."""
    with pytest.raises(UsageError, match=message):
        Interleaved(**({"base": SMALL, "new": LARGE, "requests": REQUESTS} | settings))


def test_targets_of_different_kinds_are_refused():
    """An existing endpoint is not compared with one that is deployed."""
    with pytest.raises(ConfigError, match="Emulated"):
        TargetPair(Emulated(), Existing("blue"))


def test_two_scenarios_of_one_step_become_a_comparison():
    """Target and configuration are those of each scenario; load, payloads, seed and SLOs are those of both."""
    slos = [Slo("response_p95", at_most=0.3)]
    load = ClosedLoop(3, count=2400)
    base = one_step(2048, load=load, seed=9, slos=slos, timeout=20, step={"warmup_calls": 10})
    new = one_step(4096, load=load, seed=9, slos=slos, timeout=20, step={"warmup_calls": 10, "name": "larger"})
    scenario = interleave(base, new, pairs=20)

    assert (scenario.base, scenario.new) == (SMALL, Variant(TARGET, ServerlessConfig(4096)))
    assert (scenario.block_size, scenario.seed, scenario.timeout, list(scenario.slos)) == (120, 9, 20, slos)
    assert {step.warmup_calls for step in scenario.possible_steps()} == {10}


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (one_step(requests=[Request(b"other")]), "payloads"),
        (one_step(load=ClosedLoop(2, count=1200)), "load"),
        (one_step(seed=1), "seed"),
        (one_step(timeout=5), "timeout"),
        (one_step(step={"warmup_calls": 5}), "warm-up"),
        (one_step(slos=[Slo("response_p95", at_most=0.3)]), "SLOs"),
        (replace(one_step(), steps=[*one_step().steps, *one_step(3072).steps]), "2 steps"),
        (ServerlessBenchmark(TARGET, REQUESTS), "steps"),
    ],
    ids=["payloads", "load", "seed", "timeout", "warm-up", "slos", "two steps", "benchmark"],
)
def test_scenarios_that_differ_in_more_are_refused(new, message):
    """Scenarios with another load, payload, seed, timeout or several steps are refused, naming the difference."""
    with pytest.raises(ConfigError, match=message):
        interleave(one_step(), new)


def test_a_warm_up_in_seconds_is_refused():
    """Two sides of different speed would leave out different calls."""
    scenario = one_step(step={"warmup": 3.0})
    with pytest.raises(ConfigError, match="warm-up in seconds"):
        interleave(scenario, scenario)

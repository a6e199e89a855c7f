"""Two variants called in alternating blocks against the emulator: pairs, ledger, payloads, one or two targets."""

import numpy as np
import pytest

from loadgen import (
    ClosedLoop,
    Emulated,
    Existing,
    Interleaved,
    OpenLoop,
    Scenario,
    ServerlessConfig,
    Step,
    Variant,
    constant,
    even,
)
from loadgen.errors import QuotaError
from loadgen.scenario.interleaved import interleave
from tests.support.emulator import deploy, emulated, profile_of_latency
from tests.support.scenario_runs import REQUESTS, RecordingProgress, assert_ledger_agrees, execute, list_resources

SHORT = {"load": ClosedLoop(1, count=60), "pairs": 6, "min_block_size": 10, "seed": 5}


def latencies(run):
    return run.samples["done"] - run.samples["sent"]


def assert_pairs_alternate(base, new, pairs):
    """Each pair has one block of both next to each other, and each second pair has the order of the first reversed."""
    assert [block.round for block in base.blocks] == [block.round for block in new.blocks] == list(range(1, pairs + 1))
    order = [name for _, name in sorted((b.started, run.step.name) for run in (base, new) for b in run.blocks)]
    found = [tuple(order[n : n + 2]) for n in range(0, 2 * pairs, 2)]
    assert all(set(pair) == {"base", "new"} for pair in found)
    assert all(second == first[::-1] for first, second in zip(found[::2], found[1::2], strict=True))


def test_two_models_are_called_in_pairs_of_blocks(tmp_path):
    """Two models in one configuration have an endpoint each; counts, payloads and latencies are those of each model."""
    with emulated(models={"quick": profile_of_latency(0.004), "slow": profile_of_latency(0.02)}) as emulator:
        base, new = (
            Variant(Emulated(model=name, url=emulator.url), ServerlessConfig(2048)) for name in ("quick", "slow")
        )
        finished = execute(Interleaved(base, new, REQUESTS, **SHORT), tmp_path / "out")
        one, other = finished.runs
        for run in finished.runs:
            assert_ledger_agrees(run, emulator)
            assert run.metrics.values["Invocations"].total == 60
        assert list_resources(emulator) == []

    assert finished.statuses == ()
    assert [(run.step.name, run.scheduled) for run in finished.runs] == [("base", 60), ("new", 60)]
    assert one.endpoint != other.endpoint
    assert np.median(latencies(one)) < 0.012 < np.median(latencies(other))
    assert one.samples["request_index"].tolist() == other.samples["request_index"].tolist()
    assert_pairs_alternate(one, other, 6)


def test_two_configurations_of_one_model_are_called_in_pairs(tmp_path):
    """Two memory sizes of a target are deployed at once and called in alternating blocks."""
    with emulated() as emulator:
        target = Emulated(model="quick", url=emulator.url)
        scenarios = [
            Scenario(target, REQUESTS, [Step(ServerlessConfig(mb), ClosedLoop(2, count=600))]) for mb in (1024, 3072)
        ]
        runs = execute(interleave(*scenarios, pairs=6), tmp_path / "out").runs

    assert [(run.step.config.memory_mb, run.scheduled) for run in runs] == [(1024, 600), (3072, 600)]
    assert [block.count for block in runs[0].blocks] == [100] * 6
    assert_pairs_alternate(*runs, 6)


def test_the_same_against_the_same_shares_one_endpoint(tmp_path):
    """A comparison of a configuration with itself calls one endpoint, which counts the calls of both."""
    with emulated() as emulator:
        variant = Variant(Emulated(model="quick", url=emulator.url), ServerlessConfig(2048))
        runs = execute(Interleaved(variant, variant, REQUESTS, **SHORT), tmp_path / "out").runs

    assert runs[0].endpoint == runs[1].endpoint
    assert [run.scheduled for run in runs] == [60, 60]
    assert_pairs_alternate(*runs, 6)


def test_two_existing_endpoints_are_called_in_pairs(tmp_path):
    """Nothing is created or deleted, and each endpoint receives its own calls."""
    with emulated() as emulator:
        deploy(emulator, "blue")
        deploy(emulator, "green")
        before = list_resources(emulator)
        variants = [Variant(Existing(name, emulator_url=emulator.url)) for name in ("blue", "green")]
        runs = execute(Interleaved(*variants, REQUESTS, **SHORT), tmp_path / "out").runs
        for run in runs:
            assert_ledger_agrees(run, emulator)
        assert list_resources(emulator) == before

    assert [run.endpoint for run in runs] == ["blue", "green"]
    assert_pairs_alternate(*runs, 6)


def test_an_open_loop_is_sent_in_pairs_of_blocks(tmp_path):
    """240 arrivals at 200 per second are sent in six pairs of 40, in the order of the schedule."""
    with emulated() as emulator:
        target = Emulated(model="quick", url=emulator.url)
        settings = SHORT | {"load": OpenLoop(even(constant(200)), duration=1.2, max_in_flight=20)}
        variants = (Variant(target, ServerlessConfig(mb, 4)) for mb in (1024, 2048))
        runs = execute(Interleaved(*variants, REQUESTS, **settings), tmp_path / "out").runs

    for run in runs:
        assert [block.count for block in run.blocks] == [40] * 6
        assert sorted(run.samples["seq"].tolist()) == list(range(240))
    assert_pairs_alternate(*runs, 6)


def test_variants_that_do_not_fit_the_quotas_together_are_refused(tmp_path):
    """Two endpoints of MaxConcurrency 6 on an account that allows 10 in all are refused, and nothing is created."""
    progress = RecordingProgress()
    with emulated(quotas="ordinary") as emulator:
        target = Emulated(model="quick", url=emulator.url)
        variants = (Variant(target, ServerlessConfig(mb, 6)) for mb in (1024, 2048))
        with pytest.raises(QuotaError, match="side by side"):
            raise execute(Interleaved(*variants, REQUESTS, **SHORT), tmp_path / "out", progress=progress).failure
        assert list_resources(emulator) == []
    assert not any(message.startswith("deploying") for message in progress.messages)

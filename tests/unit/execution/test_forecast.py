"""What will be created and cost is said before, and limits are kept."""

import json

import numpy as np
import pytest

from loadgen import ClosedLoop, Emulated, Request, ServerlessBenchmark, ServerlessConfig, Step
from loadgen.analysis.prices import PriceBook
from loadgen.errors import ConfigError
from loadgen.execution.forecast import DEFAULT_MAX_ENDPOINTS, INVOCATION_TIMEOUT, forecast_run
from loadgen.execution.spend_limit import SpendLimit
from loadgen.interfaces import Identity
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import SAMPLE

AWS = Identity("aws", "123456789012", "us-east-1")
RUN = ("--out", "out", "--quiet")
# What AWS asks in us-east-1 (price list, 2026): USD for a second of 1 GB, and for a GB of data.
SECOND, DATA = 0.00002, 0.016


def steps(*sizes, count=100, slots=1):
    return [Step(ServerlessConfig(size, slots), ClosedLoop(1, count=count)) for size in sizes]


def test_the_bound_is_every_call_at_its_longest():
    """Two sizes, 100 calls each of at most 60 s: memory times seconds times price, by hand, and twice the body in data."""
    foresight = forecast_run(steps(1024, 3072), [Request(b"x" * 1000)], AWS, waves=1, prices=PriceBook.builtin())
    by_hand = 100 * INVOCATION_TIMEOUT * SECOND * (1 + 3) + 200 * 2000 * DATA / 2**30
    assert foresight.worst_case.usd == pytest.approx(by_hand)
    assert foresight.worst_case.invocations == 200
    assert any("2 endpoints" in line for line in foresight.lines())


def test_an_unknown_price_is_said_and_never_zero():
    """C64: for a region without prices the cost is unknown, and a spending limit is refused instead of ignored."""
    nowhere = Identity("aws", "1", "nowhere-1")
    foresight = forecast_run(steps(1024), [Request(b"x")], nowhere, waves=1, prices=PriceBook.builtin())
    assert any("unknown" in line for line in foresight.lines())
    with pytest.raises(ConfigError, match="max-spend"):
        SpendLimit(PriceBook.builtin(), "nowhere-1", limit=1.0, on_exceeded=lambda: None)


def test_an_enormous_sweep_is_refused():
    """C05: 6 x 200 configurations are refused with their number and price; meant, they pass."""
    many = [
        Step(ServerlessConfig(m, c), ClosedLoop(1, count=1)) for m in range(1024, 7168, 1024) for c in range(1, 201)
    ]
    foresight = forecast_run(many, [Request(b"x")], AWS, waves=24, prices=PriceBook.builtin())
    with pytest.raises(ConfigError, match="1200 endpoints") as caught:
        foresight.check_endpoint_limit(None)
    assert any("USD" in line for line in caught.value.details)
    foresight.check_endpoint_limit(1200)
    usual = ServerlessBenchmark(Emulated(), [Request(b"x")])
    assert len(set(usual.configs())) <= DEFAULT_MAX_ENDPOINTS


def test_spending_counts_what_was_served_and_calls_once():
    """Served and failed calls cost their seconds and bytes, refused ones nothing; the limit is told once."""
    samples = np.zeros(4, SAMPLE)
    samples["done"] = [2.0, 3.0, 5.0, 7.0]
    samples["outcome"] = [Outcome.OK, Outcome.MODEL_ERROR, Outcome.THROTTLED, Outcome.CANCELLED_IN_FLIGHT]
    samples["request_bytes"], samples["response_bytes"] = 2**28, 2**28
    told = []
    spending = SpendLimit(PriceBook.builtin(), "us-east-1", limit=1e-4, on_exceeded=lambda: told.append(1))
    spending.add_samples(ServerlessConfig(2048), samples)
    assert spending.spent_usd == pytest.approx(2 * SECOND * (2.0 + 3.0) + 2 * 0.5 * DATA)
    spending.add_samples(ServerlessConfig(2048), samples)
    assert told == [1]


def test_a_dry_run_says_what_it_would_do_and_does_nothing(run_in_sandbox):
    """C62: --dry-run prints endpoints, requests and cost, ends with 0, and makes no directory and no call that changes anything."""

    async def main(on):
        child = on.start(str(on.write_scenario()), *RUN, "--dry-run")
        on.faults.child = child
        assert await on.finish(child) == 0
        said = child.stderr.read_text()
        assert "2 endpoints" in said
        assert "at most 12 requests" in said
        assert "USD" in said
        assert not [call for call in on.faults.calls if call.startswith(("CreateEndpoint", "Delete"))]
        assert not (on.directory / "out").exists()

    run_in_sandbox(main)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--expect-account", "999999999999"], 77),
        (["--max-endpoints", "1"], 78),
        (["--expect-account", "123456789012", "--max-endpoints", "2"], 0),
        (["--max-endpoints", "1", "--yes"], 78),
        (["--max-spend", "-1"], 2),
        (["--grace", "nan"], 2),
        (["--resume", "nowhere"], 66),
    ],
)
def test_a_start_that_is_not_allowed_creates_nothing(run_in_sandbox, words, status):
    """C05, C11, C62: another account is 77, too many endpoints 78, impossible limits 2; no Create call goes out."""

    async def main(on):
        run = [word for word in RUN if "--resume" not in words or word == "--quiet"]
        child = on.start(str(on.write_scenario()), *run, *words)
        on.faults.child = child
        got = await on.finish(child)
        assert got == status or (status == 0 and got == 110), child.stderr.read_text()
        if status:
            assert not [call for call in on.faults.calls if call.startswith("CreateEndpoint")]

    run_in_sandbox(main)


def test_contradicting_options_are_named(run_in_sandbox):
    """C11: --resume beside --out names both, and is a usage error."""

    async def main(on):
        status, _, said = await on.run(str(on.write_scenario()), *RUN, "--resume", "out")
        assert status == 2
        assert "--resume" in said
        assert "--out" in said

    run_in_sandbox(main)


def test_a_spending_limit_needs_a_price(run_in_sandbox):
    """What stands already has a price that nobody here knows: a limit is refused, 78, instead of not being kept."""

    async def main(on):
        on.create_unrelated_endpoint("ranker-prod", {})
        path = on.directory / "existing.py"
        path.write_text(
            "from loadgen import ClosedLoop, Existing, Request, Scenario, Step\n"
            "scenario = Scenario(Existing('ranker-prod'), [Request(b'1')], [Step(None, ClosedLoop(1, count=1))])\n"
        )
        assert (await on.run(str(path), *RUN, "--max-spend", "1"))[0] == 78
        assert on.arrivals() == 0
        assert (await on.run(str(path), *RUN))[0] in (0, 110)

    run_in_sandbox(main)


def test_a_spending_limit_ends_the_run(run_in_sandbox):
    """Once it is reached nothing more is sent; the run is kept, marked partial, nothing is left, and the status is 99."""

    async def main(on):
        path = on.write_scenario(load="duration=60", sizes=[1024])
        status, _, said = await on.run(str(path), *RUN, "--max-spend", "0.000002")
        assert status in {99, 110}, said
        assert "limit is reached" in said
        assert on.existing_resources() == set()
        result = on.result()
        assert "THRESHOLD" in [cause["name"] for cause in result["exit"]["causes"]]
        assert "limit" in result["partial"]
        # 0.1 s of 1 GB were allowed; a window of a second may pass until it is seen.
        assert on.arrivals() * 0.01 < 2 * 3.0

    run_in_sandbox(main, service=0.01)


def test_result_json_says_how_it_ended(run_in_sandbox):
    """C126: code, name, causes, verdict and leftovers, for a run that ended well and for one whose endpoints stay."""

    async def main(on):
        assert (await on.run(str(on.write_scenario()), *RUN))[0] in (0, 110)
        said = on.result()
        assert said["exit"]["code"] in (0, 110)
        assert (said["leftovers"], said["partial"]) == ([], "")
        denied = {"status": 400, "code": "AccessDeniedException", "message": "not authorized to DeleteEndpoint"}
        on.fault("DeleteEndpoint", "error_before", times=0, **denied)
        status, _, stderr = await on.run(str(on.write_scenario()), "--out", "second", "--quiet")
        assert status == 101
        said = json.loads((on.directory / "second" / "result.json").read_text())
        assert (said["exit"]["code"], said["exit"]["name"]) == (101, "RESOURCE_LEAK")
        assert len(said["leftovers"]) == 4
        for leftover in said["leftovers"]:
            assert leftover["name"] in stderr
            assert leftover["billable"] == (leftover["kind"] == "endpoint")
            assert leftover["cleanup"] == f"python -m loadgen cleanup {said['run']}"
        assert "not authorized" in said["leftovers"][0]["reason"]
        on.faults.clear()
        assert (await on.run("cleanup", said["run"], "--yes"))[0] == 0
        assert on.existing_resources() == set()

    run_in_sandbox(main)

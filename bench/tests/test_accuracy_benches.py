"""The accuracy benches: latency scripts against a simulation, the oracle against its stamps, percentiles, drift."""

import http.client
import json
import math
import sys
import time

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the oracle needs timers and a clock of Linux")
pytest.importorskip("uvloop")

from bench import accuracy, pacing, sdk_clients, tables  # noqa: E402 - skipped where they cannot be imported
from loadgen.engine.engine import run  # noqa: E402
from loadgen.measurement.outcome import OutcomeCategory  # noqa: E402
from loadgen.workload.load import ClosedLoop  # noqa: E402
from tests.support import latency_scripts as scripts  # noqa: E402
from tests.support.loadgen_client import (  # noqa: E402
    REQUESTS,
    TRANSPORTS,
    OverheadTransport,
    open_loadgen_transport,
    run_on_uvloop,
)
from tests.support.oracle import running_oracle, stamps  # noqa: E402

SCRIPTS = [
    scripts.Constant(),
    scripts.Mixture(),
    scripts.Stall(at=2.0, stall_duration=1.0),
    scripts.PeriodicPause(),
    scripts.SlowStart(),
    scripts.FewSlow(),
    scripts.Saturated(),
]


@pytest.fixture(scope="module")
def oracle():
    with running_oracle() as started:
        yield started


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: type(script).__name__)
def test_the_quantile_of_a_script_is_that_of_its_latencies(script):
    """The formula of each script gives the percentiles of evenly spaced arrivals, simulated one by one."""
    rate, duration = 200.0, 10.0
    arrivals = [n / rate for n in range(round(rate * duration))]
    latencies = sorted(script.due(at) - at for at in arrivals)
    # Arrivals are 5 ms apart, so a uniform tail comes in steps of at most that; slots that start together serve in
    # pairs, one latency apart.
    step = 0.0051 if not isinstance(script, scripts.Saturated) else script.latency
    for share in (0.1, 0.5, 0.69, 0.75, 0.9, 0.95, 0.98, 0.999):
        got = latencies[math.ceil(share * len(latencies)) - 1]
        assert got == pytest.approx(script.quantile(share, rate=rate, duration=duration), abs=step), share


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: type(script).__name__)
def test_json_of_a_script_has_no_state(script):
    """A script that was used is sent to the oracle with its settings and from its beginning."""
    copy = scripts.from_json(scripts.to_json(script))
    fresh = type(script)(**{k: v for k, v in json.loads(scripts.to_json(script)).items() if k != "kind"})
    assert [copy.due(n / 50) for n in range(200)] == [fresh.due(n / 50) for n in range(200)]


def test_the_oracle_is_never_early_and_its_timings_are_true(oracle):
    """A response leaves at its latency or later, and the echoed stamps equal the recorded timings."""
    oracle.start_script(scripts.Mixture((0.001, 0.003), (0.5,)))
    connection = http.client.HTTPConnection("127.0.0.1", oracle.port, timeout=30)
    echoed, outside = [], []
    for _ in range(20):
        begun = time.perf_counter()
        connection.request("POST", "/endpoints/any/invocations", b"{}")
        response = connection.getresponse()
        received, sent = stamps(response.read())
        assert response.headers["x-oracle-sent"] == str(round(sent * 1e9))
        assert begun <= received <= sent <= time.perf_counter()
        echoed.append((received, sent))
        outside.append(time.perf_counter() - begun)
    connection.close()
    timings = oracle.timings()
    assert np.array_equal(np.array(echoed), np.column_stack([timings.received, timings.sent]))
    assert (timings.sent >= timings.due).all()
    # Times are floats of absolute seconds: their last digits need a microsecond of tolerance.
    assert timings.residence.min() >= 0.001 - 1e-6
    assert sum(timings.residence >= 0.003 - 1e-6) >= 9
    assert (np.array(outside) >= timings.residence).all()


@pytest.mark.parametrize("name", TRANSPORTS)
def test_no_reported_latency_is_below_the_true_one(oracle, name):
    """The service time of every call is at least the oracle's residence time, on the same clock."""
    oracle.start_script(scripts.Constant(0.002))

    async def work():
        async with open_loadgen_transport(name, oracle.url, connections=4) as transport:
            recording = OverheadTransport(transport)
            return await run(ClosedLoop(4, count=60), recording, REQUESTS), recording.overhead()

    done, overhead = run_on_uvloop(work())
    assert done.count(OutcomeCategory.OK) == len(overhead) == len(oracle.timings().sent) == 60
    assert overhead.min() >= 0


@pytest.mark.parametrize("name", sdk_clients.SDK_CLIENTS)
def test_sdk_clients_are_timed_without_their_first_calls(oracle, name):
    """Every call of an SDK client reaches the oracle once, the first of each caller is not counted, none is too short."""
    oracle.start_script(scripts.Constant(0.002))
    timed = sdk_clients.SDK_CLIENTS[name](oracle.url, 2, 0.05)
    timings = oracle.timings()
    assert timed.calls == len(timings.sent) == len(timed.latencies) + 2
    assert all(latency >= 0.002 for latency in timed.latencies)
    assert timed.cpu > 0


def test_a_percentile_needs_its_calls():
    """A percentile is the nearest rank, and None below the count of its 95 % interval: p99 needs 368 samples."""
    values = np.arange(400, 0, -1) / 1000
    assert accuracy.percentiles(values) == {50.0: 0.2, 90.0: 0.36, 99.0: 0.396}
    assert accuracy.percentiles(values[:367])[99.0] is None
    assert accuracy.percentiles(values[:5]) == {50.0: None, 90.0: None, 99.0: None}


def test_drift_is_the_worst_whole_second():
    """Drift is the largest difference at a whole second: three sends that slip into the next second are a drift of 3."""
    sent = np.concatenate([np.arange(17) / 10, [2.01, 2.02, 2.03], 2.04 + np.arange(10) / 20])
    assert pacing.drift(sent, 10, 3.0) == 3.0
    assert pacing.drift(np.arange(30) / 10, 10, 3.0) == 0.0


def test_a_table_is_aligned_markdown():
    """All lines of a table have the same width, and cells are unchanged."""
    lines = tables.table(["a", "bb"], [["x", "1"], ["longer", "12345"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == ["longer", "12345"]
    assert tables.ms(None) == "-"
    assert tables.ms(0.0123456) == "12.35"

"""The measuring instruments themselves: scripts against a simulation, the oracle against its own stamps."""

import http.client
import json
import math
import sys
import time

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the oracle's timer and clock are Linux's")
pytest.importorskip("uvloop")

from bench import accuracy, pacing, peers, scripts, tables  # noqa: E402 - skipped where they cannot be imported
from bench.oracle import running_oracle, stamps  # noqa: E402
from bench.ours import REQUESTS, TRANSPORTS, OverheadTransport, open_loadgen_transport, run_on_uvloop  # noqa: E402
from loadgen.engine.engine import run  # noqa: E402
from loadgen.measurement.outcome import OutcomeCategory  # noqa: E402
from loadgen.workload.load import ClosedLoop  # noqa: E402

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
def test_what_is_expected_on_paper_is_what_the_script_does(script):
    """Each formula for a percentile is what even arrivals get when the script is asked one by one."""
    rate, duration = 200.0, 10.0
    arrivals = [n / rate for n in range(round(rate * duration))]
    latencies = sorted(script.due(at) - at for at in arrivals)
    # Arrivals are 5 ms apart: what is spread evenly on paper comes in steps no larger than that; and slots that begin
    # together serve in pairs, a latency apart.
    step = 0.0051 if not isinstance(script, scripts.Saturated) else script.latency
    for share in (0.1, 0.5, 0.69, 0.75, 0.9, 0.95, 0.98, 0.999):
        got = latencies[math.ceil(share * len(latencies)) - 1]
        assert got == pytest.approx(script.quantile(share, rate=rate, duration=duration), abs=step), share


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: type(script).__name__)
def test_a_script_travels_to_the_oracle_unused(script):
    """What was served does not travel along: the copy starts at the beginning, with the same settings."""
    copy = scripts.from_json(scripts.to_json(script))
    fresh = type(script)(**{k: v for k, v in json.loads(scripts.to_json(script)).items() if k != "kind"})
    assert [copy.due(n / 50) for n in range(200)] == [fresh.due(n / 50) for n in range(200)]


def test_the_oracle_is_never_early_and_keeps_true_books(oracle):
    """Each answer leaves at its latency or after it; what it echoes is what its books say."""
    oracle.play(scripts.Mixture((0.001, 0.003), (0.5,)))
    connection = http.client.HTTPConnection("127.0.0.1", oracle.port, timeout=30)
    echoed, outside = [], []
    for _ in range(20):
        begun = time.perf_counter()
        connection.request("POST", "/endpoints/any/invocations", b"{}")
        answer = connection.getresponse()
        received, sent = stamps(answer.read())
        assert answer.headers["x-oracle-sent"] == str(round(sent * 1e9))
        assert begun <= received <= sent <= time.perf_counter()
        echoed.append((received, sent))
        outside.append(time.perf_counter() - begun)
    connection.close()
    books = oracle.books()
    assert np.array_equal(np.array(echoed), np.column_stack([books.received, books.sent]))
    assert (books.sent >= books.due).all()
    # Times are kept as floats of absolute seconds: a microsecond of slack for their last digits.
    assert books.residence.min() >= 0.001 - 1e-6
    assert sum(books.residence >= 0.003 - 1e-6) >= 9
    assert (np.array(outside) >= books.residence).all()


@pytest.mark.parametrize("name", TRANSPORTS)
def test_no_reported_latency_is_below_the_true_one(oracle, name):
    """Every call's service time is at least the oracle's residence time, which lies within it on the same clock."""
    oracle.play(scripts.Constant(0.002))

    async def work():
        async with open_loadgen_transport(name, oracle.url, connections=4) as transport:
            joining = OverheadTransport(transport)
            return await run(ClosedLoop(4, count=60), joining, REQUESTS), joining.overhead()

    done, overhead = run_on_uvloop(work())
    assert done.count(OutcomeCategory.OK) == len(overhead) == len(oracle.books().sent) == 60
    assert overhead.min() >= 0


@pytest.mark.parametrize("peer", peers.PEERS)
def test_peers_are_timed_without_their_first_calls(oracle, peer):
    """A peer's calls all reach the oracle once; the first of each caller is left out, and none is below the truth."""
    oracle.play(scripts.Constant(0.002))
    timed = peers.PEERS[peer](oracle.url, 2, 0.05)
    books = oracle.books()
    assert timed.calls == len(books.sent) == len(timed.latencies) + 2
    assert all(latency >= 0.002 for latency in timed.latencies)
    assert timed.cpu > 0


def test_a_percentile_needs_its_calls():
    """Nearest ranks of 1 to 400, and none where the sample has no 95 % interval: p99 needs 368."""
    values = np.arange(400, 0, -1) / 1000
    assert accuracy.percentiles(values) == {50.0: 0.2, 90.0: 0.36, 99.0: 0.396}
    assert accuracy.percentiles(values[:367])[99.0] is None
    assert accuracy.percentiles(values[:5]) == {50.0: None, 90.0: None, 99.0: None}


def test_drift_is_the_worst_whole_second():
    """Ten a second, the second second's last three late into the third: off by three, then by none."""
    sent = np.concatenate([np.arange(17) / 10, [2.01, 2.02, 2.03], 2.04 + np.arange(10) / 20])
    assert pacing.drift(sent, 10, 3.0) == 3.0
    assert pacing.drift(np.arange(30) / 10, 10, 3.0) == 0.0


def test_a_table_is_markdown_with_straight_columns():
    """Every line is as wide as the first, and cells come back as they were."""
    lines = tables.table(["a", "bb"], [["x", "1"], ["longer", "12345"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == ["longer", "12345"]
    assert tables.ms(None) == "-"
    assert tables.ms(0.0123456) == "12.35"

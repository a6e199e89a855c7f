"""Are the reported percentiles true?

    python -m bench.accuracy [--quick] [--json FILE]

Four clients call an oracle of known latency: loadgen on both of its transports, aiobotocore, and boto3 with threads.
The client has one core, the oracle the other. Each table shows the true value beside the reported one.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.sdk_clients import SDK_CLIENTS
from bench.tables import print_tables
from loadgen.analysis.verdict import judge
from loadgen.engine.engine import run
from loadgen.measurement.histogram import Histogram
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.workload.arrivals import even
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant
from loadgen.workload.step import Step
from tests.support.latency_scripts import Constant, FewSlow, Mixture, PeriodicPause, Saturated, Script, SlowStart
from tests.support.loadgen_client import (
    REQUESTS,
    TRANSPORTS,
    OverheadTransport,
    open_loadgen_transport,
    run_on_uvloop,
)
from tests.support.oracle import Oracle, OracleTimings, running_oracle

CALLERS = (1, 8, 64, 200)
LATENCY = 0.02
PERCENTS = (50.0, 90.0, 99.0)
_MIN_CALLS = {50.0: 6, 90.0: 36, 99.0: 368, 99.9: 3688}  # calls before a percentile has a 95 % interval at all
_FREEZE_SHARE = 0.1  # share of the run for which the oracle is stopped


@dataclass(frozen=True, slots=True)
class PercentileComparison:
    """Percentiles as reported beside the true ones, seconds; None where the count is too small.

    `oracle_lateness` is the 99th percentile of how late the oracle itself was. The machine causes it, and the true
    percentiles contain it.
    """

    client: str
    callers: int
    calls: int
    true: Mapping[float, float | None]
    reported: Mapping[float, float | None]
    cpu: float
    verdict: str
    oracle_lateness: float | None

    def error(self, percent: float) -> float | None:
        """Return reported minus true, seconds."""
        reported, true = self.reported[percent], self.true[percent]
        return None if reported is None or true is None else reported - true


def percentiles(values: NDArray[np.float64], percents: Sequence[float] = PERCENTS) -> dict[float, float | None]:
    """Return nearest-rank percentiles, None where there are too few values."""
    ordered = np.sort(values)
    count = len(ordered)
    return {
        p: float(ordered[max(0, int(np.ceil(round(p * count / 100, 9))) - 1)]) if count >= _MIN_CALLS[p] else None
        for p in percents
    }


def _histogram_percentiles(histogram: Histogram, percents: Sequence[float] = PERCENTS) -> dict[float, float | None]:
    return {p: histogram.percentile(p) if histogram.total >= _MIN_CALLS[p] else None for p in percents}


def _oracle_lateness(timings: OracleTimings) -> float | None:
    return percentiles(timings.sent - timings.due)[99.0]


def _verdict(done: Run) -> str:
    return str(judge(done))


# --- a closed loop, four clients -------------------------------------------------------------------------------------


async def _run_loadgen(name: str, url: str, callers: int, seconds: float) -> tuple[Run, float]:
    load = ClosedLoop(callers, duration=seconds)
    async with open_loadgen_transport(name, url, connections=callers) as transport:
        cpu = time.process_time()
        done = await run(Step(None, load, warmup_calls=callers), transport, REQUESTS)
        return done, (time.process_time() - cpu) / done.scheduled


def measure_closed_loop(oracle: Oracle, client: str, callers: int, seconds: float) -> PercentileComparison:
    """Call from one client for some seconds, as fast as responses arrive."""
    oracle.start_script(Constant(LATENCY))
    if client in SDK_CLIENTS:
        timed = SDK_CLIENTS[client](oracle.url, callers, seconds)
        reported, cpu, calls = percentiles(np.array(timed.latencies)), timed.cpu / timed.calls, len(timed.latencies)
        verdict = "-"
    else:
        done, cpu = run_on_uvloop(_run_loadgen(client.removeprefix("loadgen "), oracle.url, callers, seconds))
        calls, verdict = done.count(OutcomeCategory.OK), _verdict(done)
        reported = _histogram_percentiles(done.tally.service[OutcomeCategory.OK])
    timings = oracle.timings()
    return PercentileComparison(
        client, callers, calls, percentiles(timings.residence), reported, cpu, verdict, _oracle_lateness(timings)
    )


# --- an open loop: a mixture of latencies, and what the client adds --------------------------------------------------


@dataclass(frozen=True, slots=True)
class MixtureResult:
    """An open loop on the mixture of latencies."""

    comparison: PercentileComparison
    overhead: Mapping[float, float | None]
    lag: Mapping[str, float]


async def _run_open_loop(transport: Any, rate: float, seconds: float, in_flight: int) -> tuple[Run, float]:
    cpu = time.process_time()
    done = await run(OpenLoop(even(constant(rate)), seconds, in_flight), transport, REQUESTS)
    return done, (time.process_time() - cpu) / done.scheduled


def measure_mixture(oracle: Oracle, name: str, seconds: float, rate: float = 200.0) -> MixtureResult:
    """Offer 200 requests per second to a server of 5, 20, 80 and 300 ms in fixed shares."""
    every = (*PERCENTS, 99.9)
    oracle.start_script(Mixture())

    async def work() -> tuple[Run, float, NDArray[np.float64]]:
        async with open_loadgen_transport(name, oracle.url, connections=100) as transport:
            joining = OverheadTransport(transport)
            done, cpu = await _run_open_loop(joining, rate, seconds, 100)
            return done, cpu, joining.overhead()

    done, cpu, overhead = run_on_uvloop(work())
    calls, reported = (
        done.count(OutcomeCategory.OK),
        _histogram_percentiles(done.tally.service[OutcomeCategory.OK], every),
    )
    timings = oracle.timings()
    true = percentiles(timings.residence, every)
    comparison = PercentileComparison(
        f"loadgen {name}", 0, calls, true, reported, cpu, _verdict(done), _oracle_lateness(timings)
    )
    stats = done.generator_stats
    lag = {"p50": stats.send_lag_p50, "p99": stats.send_lag_p99, "max": stats.send_lag_max}
    return MixtureResult(comparison, percentiles(overhead, every), lag)


# --- five degraded servers -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DegradedServerResult:
    """Response percentiles that an open loop reported of a degraded server, beside the calculated ones; seconds.

    Args:
        name: the degradation.
        calls: ok responses.
        expected: percentiles calculated from the script.
        reported: percentiles of the open loop.
        closed_loop: percentiles of one closed-loop client at the same time; empty if there was none.
        verdict: of the open loop.
        oracle_lateness: 99th percentile of how late the oracle itself was.
    """

    name: str
    calls: int
    expected: Mapping[float, float]
    reported: Mapping[float, float | None]
    closed_loop: Mapping[float, float | None]
    verdict: str
    oracle_lateness: float | None


_DEGRADATIONS: tuple[tuple[str, Script, float, tuple[float, ...]], ...] = (
    # name, script, rate, percents away from the edges of the script
    ("periodic pause of 100 ms", PeriodicPause(), 100.0, (50.0, 95.0, 99.0)),
    ("slow start from 400 ms", SlowStart(ramp_duration=1.5), 100.0, (50.0, 90.0, 95.0, 99.0)),
    ("1 % slow (500 ms)", FewSlow(), 100.0, (50.0, 95.0, 99.9)),
    ("saturated: 125/s at 100/s", Saturated(), 125.0, (50.0, 90.0, 95.0, 99.0)),
)


def measure_degradation(
    oracle: Oracle, degradation: tuple[str, Script, float, tuple[float, ...]], transport_name: str, seconds: float
) -> DegradedServerResult:
    """Run an open loop against a server that follows a script."""
    name, script, rate, percents = degradation
    oracle.start_script(script)

    async def work() -> Run:
        async with open_loadgen_transport(transport_name, oracle.url, connections=400) as transport:
            return (await _run_open_loop(transport, rate, seconds, 400))[0]

    done = run_on_uvloop(work())
    histogram = done.tally.response[OutcomeCategory.OK]
    expected = {p: script.quantile(p / 100, rate=rate, duration=seconds) for p in percents}
    reported: dict[float, float | None] = {p: histogram.percentile(p) for p in percents}
    return DegradedServerResult(
        name, histogram.total, expected, reported, {}, _verdict(done), _oracle_lateness(oracle.timings())
    )


def measure_stall(oracle: Oracle, name: str, seconds: float, rate: float = 100.0) -> DegradedServerResult:
    """Stop the process of the oracle for a tenth of the run, with a closed loop of one client beside the open loop."""
    latency, percents = 0.005, (50.0, 95.0, 99.0, 99.9)
    oracle.start_script(Constant(latency))

    async def freeze() -> float:
        await asyncio.sleep(seconds * 0.3)
        begun = time.perf_counter()
        os.kill(oracle.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds * _FREEZE_SHARE)
        finally:
            os.kill(oracle.pid, signal.SIGCONT)
        return time.perf_counter() - begun

    async def work() -> tuple[Run, Run, float]:
        async with open_loadgen_transport(name, oracle.url, connections=501) as transport, asyncio.TaskGroup() as group:
            frozen = group.create_task(freeze())
            beside = group.create_task(
                run(ClosedLoop(1, duration=seconds, think=1 / rate - latency), transport, REQUESTS)
            )
            done, _ = await _run_open_loop(transport, rate, seconds, 500)
            return done, await beside, await frozen

    done, beside, frozen = run_on_uvloop(work())
    response, closed_loop = done.tally.response[OutcomeCategory.OK], beside.tally.response[OutcomeCategory.OK]
    if not closed_loop.total:
        closed_loop = beside.tally.service[OutcomeCategory.OK]
    share = frozen / seconds
    expected = {p: latency + max(0.0, (p / 100 - 1 + share) / share) * frozen for p in percents}
    return DegradedServerResult(
        f"stall: SIGSTOP for {frozen:.2f} s",
        response.total,
        expected,
        {p: response.percentile(p) for p in percents},
        {p: closed_loop.percentile(p) for p in percents},
        _verdict(done),
        _oracle_lateness(oracle.timings()),
    )


# --- everything ------------------------------------------------------------------------------------------------------


def measure(oracle: Oracle, *, is_quick: bool) -> dict[str, Any]:
    """Measure everything: at most 40 seconds if quick, else 3 minutes."""
    cells = [
        measure_closed_loop(oracle, client, callers, 0.8 if is_quick else 8.0 if callers == 1 else 2.5)
        for callers in CALLERS
        for client in (*(f"loadgen {name}" for name in TRANSPORTS), *SDK_CLIENTS)
    ]
    mixed = [measure_mixture(oracle, name, 2.0 if is_quick else 19.0) for name in TRANSPORTS]
    fastest = TRANSPORTS[0]
    degraded = [measure_stall(oracle, fastest, 4.0 if is_quick else 30.0)]
    degraded += [
        measure_degradation(oracle, degradation, fastest, 2.0 if is_quick else 6.0) for degradation in _DEGRADATIONS
    ]
    return {"closed_loop": cells, "mixture": mixed, "degradations": degraded}


def _json(found: Mapping[str, Any], seconds: float) -> str:
    environment = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "seconds": seconds,
    }
    rows = {name: [asdict(cell) for cell in cells] for name, cells in found.items()}
    return json.dumps({"environment": environment} | rows, indent=1)


def main() -> None:
    """Measure, print the tables, and write the JSON file."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="40 seconds instead of 3 minutes; few percentiles")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    with running_oracle(cores[-1]) as oracle:
        found = measure(oracle, is_quick=arguments.quick)
    print_tables(found, seconds=time.perf_counter() - begun)
    if arguments.json:
        arguments.json.write_text(_json(found, time.perf_counter() - begun))


if __name__ == "__main__":
    main()

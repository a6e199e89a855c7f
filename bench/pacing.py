"""Does an open loop keep its schedule?

    python -m bench.pacing [--quick] [--json FILE]

An open loop offers 100, 1,000 and 10,000 requests per second to the null transport (the engine alone) and to the oracle
over HTTP. The table shows target and achieved rate, send lag, and how far the count of sent requests was off the
schedule.
"""

import argparse
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.tables import ms, table
from loadgen.analysis.verdict import judge
from loadgen.engine.engine import run
from loadgen.interfaces import Transport
from loadgen.measurement.run import Run
from loadgen.measurement.sample import ErrorCode
from loadgen.transport.null import NullTransport
from loadgen.workload.arrivals import even
from loadgen.workload.load import OpenLoop
from loadgen.workload.rate import constant
from tests.support.latency_scripts import Constant
from tests.support.loadgen_client import REQUESTS, TRANSPORTS, open_loadgen_transport, run_on_uvloop
from tests.support.oracle import Oracle, running_oracle

RATES = (100, 1_000, 10_000)
LATENCY = 0.005
_IN_FLIGHT = 400
_BOTOCORE_MAX_RATE = 2000  # requests per second of one core, rounded up; measured by `python -m bench.accuracy`


class SendTimes:
    """A sink that keeps when each request was scheduled and sent."""

    def __init__(self) -> None:
        self._batches: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def write_samples(self, batch: NDArray[np.void]) -> None:
        """Keep the times of a batch."""
        self._batches.append((batch["scheduled"].copy(), batch["sent"].copy()))

    def write_error_code(self, error_code: ErrorCode) -> None:
        """Ignore the error: outcomes are not measured here."""

    def scheduled_and_sent(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (scheduled, sent) of all requests; sent is NaN for a dropped request."""
        scheduled, sent = zip(*self._batches, strict=True)
        return np.concatenate(scheduled), np.concatenate(sent)


@dataclass(frozen=True, slots=True)
class PacingResult:
    """How well one rate was kept; durations in seconds.

    Args:
        transport: `null` or the name of a transport.
        target_rate: requests per second.
        achieved_rate: requests sent per second, over the planned or the actual duration, whichever is longer.
        dropped: requests dropped because too many were in flight.
        lag: percentile -> sent minus scheduled.
        drift: largest difference between sent requests and rate * t at any whole second.
        cpu: CPU seconds of this process for each request.
        cpu_share: share of one core.
        verdict: of the run.
    """

    transport: str
    target_rate: int
    achieved_rate: float
    dropped: int
    lag: dict[str, float]
    drift: float
    cpu: float
    cpu_share: float
    verdict: str


def drift(sent: NDArray[np.float64], rate: float, seconds: float) -> float:
    """Return the largest difference between sent requests and rate * t at any whole second."""
    ticks = np.arange(1, int(seconds) + 1)
    count = np.searchsorted(np.sort(sent), ticks)
    return float(np.max(np.abs(count - rate * ticks)))


async def _measure_rate(transport: Transport, name: str, rate: int, seconds: float) -> PacingResult:
    sink = SendTimes()
    cpu, begun = time.process_time(), time.perf_counter()
    done: Run = await run(OpenLoop(even(constant(rate)), seconds, _IN_FLIGHT), transport, REQUESTS, sink=sink)
    cpu, lasted = time.process_time() - cpu, time.perf_counter() - begun
    scheduled, sent = sink.scheduled_and_sent()
    left = ~np.isnan(sent)
    lag = np.percentile(sent[left] - scheduled[left], [50, 99, 99.9, 100], method="higher")
    return PacingResult(
        name,
        rate,
        float(left.sum() / max(seconds, sent[left].max())),
        int((~left).sum()),
        dict(zip(("p50", "p99", "p99.9", "max"), lag.tolist(), strict=True)),
        drift(sent[left], rate, seconds),
        cpu / done.scheduled,
        cpu / lasted,
        str(judge(done)),
    )


@asynccontextmanager
async def _open_transport(name: str, oracle: Oracle) -> AsyncIterator[Transport]:
    if name == "null":
        yield NullTransport(LATENCY)
        return
    async with open_loadgen_transport(name, oracle.url, connections=_IN_FLIGHT) as transport:
        yield transport


def measure(oracle: Oracle, seconds: float) -> list[PacingResult]:
    """Measure each transport at each rate."""

    async def one(name: str, rate: int) -> PacingResult:
        # A transport that cannot keep up sends every request late; one second of that is enough.
        is_overloaded = name == "botocore" and rate > _BOTOCORE_MAX_RATE
        async with _open_transport(name, oracle) as transport:
            return await _measure_rate(transport, name, rate, 1.0 if is_overloaded else seconds)

    found = []
    for name in ("null", *TRANSPORTS):
        for rate in RATES:
            oracle.start_script(Constant(LATENCY))
            found.append(run_on_uvloop(one(name, rate)))
    return found


def main() -> None:
    """Measure, print the table, and write the JSON file."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.pacing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2 seconds for each line instead of 10")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    with running_oracle(cores[-1]) as oracle:
        paces = measure(oracle, 2.0 if arguments.quick else 10.0)
    print(f"Open loop, responses after {LATENCY * 1e3:g} ms; lag in milliseconds.\n")
    print(
        table(
            [
                "transport",
                "target /s",
                "achieved /s",
                "dropped",
                "lag p50",
                "p99",
                "p99.9",
                "max",
                "drift",
                "CPU us/call",
                "CPU share",
                "verdict",
            ],
            [
                [
                    pace.transport,
                    f"{pace.target_rate}",
                    f"{pace.achieved_rate:.1f}",
                    f"{pace.dropped}",
                    *(ms(lag) for lag in pace.lag.values()),
                    f"{pace.drift:.0f}",
                    f"{pace.cpu * 1e6:.0f}",
                    f"{pace.cpu_share:.0%}",
                    pace.verdict,
                ]
                for pace in paces
            ],
        )
    )
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(pace) for pace in paces], indent=1))


if __name__ == "__main__":
    main()

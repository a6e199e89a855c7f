"""Does the schedule hold? Run `python -m bench.pacing [--quick] [--json FILE]`.

An open loop is asked for 100, 1,000 and 10,000 requests a second, of a transport that answers at once (the engine
alone) and of the oracle over HTTP. Asked against achieved, how late requests left, and how far the count of sent
requests was ever off the straight line.
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

from bench.oracle import Oracle, running_oracle
from bench.ours import REQUESTS, TRANSPORTS, open_loadgen_transport, run_on_uvloop
from bench.scripts import Constant
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

RATES = (100, 1_000, 10_000)
LATENCY = 0.005
_IN_FLIGHT = 400
_BOTOCORE_MAX_RATE = 2000  # requests a second of one core, rounded up: `python -m bench.accuracy` measures it


class SendTimes:
    """A sink that keeps two instants of each sample."""

    def __init__(self) -> None:
        self._batches: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def write_samples(self, batch: NDArray[np.void]) -> None:
        """Keep when each request was due and when it left."""
        self._batches.append((batch["scheduled"].copy(), batch["sent"].copy()))

    def write_error_code(self, error_code: ErrorCode) -> None:
        """Take no notice: outcomes are not what is measured here."""

    def scheduled_and_sent(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (scheduled, sent) of all requests, sent NaN where one was dropped."""
        scheduled, sent = zip(*self._batches, strict=True)
        return np.concatenate(scheduled), np.concatenate(sent)


@dataclass(frozen=True, slots=True)
class PacingResult:
    """How well one rate was kept; seconds, except where a name says otherwise.

    Args:
        transport: which.
        target_rate: requests a second.
        achieved_rate: requests that left, over the seconds they were planned for or took, whichever is longer.
        dropped: requests that found too many in flight.
        lag: percentile -> sent minus scheduled.
        drift: requests by which the count of sent ones was off rate * t, worst of all whole seconds.
        cpu: of this process for each request.
        cpu_share: of one core.
        verdict: what the run said of itself.
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
    """Return by how many requests the count of those sent was off rate * t, at the worst whole second."""
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
        # A transport that cannot keep up sends all the same, late: one second of that tells enough.
        is_hopeless = name == "botocore" and rate > _BOTOCORE_MAX_RATE
        async with _open_transport(name, oracle) as transport:
            return await _measure_rate(transport, name, rate, 1.0 if is_hopeless else seconds)

    found = []
    for name in ("null", *TRANSPORTS):
        for rate in RATES:
            oracle.start_script(Constant(LATENCY))
            found.append(run_on_uvloop(one(name, rate)))
    return found


def main() -> None:
    """Measure, print a table, and write the JSON if asked to."""
    parser = argparse.ArgumentParser(description="Asked and achieved rates, lag and drift.")
    parser.add_argument("--quick", action="store_true", help="2 seconds for each line instead of 10")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    with running_oracle(cores[-1]) as oracle:
        paces = measure(oracle, 2.0 if arguments.quick else 10.0)
    print(f"Open loop, answers after {LATENCY * 1e3:g} ms; lag in milliseconds.\n")
    print(
        table(
            [
                "transport",
                "asked /s",
                "achieved /s",
                "dropped",
                "lag p50",
                "p99",
                "p99.9",
                "max",
                "drift",
                "CPU us/call",
                "core",
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

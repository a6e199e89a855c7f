"""Disturbed runs: a real run of the engine whose generator is disturbed, and how far each figure is from the truth.

`python -m bench.disturbances KIND --latency S --seconds S` makes one run in this process and prints one line of JSON.
The truth is the oracle's: the time from the last byte of a request to its response. Linux, two cores.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.validity.figures import PERCENTS
from loadgen.analysis.verdict import Verdict, judge
from loadgen.engine.engine import run
from loadgen.measurement.run import Run
from loadgen.measurement.sample import SAMPLE, ErrorCode
from loadgen.statistics.order_statistics import nearest_rank
from loadgen.workload.arrivals import poisson
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant
from loadgen.workload.request import Request
from tests.support.latency_scripts import Mixture
from tests.support.loadgen_client import open_loadgen_transport, run_on_uvloop
from tests.support.oracle import Oracle, running_oracle

WRONG_SHARE, WRONG_SECONDS = 0.10, 0.002  # a figure that is off by more than both is wrong
RIGHT_SHARE, RIGHT_SECONDS = 0.05, 0.001  # a figure that is off by less than one of them is right: the verdict's limits
_SPREAD = 0.02  # sigma of the logarithm of the latencies
_BINS = 40

# (kind, latency in seconds): what `python -m bench.verdict --disturbed` runs.
DISTURBANCES: tuple[tuple[str, float], ...] = (
    *((kind, 0.1) for kind in ("clean", "open_clean", "hog1", "hog4", "nicehog", "open_hog1")),
    *((kind, 0.1) for kind in ("stop90", "stop130", "open_stop90", "manystop20", "manystop24", "manystop60")),
    *(("manystop45", 0.2), ("manystop60", 0.3), ("manystop90", 0.4), ("open_manystop90", 0.4), ("manystop20", 1.0)),
    *(("block24", 0.1), ("block50", 0.25), ("block90", 0.25), ("open_block50", 0.25), ("block24", 1.0)),
    *(("slowdisk22", 0.1), ("slowdisk5", 0.1), ("big8", 0.1), ("big32", 0.1), ("big8", 0.5)),
    *(("gil1", 0.1), ("gil4", 0.1), ("gil1", 0.02), ("open_gil1", 0.1), ("gc100", 0.1), ("gc200", 0.1)),
    *(("callers200", 0.008), ("callers200", 0.1), ("clean", 0.02), ("hog1", 0.02), ("hog1", 0.5)),
)


@dataclass(frozen=True, slots=True)
class FigureError:
    """One figure of a run: its true value, what was reported, and whether it was called valid."""

    name: str
    true: float
    reported: float
    is_valid: bool

    @property
    def error(self) -> float:
        """Reported divided by true, minus 1."""
        return self.reported / self.true - 1

    @property
    def is_wrong(self) -> bool:
        """True if it is off by more than 10 % and 2 ms."""
        return abs(self.error) > WRONG_SHARE and abs(self.reported - self.true) > WRONG_SECONDS

    @property
    def is_right(self) -> bool:
        """True if it is off by less than 5 % or 1 ms."""
        return abs(self.error) < RIGHT_SHARE or abs(self.reported - self.true) < RIGHT_SECONDS


@dataclass(frozen=True, slots=True)
class DisturbedRun:
    """The verdict of one disturbed run, and the error of each of its figures."""

    kind: str
    latency: float
    verdict: str
    reasons: tuple[str, ...]
    figures: tuple[FigureError, ...]


class _Samples:
    """A sink in memory; each write blocks for some seconds, as a slow disk does."""

    def __init__(self, delay: float) -> None:
        self.batches: list[NDArray[np.void]] = []
        self._delay = delay

    def write_samples(self, batch: NDArray[np.void]) -> None:
        self.batches.append(batch.copy())
        if self._delay:
            time.sleep(self._delay)

    def write_error_code(self, error_code: ErrorCode) -> None:
        pass


def _number(kind: str, name: str, default: int) -> int:
    return int(kind.removeprefix(name) or default)


def _python(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", code])


def _helpers(kind: str, seconds: float) -> list[subprocess.Popen[bytes]]:
    """Start the processes that disturb this one from outside; they end by themselves if they are not ended."""
    if kind.startswith("hog") or kind == "nicehog":
        nice = 19 if kind == "nicehog" else 0
        core = max(os.sched_getaffinity(0))
        code = (
            f"import os, time\nos.sched_setaffinity(0, {{{core}}}); os.nice({nice})\n"
            f"end = time.monotonic() + {seconds + 10}\nwhile time.monotonic() < end: pass"
        )
        return [_python(code) for _ in range(1 if nice else _number(kind, "hog", 1))]
    if "stop" in kind:
        is_repeated = kind.startswith("manystop")
        hold = _number(kind.removeprefix("many"), "stop", 90) / 1e3
        first, pause = (0.5, 0.6) if is_repeated else (seconds / 2, 0.0)
        times = int((seconds - 1) / (pause + hold)) if is_repeated else 1
        return [
            _python(
                f"import os, time, signal\ntime.sleep({first})\nfor _ in range({times}):\n"
                f" os.kill({os.getpid()}, signal.SIGSTOP); time.sleep({hold})\n"
                f" os.kill({os.getpid()}, signal.SIGCONT); time.sleep({pause})"
            )
        ]
    return []


@contextmanager
def _running_helpers(kind: str, seconds: float) -> Iterator[None]:
    helpers = _helpers(kind, seconds)
    try:
        yield
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()


def _spin(end: float) -> None:
    while time.monotonic() < end:
        pass


async def _block(seconds: float) -> None:
    """Block the event loop every 300 ms, as a synchronous call in an async service does."""
    while True:
        await asyncio.sleep(0.3)
        time.sleep(seconds)  # noqa: ASYNC251 - blocks on purpose


def _containers(count: int) -> list[list[list[object]]]:
    return [[[] for _ in range(10)] for _ in range(count)]


async def _churn(kept: list[list[list[object]]]) -> None:
    """Create cyclic garbage beside many containers that stay, so that collections take long."""
    while True:
        for _ in range(2000):
            cycle: list[object] = []
            cycle.append(cycle)
        kept[:1000] = _containers(1000)
        await asyncio.sleep(0.005)


@asynccontextmanager
async def _disturbed_from_inside(kind: str, seconds: float) -> AsyncIterator[None]:
    """Disturb the event loop by a task or by threads of this process."""
    tasks: list[asyncio.Task[None]] = []
    if kind.startswith("block"):
        tasks.append(asyncio.create_task(_block(_number(kind, "block", 50) / 1e3)))
    elif kind.startswith("gil"):
        end = time.monotonic() + seconds + 2
        for _ in range(_number(kind, "gil", 1)):
            threading.Thread(target=_spin, args=(end,), daemon=True).start()
    elif kind.startswith("gc"):
        gc.unfreeze()  # a service that embeds the engine does not freeze its objects
        tasks.append(asyncio.create_task(_churn(_containers(1000 * _number(kind, "gc", 100)))))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _run(kind: str, url: str, seconds: float) -> Run:
    is_open = kind.startswith("open_")
    kind = kind.removeprefix("open_")
    clients, requests, delay = 8, [Request(b"x" * 29_000, content_type="image/jpeg")], 0.0
    if kind.startswith("callers"):
        clients = _number(kind, "callers", 200)
    elif kind.startswith("big"):
        clients, requests = _number(kind, "big", 8), [Request(os.urandom(4_000_000))]
    elif kind.startswith("slowdisk"):
        delay = _number(kind, "slowdisk", 22) / 1e3
    sink = _Samples(delay)
    load = OpenLoop(poisson(constant(50), seed=1), seconds, 200) if is_open else ClosedLoop(clients, duration=seconds)
    async with (
        open_loadgen_transport("wire", url, connections=load.connections) as transport,
        _disturbed_from_inside(kind, seconds),
    ):
        with _running_helpers(kind, seconds):
            done = await run(load, transport, requests, sink=sink, seed=1)
    return replace(done, samples=np.concatenate([np.empty(0, SAMPLE), *sink.batches]), transport="wire")


def _truth(oracle: Oracle, requests_take: float) -> NDArray[np.float64]:
    return np.sort(oracle.timings().residence) + requests_take


def _figures(verdict: Verdict, true: NDArray[np.float64]) -> Iterator[FigureError]:
    for figure in verdict.figures:
        statistic = figure.name.split("_", 1)[1]
        if figure.name.startswith(("service_", "response_")) and (statistic in PERCENTS or statistic == "mean"):
            value = true.mean() if statistic == "mean" else true[nearest_rank(PERCENTS[statistic], true.size) - 1]
            yield FigureError(figure.name, float(value), figure.value, figure.is_valid)


def _script(latency: float) -> Mixture:
    """Return latencies of a lognormal distribution, in equal shares."""
    shares = [(i + 0.5) / _BINS for i in range(_BINS)]
    values = tuple(latency * math.exp(_SPREAD * NormalDist().inv_cdf(share)) for share in shares)
    return Mixture(values, tuple(i / _BINS for i in range(1, _BINS)))


def _upload_time(oracle: Oracle, kind: str, latency: float) -> float:
    """Return how long a large body takes undisturbed, from calls of a single client: it is service time too."""
    if not kind.startswith("big"):
        return 0.0
    oracle.start_script(_script(latency))
    samples = run_on_uvloop(_run("big1", oracle.url, 2.0)).samples
    return float(np.median(samples["done"] - samples["sent"]) - np.median(oracle.timings().residence))


def measure(kind: str, latency: float, seconds: float) -> DisturbedRun:
    """Make one run, pinned to the last core; the oracle is pinned to the first."""
    cores = os.sched_getaffinity(0)
    with running_oracle(core=min(cores)) as oracle:
        os.sched_setaffinity(0, {max(cores)})
        with contextlib.suppress(PermissionError):  # other load must not make the truth late
            os.setpriority(os.PRIO_PROCESS, oracle.pid, -15)
        upload_time = _upload_time(oracle, kind, latency)
        oracle.start_script(_script(latency))
        done = run_on_uvloop(_run(kind, oracle.url, seconds))
        verdict = judge(done)
        figures = tuple(_figures(verdict, _truth(oracle, upload_time)))
    reasons = (*(f"{reason.problem}: {reason.observed}" for reason in verdict.reasons), *verdict.notes)
    return DisturbedRun(kind, latency, str(verdict), reasons, figures)


def measure_in_subprocess(kind: str, latency: float, seconds: float) -> DisturbedRun:
    """Make one run in its own process."""
    arguments = [kind, "--latency", str(latency), "--seconds", str(seconds)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.disturbances", *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=seconds + 120,
        cwd=Path(__file__).parents[1],
    )
    fields = json.loads(done.stdout.splitlines()[-1])
    figures = tuple(FigureError(**figure) for figure in fields.pop("figures"))
    return DisturbedRun(**(fields | {"reasons": tuple(fields["reasons"])}), figures=figures)


class FigureCounts(NamedTuple):
    """Number of figures that are wrong, between wrong and right, and right, by what they were called."""

    wrong_valid: int
    wrong_invalid: int
    between_valid: int
    between_invalid: int
    right_valid: int
    right_invalid: int


def count_figures(runs: Iterable[DisturbedRun]) -> FigureCounts:
    """Count the figures of runs."""
    found = Counter((figure.is_wrong, figure.is_right, figure.is_valid) for one in runs for figure in one.figures)
    kinds = ((True, False), (False, False), (False, True))
    return FigureCounts(*(found[(*kind, is_valid)] for kind in kinds for is_valid in (True, False)))


def tabulate(runs: Sequence[DisturbedRun]) -> str:
    """Return a table of kinds: how many figures were wrong or right, and how many of them were called VALID."""
    rows = [f"{'kind':<16} {'ms':>5} {'INVALID':>8} {'w/V':>5} {'w/I':>5} {'b/V':>5} {'b/I':>5} {'r/V':>5} {'r/I':>5}"]
    for kind, latency in dict.fromkeys((one.kind, one.latency) for one in runs):
        same = [one for one in runs if (one.kind, one.latency) == (kind, latency)]
        invalid = f"{sum(one.verdict != 'VALID' for one in same)}/{len(same)}"
        counts = " ".join(f"{count:>5}" for count in count_figures(same))
        rows.append(f"{kind:<16} {latency * 1e3:>5.0f} {invalid:>8} {counts}")
    rows.append(f"{'all':<16} {'':>5} {'':>8} {' '.join(f'{count:>5}' for count in count_figures(runs))}")
    return "\n".join(rows)


def main() -> None:
    """Make one run and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.disturbances", description=__doc__)
    parser.add_argument("kind")
    parser.add_argument("--latency", type=float, default=0.1)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    print(json.dumps(asdict(measure(arguments.kind, arguments.latency, arguments.seconds))))


if __name__ == "__main__":
    main()

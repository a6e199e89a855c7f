"""Soak: a million requests against the emulator; memory stays flat, and all counts agree.

    python -m bench.soak [--requests N] [--clients N] [--transport NAME]

The client's count, the emulator's ledger and the records on disk must be equal. Memory is the resident set of this
process, read at each window; its growth after the first tenth of the requests is limited. The last line has the
figures. Exit status 1 if a guarantee was violated.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from loadgen import ClosedLoop, Emulated, Request, Scenario, ServerlessConfig, Step
from loadgen.execution.scenario_result import ScenarioResult
from loadgen.execution.scenario_runner import run_scenario
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.tally import Window
from loadgen.report.build import build_report
from loadgen.scenario.loader import LoadedScenario

MAX_GROWTH_MB = 4.0  # the limit of botocore's own leak test


class MemoryProgress:
    """Progress that records memory at each window."""

    def __init__(self) -> None:
        self.observations: list[tuple[int, float, float]] = []  # requests so far, MB, length of the window
        self.count = 0

    def log(self, text: str) -> None:
        """Print the message."""
        print(text, flush=True)

    def step_started(self, step: Step) -> None:
        """Do nothing."""

    def window_closed(self, step: Step, window: Window) -> None:  # noqa: ARG002
        """Record requests and memory."""
        self.count += sum(window.counts.values())
        self.observations.append((self.count, resident_mb(), window.length))

    def step_finished(self, step: Step, run: Run) -> None:
        """Do nothing."""


def resident_mb() -> float:
    """Return the resident set of this process in MB; its peak where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / 2**20


async def soak(requests: int, clients: int, transport: str, out: Path, progress: MemoryProgress) -> ScenarioResult:
    """Send so many requests to a model that responds at once."""
    scenario = Scenario(
        Emulated("instant", time_scale=10_000.0, transport=transport),
        [Request(b"1,2,3", content_type="text/csv")],
        [Step(ServerlessConfig(6144, 200), ClosedLoop(clients, count=requests), name="soak")],
    )
    finished = await run_scenario(
        LoadedScenario(scenario, "soak", "does it last?", "", Path("soak")),
        out,
        command="python -m bench.soak",
        progress=progress,
        stop=asyncio.Event(),
    )
    assert finished is not None
    return finished


def main() -> int:
    """Run the soak and print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1_000_000, metavar="N", help="number of requests (1000000)")
    parser.add_argument("--clients", type=int, default=32, metavar="N", help="number of clients (32)")
    parser.add_argument("--transport", default="auto", metavar="NAME", help="wire, botocore or auto (auto)")
    options = parser.parse_args()
    progress, threads = MemoryProgress(), threading.active_count()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        finished = asyncio.run(soak(options.requests, options.clients, options.transport, out, progress))
        (run,) = finished.runs
        began = time.perf_counter()
        build_report(finished.results, incomplete_reason=finished.incomplete_reason)
        reported = time.perf_counter() - began
        settled = [mb for count, mb, _ in progress.observations if count >= options.requests / 10]
        growth = (max(settled[-10:]) - min(settled[:10])) if settled else 0.0
        ledger = run.server_counts["arrivals"] if run.server_counts is not None else -1
        counts = {run.scheduled, ledger, len(run.samples)}
        drift = _median_drift(run)
        is_sound = counts == {options.requests} and growth < MAX_GROWTH_MB and not finished.statuses
        print(
            f"{run.scheduled:,} requests in {run.duration:.0f} s ({run.scheduled / run.duration:,.0f}/s): "
            f"client {run.scheduled:,}, ledger {ledger:,}, records {len(run.samples):,}, "
            f"ok {run.count(OutcomeCategory.OK):,}; memory grew {growth:.1f} MB after the first tenth; "
            f"median moved {drift:+.1%} from first to last tenth; threads {threads} to {threading.active_count()}; "
            f"report in {reported:.1f} s: {'ok' if is_sound else 'VIOLATION'}"
        )
    return 0 if is_sound else 1


def _median_drift(run: Run) -> float:
    """Return the relative change of the median service time from the first to the last tenth."""
    service = np.asarray(run.samples["done"] - run.samples["sent"])
    tenth = max(1, len(service) // 10)
    first, last = float(np.median(service[:tenth])), float(np.median(service[-tenth:]))
    return last / first - 1


if __name__ == "__main__":
    sys.exit(main())

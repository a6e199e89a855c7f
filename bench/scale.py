"""Does the cost of a request stay the same? Run `python -m bench.scale [--quick] [--json FILE]`.

The whole engine, samples to disk, with 1 to 5,000 clients, and with 10 thousand to a million requests: CPU and wall
time of each request should not grow with either, memory with the clients only. `null` answers at once, without a
network: the engine alone. `wire` sends signed requests to a server on another core.

Each line is a process of its own on core 1, so that its memory is its own; the server has core 0.
"""

import argparse
import dataclasses
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.far_side import target_server
from bench.ours import TRANSPORTS, open_loadgen_transport, run_on_uvloop
from bench.tables import table
from loadgen.engine.engine import run
from loadgen.interfaces import Transport
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.sample import SAMPLE
from loadgen.results.writer import SAMPLE_FILE_HEADER, SampleWriter
from loadgen.transport.null import NullTransport
from loadgen.workload.load import ClosedLoop
from loadgen.workload.request import Request

CLIENTS = (1, 10, 100, 1000, 5000)
COUNTS = (10_000, 100_000, 1_000_000)
REQUESTS = [Request(b"1,2,%d" % n, content_type="text/csv") for n in range(8)]
_FIXED_CLIENTS = 64  # clients, where it is the requests that grow
_FIXED_REQUESTS = 50_000  # requests, where it is the clients that grow


@dataclass(frozen=True, slots=True)
class Cell:
    """What one run cost.

    Args:
        transport: `null`, or one of `bench.ours.TRANSPORTS`.
        clients: how many called at once.
        requests: answered with ok. Fewer than asked for when the time was over first.
        wall_us: microseconds of the run for each request.
        cpu_us: microseconds of CPU for each request.
        initial_mb: resident memory with all connections open, before the first request.
        peak_mb: the most resident memory until the end of the run.
    """

    transport: str
    clients: int
    requests: int
    wall_us: float
    cpu_us: float
    initial_mb: float
    peak_mb: float


def resident_mb(text: str, name: str) -> float:
    """Return a size that /proc/PID/status gives, in MB: `VmRSS` for now, `VmHWM` for the most there ever was."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no {name}")
    return int(found[1]) / 1024


def _now_mb(name: str) -> float:
    return resident_mb(Path("/proc/self/status").read_text(), name)


@asynccontextmanager
async def _open(transport: str, url: str, clients: int) -> AsyncIterator[Transport]:
    if transport == "null":
        yield NullTransport()
        return
    async with open_loadgen_transport(transport, url, connections=clients) as ours:
        yield ours


async def _measure(transport: str, url: str, clients: int, count: int, seconds: float, folder: Path) -> Cell:
    async with _open(transport, url, clients) as ours:
        before = _now_mb("VmRSS")
        await run(ClosedLoop(clients, count=clients), ours, REQUESTS)  # a first call of each
        sink = SampleWriter(folder)
        cpu, begun = time.process_time(), time.perf_counter()
        done = await run(ClosedLoop(clients, count=count, duration=seconds), ours, REQUESTS, sink=sink)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - begun
        sink.close()
        peak = _now_mb("VmHWM")
    kept = ((folder / "samples.bin").stat().st_size - len(SAMPLE_FILE_HEADER)) // SAMPLE.itemsize
    if not done.count(OutcomeCategory.OK) == done.scheduled == kept:
        raise RuntimeError(f"{done.scheduled} requests, {done.count(OutcomeCategory.OK)} ok, {kept} on disk")
    each = 1e6 / done.scheduled
    return Cell(transport, clients, kept, wall * each, cpu * each, before, peak)


def _measure_in_subprocess(transport: str, url: str, clients: int, count: int) -> Cell:
    """Measure one cell in a process on core 1."""
    command = [sys.executable, "-m", "bench.scale", "--cell", transport, url, str(clients), str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600, preexec_fn=_pin, check=True)
    return Cell(**json.loads(done.stdout))


def _pin() -> None:
    os.sched_setaffinity(0, {1})


def _cells(
    url: str, transports: list[str], clients: tuple[int, ...], requests_each: int, counts: tuple[int, ...]
) -> Iterator[Cell]:
    for transport in transports:
        for n in clients:
            yield _measure_in_subprocess(transport, url, n, requests_each)
        for count in counts:
            yield _measure_in_subprocess(transport, url, _FIXED_CLIENTS, count)


def format_table(cells: list[Cell]) -> str:
    """Return the table."""
    head = ["transport", "clients", "requests", "wall us", "CPU us", "MB before", "MB at most"]
    return table(
        head,
        [
            [
                *(cell.transport, f"{cell.clients:,}", f"{cell.requests:,}"),
                *(f"{cell.wall_us:.1f}", f"{cell.cpu_us:.1f}", f"{cell.initial_mb:.0f}", f"{cell.peak_mb:.0f}"),
            ]
            for cell in cells
        ],
    )


def growth(cells: list[Cell]) -> Iterator[str]:
    """Yield what the table says, a line for each transport and for what grew."""
    for transport in dict.fromkeys(cell.transport for cell in cells):
        among = [cell for cell in cells if cell.transport == transport]
        fewest, most = (end(among, key=lambda cell: cell.clients) for end in (min, max))
        more = (most.peak_mb - fewest.peak_mb) * 1024 / (most.clients - fewest.clients)
        yield (
            f"{transport}: {_describe_costs(fewest, most)} with {fewest.clients:,} and {most.clients:,} clients; "
            f"{more:.1f} KB each"
        )
        among = [cell for cell in among if cell.clients == _FIXED_CLIENTS]
        fewest, most = (end(among, key=lambda cell: cell.requests) for end in (min, max))
        more = most.peak_mb - fewest.peak_mb
        yield (
            f"{transport}: {_describe_costs(fewest, most)} with {fewest.requests:,} and {most.requests:,} requests; "
            f"{more:+.1f} MB in all"
        )


def _describe_costs(fewest: Cell, most: Cell) -> str:
    return f"CPU of a request {fewest.cpu_us:.1f} and {most.cpu_us:.1f} us"


def _run_cell(transport: str, url: str, clients: int, count: int) -> None:
    # Enough undisturbed; an end, so that all of it is over in three minutes on a machine that others use too.
    seconds = 2 + count * 70e-6
    with tempfile.TemporaryDirectory() as folder:
        cell = run_on_uvloop(_measure(transport, url, clients, count, seconds, Path(folder)))
    print(json.dumps(dataclasses.asdict(cell)))


def main() -> None:
    """Measure, print a table, and write the JSON if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer lines and requests: half a minute")
    parser.add_argument("--transports", default="null,wire", help=f"of null, {', '.join(TRANSPORTS)}")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--cell", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cell:
        transport, url, clients, count = given.cell
        _run_cell(transport, url, int(clients), int(count))
        return
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        parser.error("two cores and Linux are needed: one for the engine, one for the server")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the server's too: it inherits it
    clients, each, counts = (
        (CLIENTS[::2], 10_000, (10_000, 50_000)) if given.quick else (CLIENTS, _FIXED_REQUESTS, COUNTS)
    )
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as folder, target_server(Path(folder), tls=None, cpu=0) as (server, url):
        for cell in _cells(url, given.transports.split(","), clients, each, counts):
            cells.append(cell)
            print(cell, file=sys.stderr)
    print(f"The whole engine on core 1, samples to disk; {server} on core 0.\n\n{format_table(cells)}\n")
    print("\n".join(growth(cells)))
    if given.json:
        given.json.write_text(json.dumps([dataclasses.asdict(cell) for cell in cells], indent=1))


if __name__ == "__main__":
    main()

"""Does the cost of a request grow with the number of clients or requests?

    python -m bench.scale [--quick] [--json FILE]

The whole engine, samples to disk, with 1 to 5,000 clients, and with 10,000 to a million requests: CPU and wall time of
a request should grow with neither, memory with the clients only. `null` responds at once without a network (the engine
alone); `wire` sends signed requests to a server on another core.

Each line is measured in its own process on core 1; the server has core 0.
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

from bench.tables import table
from bench.target_server import target_server
from loadgen.engine.engine import run
from loadgen.interfaces import Transport
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.sample import SAMPLE
from loadgen.results.writer import SAMPLE_FILE_HEADER, SampleWriter
from loadgen.transport.null import NullTransport
from loadgen.workload.load import ClosedLoop
from loadgen.workload.request import Request
from tests.support.loadgen_client import TRANSPORTS, open_loadgen_transport, run_on_uvloop

CLIENTS = (1, 10, 100, 1000, 5000)
COUNTS = (10_000, 100_000, 1_000_000)
REQUESTS = [Request(b"1,2,%d" % n, content_type="text/csv") for n in range(8)]
_FIXED_CLIENTS = 64  # clients while the number of requests grows
_FIXED_REQUESTS = 50_000  # requests while the number of clients grows


@dataclass(frozen=True, slots=True)
class Cell:
    """The cost of one run.

    Args:
        transport: `null`, or one of `loadgen_client.TRANSPORTS`.
        clients: number of clients.
        requests: ok responses; fewer than requested if the time limit came first.
        wall_us: microseconds of wall time for each request.
        cpu_us: microseconds of CPU for each request.
        initial_mb: resident memory with all connections open, before the first request.
        peak_mb: peak resident memory until the end of the run.
    """

    transport: str
    clients: int
    requests: int
    wall_us: float
    cpu_us: float
    initial_mb: float
    peak_mb: float


def resident_mb(text: str, name: str) -> float:
    """Return a size from the text of /proc/PID/status in MB: `VmRSS` (current) or `VmHWM` (peak)."""
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
    async with open_loadgen_transport(transport, url, connections=clients) as opened:
        yield opened


async def _measure(transport: str, url: str, clients: int, count: int, seconds: float, folder: Path) -> Cell:
    async with _open(transport, url, clients) as opened:
        before = _now_mb("VmRSS")
        await run(ClosedLoop(clients, count=clients), opened, REQUESTS)  # the first call of each
        sink = SampleWriter(folder)
        cpu, begun = time.process_time(), time.perf_counter()
        done = await run(ClosedLoop(clients, count=count, duration=seconds), opened, REQUESTS, sink=sink)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - begun
        sink.close()
        peak = _now_mb("VmHWM")
    recorded = ((folder / "samples.bin").stat().st_size - len(SAMPLE_FILE_HEADER)) // SAMPLE.itemsize
    if not done.count(OutcomeCategory.OK) == done.scheduled == recorded:
        raise RuntimeError(f"{done.scheduled} requests, {done.count(OutcomeCategory.OK)} ok, {recorded} on disk")
    each = 1e6 / done.scheduled
    return Cell(transport, clients, recorded, wall * each, cpu * each, before, peak)


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
    head = ["transport", "clients", "requests", "wall us", "CPU us", "MB before", "MB peak"]
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
    """Yield a summary line for each transport: growth with clients, then growth with requests."""
    for transport in dict.fromkeys(cell.transport for cell in cells):
        rows = [cell for cell in cells if cell.transport == transport]
        fewest, most = (end(rows, key=lambda cell: cell.clients) for end in (min, max))
        more = (most.peak_mb - fewest.peak_mb) * 1024 / (most.clients - fewest.clients)
        yield (
            f"{transport}: {_describe_costs(fewest, most)} with {fewest.clients:,} and {most.clients:,} clients; "
            f"{more:.1f} KB per client"
        )
        rows = [cell for cell in rows if cell.clients == _FIXED_CLIENTS]
        fewest, most = (end(rows, key=lambda cell: cell.requests) for end in (min, max))
        more = most.peak_mb - fewest.peak_mb
        yield (
            f"{transport}: {_describe_costs(fewest, most)} with {fewest.requests:,} and {most.requests:,} requests; "
            f"{more:+.1f} MB"
        )


def _describe_costs(fewest: Cell, most: Cell) -> str:
    return f"CPU of a request {fewest.cpu_us:.1f} and {most.cpu_us:.1f} us"


def _run_cell(transport: str, url: str, clients: int, count: int) -> None:
    # Enough on an idle machine; the limit ends the bench after three minutes on a busy one.
    seconds = 2 + count * 70e-6
    with tempfile.TemporaryDirectory() as folder:
        cell = run_on_uvloop(_measure(transport, url, clients, count, seconds, Path(folder)))
    print(json.dumps(dataclasses.asdict(cell)))


def main() -> None:
    """Measure, print the table, and write the JSON file."""
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
        parser.error("Linux and two cores are needed: one for the engine, one for the server")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # inherited by the server
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

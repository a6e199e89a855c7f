"""How many signed calls per second does one core make, and what does each cost? loadgen, the SDK, and other tools.

    python -m bench.throughput [--clients 1,64,...] [--seconds S] [--rounds N] [--only NAME,...] [--scheme http,https]
        [--json FILE]

Each cell runs alone in its own process on core 1; the target, nginx if it is installed, has core 0. The general tools
neither sign nor record; they show what the sockets allow. Tools that are not installed are skipped. Compare ratios
within one table. With several rounds, each of which runs every cell once, the table shows medians of those rounds in
which the caller had its core for itself, if there are any. On a shared machine, five short rounds are better than one
long.
"""

import argparse
import itertools
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.tables import table
from bench.target_server import certificate, target_server

CLIENTS = (1, 16, 64, 200, 1000)
_LUA = 'wrk.method="POST" wrk.body="1,2,3" wrk.headers["Content-Type"]="text/csv"'
_K6 = """import http from 'k6/http';
export const options = {vus: %(clients)d, duration: '%(seconds)ds', insecureSkipTLSVerify: true};
export default function () { http.post('%(url)s', '1,2,3', {headers: {'Content-Type': 'text/csv'}}); }
"""
_LOCUST = """from locust import FastHttpUser, task
class Caller(FastHttpUser):
    insecure = True
    @task
    def call(self):
        self.client.post("%(path)s", data="1,2,3", headers={"Content-Type": "text/csv"})
"""
_PATH = "/endpoints/bench/invocations"
_FULL_CORE_SHARE = 0.9  # share of the time from which a caller counts as having its core for itself


@dataclass(frozen=True, slots=True)
class Cell:
    """The result of one caller with one number of clients.

    Args:
        caller: its name.
        scheme: `http` or `https`.
        clients: number of clients.
        rate: completed calls per second; 0 if the caller failed.
        cpu_us: CPU microseconds of the caller for each call. Start and handshakes are included for the general tools
            only; cells of a few seconds make that small.
        busy: share of the time for which the caller used its core, its start included. Below 0.9 with many clients
            another process used it, or the target was slower.
    """

    caller: str
    scheme: str
    clients: int
    rate: float
    cpu_us: float
    busy: float


@dataclass(frozen=True, slots=True)
class _Job:
    url: str
    clients: int
    seconds: int
    folder: Path


def _wrk(job: _Job) -> list[str]:
    script = job.folder / "post.lua"
    script.write_text(_LUA)
    return ["wrk", "-t1", f"-c{job.clients}", f"-d{job.seconds}s", "-s", str(script), job.url + _PATH]


def _hey(job: _Job) -> list[str]:
    bounds = ["-z", f"{job.seconds}s", "-c", str(job.clients), "-cpus", "1"]
    return ["hey", *bounds, "-m", "POST", "-T", "text/csv", "-d", "1,2,3", job.url + _PATH]


def _h2load(job: _Job) -> list[str]:
    body = job.folder / "payload"
    body.write_text("1,2,3")
    return ["h2load", "--h1", "-t1", f"-c{job.clients}", f"-D{job.seconds}", "-d", str(body), job.url + _PATH]


def _autocannon(job: _Job) -> list[str]:
    bounds = ["-c", str(job.clients), "-d", str(job.seconds), "-n", "-j"]
    return ["autocannon", *bounds, "-m", "POST", "-H", "Content-Type: text/csv", "-b", "1,2,3", job.url + _PATH]


def _k6(job: _Job) -> list[str]:
    script = job.folder / "post.js"
    script.write_text(_K6 % {"clients": job.clients, "seconds": job.seconds, "url": job.url + _PATH})
    return ["k6", "run", "--quiet", "--no-usage-report", str(script)]


def _locust(job: _Job) -> list[str]:
    script = job.folder / "locustfile.py"
    script.write_text(_LOCUST % {"path": _PATH})
    bounds = ["-u", str(job.clients), "-r", str(job.clients), "-t", f"{job.seconds}s", "--host", job.url]
    return ["locust", "-f", str(script), "--headless", "--only-summary", *bounds]


# Program -> its command, and the pattern of the rate in its output.
_TOOLS: dict[str, tuple[Callable[[_Job], list[str]], str]] = {
    "wrk": (_wrk, r"Requests/sec:\s+([\d.]+)"),
    "hey": (_hey, r"Requests/sec:\s+([\d.]+)"),
    "h2load": (_h2load, r"finished in [\d.]+m?s, ([\d.]+) req/s"),
    "autocannon": (_autocannon, r'"requests":\{"average":([\d.]+)'),
    "k6": (_k6, r"http_reqs[.\s]*: \d+\s+([\d.]+)/s"),
    "locust": (_locust, r"Aggregated\s+\d+\s+[^|]*\|[^|]*\|\s+([\d.]+)"),
}
# In the order of the table; the others are compared with `aiobotocore`.
_CALLERS = ("engine", "unsampled", "wire", "traced", "aiobotocore", "boto3")


def _pin() -> None:
    os.sched_setaffinity(0, {1})


def _run(command: list[str], seconds: float) -> tuple[str, float]:
    """Run a program on core 1; return its output and CPU seconds; end it if it hangs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30 + 5 * seconds, preexec_fn=_pin, check=False
        )
        text = done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        text = str(error)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return text, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(caller: str, job: _Job, ca: Path | None) -> Cell:
    """Run one caller with the clients of a job."""
    scheme = job.url.partition(":")[0]
    if caller in _TOOLS:
        command, pattern = _TOOLS[caller]
        text, cpu = _run(command(job), job.seconds)
        found = re.search(pattern, text)
        rate = float(found[1]) if found else 0.0
        if not rate:
            print(text, file=sys.stderr)
        cost = cpu / (rate * job.seconds) * 1e6 if rate else 0.0
        return Cell(caller, scheme, job.clients, rate, cost, cpu / job.seconds)
    arguments = [caller, job.url, str(job.clients), str(job.seconds), *([str(ca)] if ca else [])]
    text, _ = _run([sys.executable, "-m", "bench.callers", *arguments], job.seconds)
    try:
        calls, seconds, cpu = (float(part) for part in text.split())
    except ValueError:
        print(text, file=sys.stderr)
        return Cell(caller, scheme, job.clients, 0.0, 0.0, 0.0)
    return Cell(caller, scheme, job.clients, calls / seconds, cpu / calls * 1e6 if calls else 0.0, cpu / seconds)


def medians(cells: list[Cell]) -> list[Cell]:
    """Return one cell for each caller, scheme and number of clients: the medians of the rounds that worked.

    If the caller had its core for itself in some rounds, only those count.
    """
    groups: dict[tuple[str, str, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.caller, cell.scheme, cell.clients), []).append(cell)
    return [_median(*key, rounds) for key, rounds in groups.items()]


def _median(caller: str, scheme: str, clients: int, rounds: list[Cell]) -> Cell:
    worked = [cell for cell in rounds if cell.rate] or rounds
    chosen = [cell for cell in worked if cell.busy >= _FULL_CORE_SHARE] or worked
    rate, cpu_us, busy = (median(getattr(cell, name) for cell in chosen) for name in ("rate", "cpu_us", "busy"))
    return Cell(caller, scheme, clients, rate, cpu_us, busy)


def format_table(cells: list[Cell], scheme: str, clients: list[int]) -> str:
    """Return the table of a scheme: rate and CPU, each with its ratio to aiobotocore, for each number of clients."""
    by_key = {(cell.caller, cell.clients): cell for cell in medians(cells) if cell.scheme == scheme}
    head = [scheme]
    for n in clients:
        head += [f"{n}: calls/s", "x", "CPU us", "x"]
    rows = []
    for caller in dict.fromkeys(caller for caller, _ in by_key):
        row = [caller]
        for n in clients:
            cell, baseline = by_key.get((caller, n)), by_key.get(("aiobotocore", n))
            if cell is None or not cell.rate:
                row += ["-"] * 4
                continue
            shared = "~" if n >= 16 and cell.busy < _FULL_CORE_SHARE else ""
            row += [f"{shared}{cell.rate:,.0f}", "-", f"{cell.cpu_us:.1f}", "-"]
            if baseline and baseline.rate:
                row[-3], row[-1] = f"{cell.rate / baseline.rate:.1f}", f"{baseline.cpu_us / cell.cpu_us:.1f}"
        rows.append(row)
    return table(head, rows)


def main() -> None:
    """Parse the arguments, run every cell, print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.throughput", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--clients", default=",".join(map(str, CLIENTS)), help="numbers of clients, separated by commas"
    )
    parser.add_argument("--seconds", type=int, default=3, help="duration of each cell (3)")
    parser.add_argument("--rounds", type=int, default=1, help="how often each cell is run; medians are shown (1)")
    parser.add_argument("--only", default="", help="callers, separated by commas (all that are installed)")
    parser.add_argument("--scheme", default="http,https", help="http, https, or both, separated by a comma")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    given = parser.parse_args()
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        parser.error("Linux and two cores are needed: one for the callers, one for the target")
    clients = [int(part) for part in given.clients.split(",")]
    installed = [name for name in _TOOLS if shutil.which(name)]
    callers = given.only.split(",") if given.only else [*_CALLERS, *installed]
    cells: list[Cell] = []
    target = ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pem = certificate(folder)
        for scheme in given.scheme.split(","):
            tls = pem if scheme == "https" else None
            with target_server(folder, tls=tls, cpu=0) as (target, url):
                for _, caller, n in itertools.product(range(given.rounds), callers, clients):
                    cells.append(measure(caller, _Job(url, n, given.seconds, folder), tls))
                    print(cells[-1], file=sys.stderr)
    times = f"{given.rounds} times {given.seconds} s, medians" if given.rounds > 1 else f"{given.seconds} s"
    print(f"Target: {target} on core 0; callers on core 1; each {times}. x: compared with aiobotocore.")
    print("~: the caller did not have its core for itself, or the target was slower; its rate is too low.")
    print("CPU: start and handshakes are included for the general tools only.")
    for scheme in given.scheme.split(","):
        print(f"\n{format_table(cells, scheme, clients)}")
    if given.json:
        given.json.write_text(json.dumps({"target": target, "cells": [asdict(cell) for cell in cells]}, indent=1))


if __name__ == "__main__":
    main()

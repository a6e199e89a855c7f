"""Invalid inputs: generated command lines, scenario files and payload files; each ends in one clear line.

The command line runs in this process, with the part that would open a target replaced: an input that gets there counts
as accepted, and creates nothing. Everything else must end with a documented status and without a traceback.
`python -m bench.inputs` tries many more.
"""

import argparse
import contextlib
import io
import json
import os
import pickle
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from loadgen.cli import main as cli
from loadgen.cli import scenario_run
from loadgen.errors import ExitStatus

_MAX_DURATION = 5.0
_ODD_VALUES = [
    "", " ", "-", "--", "-1", "0", "1e309", "nan", "inf", "NaN", "٣", "１２", "0x10", "1_000", "True", "None", "[]",
    "{}", "[1024, 'x']", "(1,)", "1024.5", "10**100", "'", '"', "\\", "../../etc/passwd", "/dev/null", "/dev/zero",
    ".", "/", "a\x1b[2Jb", "line\nbreak", "tab\tbed", "\u202eevil", "😀" * 40, "\ud800", "x" * 5000, "%s%n", "$(id)",
    "<script>alert(1)</script>", "__import__('os').system('id')", "--set", "--out", "-rf", "lambda: 0", "[" * 300,
]  # fmt: skip
_FLAGS = [
    "--set", "--out", "--transport", "--workers", "--max-endpoints", "--max-spend", "--expect-account", "--resume",
    "--grace", "--term-budget", "--quiet", "--dry-run", "--yes", "--emulate", "--version", "--help", "--nonsense",
]  # fmt: skip
_FIELDS = [
    "invocations",
    "memory_sizes",
    "max_concurrency",
    "seed",
    "timeout",
    "objective",
    "requests",
    "target",
    "slo",
]
_SCENARIO = """from loadgen import *
scenario = ServerlessBenchmark(
    target=Emulated({profile}),
    requests={requests},
    memory_sizes={sizes},
    invocations={invocations},
    multipliers={multipliers},
    timeout={timeout},
)
"""
_VALUES = [
    "1", "0", "-1", "1.5", "float('nan')", "float('inf')", "10**400", "None", "True", "''", "'x'", "[]", "[0]",
    "[1024]", "[1500]", "[1024, 2048]", "{}", "b''", "object()", "int", "lambda: 1", "...", "range(3)",
    "(i for i in ())", "[[1]]", "{1: 2}", "'xgboost'", "'\\ud800'", "1j", "[Request(b'1')]", "[Request('1')]", "[b'1']",
    "1/0", "undefined",
]  # fmt: skip


@dataclass(slots=True)
class InputResults:
    """How many inputs were tried and accepted, and a message for each violation."""

    tried: int = 0
    accepted: int = 0
    violations: list[str] = field(default_factory=list)


def try_inputs(directory: Path, *, count: int, seed: int) -> InputResults:
    """Try so many inputs, of each kind in turn, in a directory."""
    rng, result = random.Random(seed), InputResults()
    kinds: list[Callable[[random.Random, Path], list[str]]] = [_command_line, _values, _mutated, _payload]
    reached: list[object] = []

    def stop_here(loaded: object, options: argparse.Namespace, **_: object) -> ExitStatus:
        scenario_run.run_policy(options)
        reached.append(loaded)
        return ExitStatus.OK

    (directory / "ok.py").write_text(_scenario_text("'xgboost'", "[Request(b'1')]"))
    with (
        mock.patch("loadgen.cli.scenario_run.run_and_report", stop_here),
        mock.patch.dict(os.environ, {"HOME": str(directory)}),
    ):
        for number in range(count):
            argv = kinds[number % len(kinds)](rng, directory)
            reached.clear()
            result.tried += 1
            if violation := _run_input(argv):
                result.violations.append(f"{argv!r:.300}: {violation}")
            result.accepted += bool(reached)
    return result


def _run_input(argv: list[str]) -> str:
    """Run a command line; return the violation, empty if there is none."""
    out, err = io.StringIO(), io.StringIO()
    began = time.perf_counter()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.main(argv)
    except SystemExit as stopped:  # argparse's --help and --version
        status = int(stopped.code or 0)
    except BaseException as error:
        return f"raised {type(error).__name__}: {error}"
    stderr = err.getvalue()
    if status == ExitStatus.INTERNAL or status not in set(ExitStatus):
        return f"status {status}: {stderr[-300:]}"
    if "Traceback" in stderr or (status and not stderr.strip()):
        return f"status {status} with {stderr[-300:]!r}"
    if status and status != ExitStatus.USAGE and stderr.count("loadgen: error[") != 1:  # besides warnings of Python
        return f"status {status} without one error line: {stderr[:200]!r}"
    if time.perf_counter() - began > _MAX_DURATION:
        return f"took {time.perf_counter() - began:.1f} s"
    return ""


def _command_line(rng: random.Random, directory: Path) -> list[str]:
    """Return options and odd values in any order, without commands that serve or wait."""
    head = rng.choice([["ok.py"], ["report"], ["explain"], ["benchmark", "m", "ok.py"], [rng.choice(_ODD_VALUES)], []])
    argv = list(head)
    for _ in range(rng.randrange(1, 5)):
        flag = rng.choice(_FLAGS)
        argv.append(flag)
        if flag == "--set":
            argv.append(f"{rng.choice([*_FIELDS, rng.choice(_ODD_VALUES)])}={rng.choice(_ODD_VALUES)}")
        elif rng.random() < 0.8:
            argv.append(rng.choice(_ODD_VALUES))
    for word in ("emulate", "_worker", "_processing-instance", "fetch", "cleanup", "--processing-job", "--wait"):
        if word in argv:
            argv.remove(word)
    del directory
    return argv


def _scenario_text(profile: str, requests: str, **values: str) -> str:
    defaults = {"sizes": "[1024]", "invocations": "10", "multipliers": "[1]", "timeout": "10"}
    return _SCENARIO.format(profile=profile, requests=requests, **(defaults | values))


def _values(rng: random.Random, directory: Path) -> list[str]:
    """Return a scenario file with invalid values."""
    names = rng.sample(["sizes", "invocations", "multipliers", "timeout"], rng.randrange(1, 4))
    profile = rng.choice(["'xgboost'", *_VALUES])
    requests = rng.choice(["[Request(b'1')]", "[Request(b'1')]", *_VALUES])
    text = _scenario_text(profile, requests, **{name: rng.choice(_VALUES) for name in names})
    (directory / "values.py").write_text(text, "utf-8")
    return ["values.py", "--quiet"]


def _mutated(rng: random.Random, directory: Path) -> list[str]:
    """Return a scenario file with bytes changed, deleted or inserted, or of random bytes."""
    content = bytearray(_scenario_text("'xgboost'", "[Request(b'1')]").encode())
    if rng.random() < 0.2:
        content = bytearray(rng.randbytes(rng.randrange(0, 200)))
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(content) + 1)
        change = rng.random()
        if change < 0.4:
            content[at : at + 1] = bytes([rng.randrange(256)])
        elif change < 0.7:
            del content[at : at + rng.randrange(1, 20)]
        else:
            content[at:at] = rng.choice(_ODD_VALUES).encode("utf-8", "surrogatepass")
    (directory / "mutated.py").write_bytes(content)
    return ["mutated.py", "--quiet"]


def _payload(rng: random.Random, directory: Path) -> list[str]:
    """Return a scenario that reads a broken file of requests."""
    name = rng.choice(["p.jsonl", "p.pkl", "p.json"])
    rows: list[dict[str, Any]] = [{"Body": "1,2", "ContentType": "text/csv"}] * rng.randrange(1, 4)
    if rng.random() < 0.5:
        rows.append(
            {
                rng.choice(["Body", "ContentType", "Bod", rng.choice(_ODD_VALUES)]): rng.choice(
                    [1, None, [], *_ODD_VALUES]
                )
            }
        )
    text = "\n".join(json.dumps(row) for row in rows)
    content = bytearray(pickle.dumps(rows, rng.randrange(6)) if name.endswith("pkl") else text.encode())
    for _ in range(rng.randrange(0, 4)):
        at = rng.randrange(len(content) + 1)
        content[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(4))
    (directory / name).write_bytes(content)
    (directory / "payload.py").write_text(_scenario_text("'xgboost'", f"read_requests({name!r})"))
    return ["payload.py", "--quiet"]

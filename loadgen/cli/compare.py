"""The command `compare`: compare two saved measurements, or the two sides of an interleaved one."""

import argparse
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.cli.messages import echo
from loadgen.cli.options import AddParser, add_run_options
from loadgen.errors import DataError, ExitStatus, InputError, UsageError, worst_status

if TYPE_CHECKING:
    from loadgen.comparison.comparison import Comparison
    from loadgen.comparison.measurement import Measurement

# Standard deviation between runs of the same thing, in percent. On AWS it is an assumption: published values are of a
# few percent. The emulated model does not change from day to day; what differs is the load of this machine.
_BETWEEN_RUNS = {"emulator": 0.5, "null": 0.5}
_BETWEEN_RUNS_ELSEWHERE = 3.0


def add_parser(add: AddParser) -> None:
    """Add the command's parser."""
    parser = add(
        "compare",
        help="compare two saved measurements, and fail if the second is worse",
        description="Compare two saved measurements of the same load: for each step that both have, say which metrics "
        "are better, worse, the same, or cannot be told.",
        epilog="Exit status 99 if a gate fails, 110 if a side is INVALID, 78 if the two are not comparable.",
    )
    parser.add_argument(
        "base",
        type=Path,
        metavar="BASE",
        help="output directory, or its summary.json, or a scenario file to measure both now, in alternating blocks",
    )
    parser.add_argument(
        "new",
        type=Path,
        nargs="?",
        metavar="NEW",
        help="the same; without it, BASE must be the output directory of an Interleaved scenario",
    )
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="RULE",
        help="fail if a metric is worse by more than a limit, such as 'p95 > 5 %%' or 'p99 > 20 ms'; can be repeated "
        "(default: fail if p50, p95, cost, tps, throttled or failed is worse)",
    )
    parser.add_argument("--strict", action="store_true", help="fail as well where a gate cannot be told")
    parser.add_argument("--margin", default="5", metavar="PERCENT", help="change that does not matter (default 5)")
    parser.add_argument(
        "--between-runs",
        metavar="PERCENT",
        help="standard deviation between runs of the same thing (default 3, on the emulator 0.5)",
    )
    parser.add_argument("--anyway", action="store_true", help="compare what is not comparable or INVALID, and say so")
    parser.add_argument("--pairs", type=int, metavar="N", help="pairs of blocks of two scenario files (default 12)")
    add_run_options(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> ExitStatus:
    """Compare, write the files, print the answer, and return the status.

    Raises:
        LoadgenError: an option is invalid, a measurement cannot be read, or the two are not comparable.
    """
    from loadgen.comparison.comparison import compare
    from loadgen.comparison.gate import parse_gate
    from loadgen.comparison.verdict import Margins

    gates = [parse_gate(text) for text in options.fail_if]
    margin = _percent(options.margin, "--margin")
    spread = None if options.between_runs is None else _percent(options.between_runs, "--between-runs")
    Margins(margin, between_runs=spread or 0.0)  # refuses a value before anything is read
    status = ExitStatus.OK
    out = options.out or _beside(options.new or options.base)
    if _are_scenarios(options):
        from loadgen.cli.compare_scenarios import measure_interleaved

        status, out = measure_interleaved(options)
        if status not in (ExitStatus.OK, ExitStatus.INVALID, ExitStatus.THRESHOLD) or options.dry_run:
            return status
        base = new = _read(out)
    else:
        base = _read(options.base)
        new = base if options.new is None else _read(options.new)
    if spread is None:
        kinds = (one.conditions.measured_on for one in (base, new))
        spread = max(_BETWEEN_RUNS.get(kind, _BETWEEN_RUNS_ELSEWHERE) for kind in kinds) / 100
    comparison = compare(
        base,
        new,
        margins=Margins(margin, between_runs=0.0 if base is new else spread),
        gates=gates,
        accepts_differences=options.anyway,
        is_strict=options.strict,
    )
    return worst_status([status, _report(comparison, out)])


_OF_SCENARIOS = ("pairs", "emulate", "set", "transport", "workers", "dask", "dry_run", "resume")


def _are_scenarios(options: argparse.Namespace) -> bool:
    """Tell whether two scenario files are to be measured.

    Raises:
        UsageError: only one of the two is a scenario file, or an option of a measurement is given for saved runs.
    """
    paths = [options.base] if options.new is None else [options.base, options.new]
    scenarios = [path for path in paths if path.suffix == ".py"]
    if scenarios and len(scenarios) < 2:
        raise UsageError(f"only {scenarios[0]} is a scenario file", hint="give two, or two output directories")
    given = [f"--{name.replace('_', '-')}" for name in _OF_SCENARIOS if getattr(options, name) not in (None, False, [])]
    if not scenarios and given:
        raise UsageError(f"{given[0]} has no effect on saved runs", hint="leave it out, or give two scenario files")
    return bool(scenarios)


def _report(comparison: "Comparison", out: Path) -> ExitStatus:
    from loadgen.report.comparison_writer import print_comparison, write_comparison

    page = write_comparison(out, comparison, step_summary=os.environ.get("GITHUB_STEP_SUMMARY", ""))
    print_comparison(comparison, page)
    if comparison.invalid_steps and not comparison.accepts_invalid:
        step = comparison.invalid_steps[0]
        echo(f"loadgen: {step.label}: {step.invalid_reason}; measure it again, or compare with --anyway")
    return comparison.status


def _percent(text: str, option: str) -> float:
    """Return a percentage as a share; the percent sign may be left out."""
    if not re.fullmatch(r"\d+(\.\d+)?\s*%?", text.strip()):
        raise UsageError(f"{option} is {text!r}", hint="give a percentage, such as 5")
    return float(text.strip().rstrip("% ")) / 100


def _beside(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _read(path: Path) -> "Measurement":
    """Read an output directory, or a summary.json; that of a complete directory is read with its calls."""
    from loadgen.comparison.measurement import measurement_of, measurement_of_summary
    from loadgen.report.build import analyze_results
    from loadgen.results.directory import ResultsDirectory

    directory = path
    if path.is_file():
        directory = path.parent.parent
        if not (directory / "manifest.json").is_file():
            try:
                return measurement_of_summary(str(path), json.loads(path.read_bytes()))
            except OSError as error:
                raise InputError(f"cannot read {path}: {error.strerror}", hint="check its permissions") from error
            except ValueError as error:
                raise DataError(f"{path} is not JSON: {error}", hint="give an output directory") from error
    results = ResultsDirectory.open(directory)
    return measurement_of(str(path), results.manifest, analyze_results(results))

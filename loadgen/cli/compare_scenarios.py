"""The live form of the command `compare`: two scenario files, measured in alternating blocks of one run."""

import argparse
import hashlib
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from loadgen.cli.options import apply_options, executor, repeatable_argv
from loadgen.cli.signals import SignalHandler
from loadgen.errors import ExitStatus, UsageError


def measure_interleaved(options: argparse.Namespace) -> tuple[ExitStatus, Path]:
    """Measure two scenarios of one step each, write the report of the run, and return its status and directory.

    Raises:
        LoadgenError: a scenario cannot be loaded or run, or the two differ in more than target and configuration.
    """
    if options.resume is not None:
        raise UsageError("compare --resume", hint="resume with `run`, then give its directory to compare")
    signal_handler = SignalHandler()
    with signal_handler.install():
        from loadgen.cli.scenario_run import run_and_report
        from loadgen.scenario.interleaved import DEFAULT_PAIRS, interleave
        from loadgen.scenario.loader import load_scenario

        base, new = (apply_options(load_scenario(path), options) for path in (options.base, options.new))
        pairs = DEFAULT_PAIRS if options.pairs is None else options.pairs
        loaded = replace(
            base,
            scenario=interleave(base.scenario, new.scenario, pairs=pairs),
            name=f"{base.name}-{new.name}",
            title=f"{new.path.name} against {base.path.name}",
            sha256=hashlib.sha256(f"{base.sha256} {new.sha256}".encode()).hexdigest(),
        )
        if options.out is None:
            name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{loaded.name[:40]}-{secrets.token_hex(2)}"
            options.out = Path("results") / name
        argv = ["compare", *repeatable_argv(options.argv)]
        status = run_and_report(loaded, options, argv=argv, executor=executor(options), signal_handler=signal_handler)
    return status, options.out

"""The command `run`, which is the default: run a scenario file here or as a Processing job."""

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.cli.options import (
    AddParser,
    add_processing_job_options,
    add_run_options,
    apply_options,
    check_processing_job_options,
    executor,
    repeatable_argv,
)
from loadgen.cli.signals import SignalHandler
from loadgen.errors import ExitStatus

if TYPE_CHECKING:
    from loadgen.scenario.loader import LoadedScenario


def add_parser(add: AddParser) -> None:
    """Add the command's parser."""
    parser = add(
        "run",
        help="run a scenario file (the default command)",
        description="Run a scenario file and report what it measured.",
        epilog="Only scenarios that target SageMaker or Existing incur AWS charges.",
    )
    parser.add_argument("scenario", metavar="SCENARIO.py", help="a Python file that defines `scenario`")
    add_run_options(parser)
    add_processing_job_options(parser)
    parser.add_argument("--version", action="version", version=f"loadgen {version('loadgen')}")
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> ExitStatus:
    """Load the scenario and run it, or submit it as a Processing job.

    Raises:
        LoadgenError: the scenario cannot be loaded or run.
    """
    check_processing_job_options(options)
    signal_handler = SignalHandler()
    with signal_handler.install():
        if options.processing_job:
            return _submit(options, signal_handler)
        from loadgen.scenario.loader import load_scenario

        return run_loaded(load_scenario(Path(options.scenario)), options, repeatable_argv(options.argv), signal_handler)


def run_loaded(
    loaded: "LoadedScenario", options: argparse.Namespace, argv: list[str], signal_handler: SignalHandler
) -> ExitStatus:
    """Run a scenario in this process.

    Args:
        loaded: the scenario, before the options are applied.
        options: of `add_run_options`.
        argv: arguments that run the same again; recorded in the manifest.
        signal_handler: signals of this process.

    Raises:
        LoadgenError: the run could not start.
    """
    from loadgen.cli import scenario_run
    from loadgen.open_files import raise_open_files_limit

    raise_open_files_limit()  # each client needs a connection
    loaded = apply_options(loaded, options)
    return scenario_run.run_and_report(
        loaded, options, argv=argv, executor=executor(options), signal_handler=signal_handler
    )


def _submit(options: argparse.Namespace, signal_handler: SignalHandler) -> ExitStatus:
    from loadgen.cli.processing import submit_job
    from loadgen.processing_job.bundle import build_bundle, record_opened_files
    from loadgen.scenario.loader import load_scenario

    path = Path(options.scenario)
    with record_opened_files() as opened:
        loaded = apply_options(load_scenario(path), options)
    bundle = build_bundle(opened, scenario=path, working_directory=Path())
    argv = repeatable_argv(options.argv)
    argv[argv.index(options.scenario)] = bundle.remote_path(path)
    return submit_job(loaded, options, argv=argv, bundle=bundle, signal_handler=signal_handler)

"""The command `benchmark`: the serverless benchmark of a model, without a scenario file."""

import argparse
from pathlib import Path

from loadgen.cli.options import AddParser, add_run_options, repeatable_argv
from loadgen.cli.signals import SignalHandler
from loadgen.errors import ExitStatus
from loadgen.scenario.benchmark_parameters import PARAMETERS, settings_from_arguments

_OUT_ALIASES = ("--result_save_path",)


def add_parser(add: AddParser) -> None:
    """Add the command's parser, with the option names of AWS's sm-serverless-benchmarking toolkit."""
    parser = add(
        "benchmark",
        help="benchmark a SageMaker model over memory sizes and MaxConcurrency",
        description="Benchmark a SageMaker model over memory sizes and MaxConcurrency.",
        epilog="To run it as a SageMaker Processing job, call loadgen.run_as_sagemaker_job().",
    )
    parser.add_argument("model_name", help="name of the SageMaker Model")
    parser.add_argument("invoke_args_examples_file", type=Path, help="JSON Lines or pickle of InvokeEndpoint arguments")
    for parameter in PARAMETERS:
        if parameter.is_flag:
            parser.add_argument(
                f"--no_{parameter.name}", dest=parameter.name, action="store_false", help=parameter.help
            )
            continue
        values = parameter.default if parameter.is_sequence else (parameter.default,)
        parser.add_argument(
            f"--{parameter.name}",
            type=parameter.convert,
            nargs="+" if parameter.is_sequence else None,
            default=parameter.default,
            metavar=parameter.metavar,
            help=f"{parameter.help} (default {' '.join(f'{value:g}' for value in values)})",
        )
    add_run_options(parser, out_aliases=_OUT_ALIASES)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> ExitStatus:
    """Run the benchmark as a scenario file with the same settings would.

    Raises:
        LoadgenError: the benchmark cannot be run.
    """
    signal_handler = SignalHandler()
    with signal_handler.install():
        from loadgen.cli.run import run_loaded
        from loadgen.compat import load_benchmark

        settings = settings_from_arguments(vars(options))
        loaded = load_benchmark(options.model_name, options.invoke_args_examples_file, **settings)
        argv = ["benchmark", *repeatable_argv(options.argv, out_aliases=_OUT_ALIASES)]
        return run_loaded(loaded, options, argv, signal_handler)

"""The command `benchmark`: the serverless benchmark of a model, without a scenario file.

Its names are those of AWS's sm-serverless-benchmarking toolkit; its defaults are those of ServerlessBenchmark.
"""

import argparse
from pathlib import Path
from typing import Any

from loadgen.cli.options import AddParser, add_run_options, repeatable_argv
from loadgen.cli.signals import SignalHandler
from loadgen.errors import ExitStatus, UsageError

_OUT_ALIASES = ("--result_save_path",)
# Option -> the field of ServerlessBenchmark that it sets, its type, its number of values, and its help.
_OPTIONS: dict[str, tuple[str, type, str | None, str, str]] = {
    "--cold_start_delay": (
        *("cold_start_delay", float, None, "SECONDS"),
        "wait before the first request, so that it is likely to be cold (default 0)",
    ),
    "--memory_sizes": (
        *("memory_sizes", int, "+", "MB"),
        "memory sizes to measure (default 1024 2048 3072 4096 5120 6144)",
    ),
    "--stability_benchmark_invocations": (
        *("invocations", int, None, "N"),
        "requests per memory size (default 1000)",
    ),
    "--stability_benchmark_error_thresh": (
        *("error_limit", int, None, "N"),
        "errors that stop one memory size (default 3)",
    ),
    "--concurrency_benchmark_max_conc": (
        *("max_concurrency", int, "+", "N"),
        "MaxConcurrency settings to measure (default 2 4 8)",
    ),
    "--concurrency_benchmark_invocations": (
        *("concurrency_invocations", int, None, "N"),
        "requests per MaxConcurrency and number of clients (default 1000)",
    ),
    "--concurrency_num_clients_multiplier": (
        *("multipliers", float, "+", "X"),
        "clients per MaxConcurrency (default 1 1.5 1.75 2)",
    ),
}


def add_parser(add: AddParser) -> None:
    """Add the command's parser."""
    parser = add(
        "benchmark",
        help="benchmark a SageMaker model over memory sizes and MaxConcurrency",
        description="Benchmark a SageMaker model over memory sizes and MaxConcurrency.",
    )
    parser.add_argument("model_name", help="name of the SageMaker Model")
    parser.add_argument("invoke_args_examples_file", type=Path, help="JSON Lines or pickle of InvokeEndpoint arguments")
    for name, (field, convert, nargs, metavar, help_text) in _OPTIONS.items():
        # Without a default, so that only what the user gives is passed on.
        parser.add_argument(
            name,
            dest=field,
            type=convert,
            nargs=nargs,
            default=argparse.SUPPRESS,
            metavar=metavar,
            help=help_text,
        )
    parser.add_argument(
        "--no_include_concurrency_benchmark",
        dest="include_concurrency",
        action="store_false",
        default=argparse.SUPPRESS,
        help="stop after the stability benchmark",
    )
    add_run_options(parser, out_aliases=_OUT_ALIASES)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> ExitStatus:
    """Run the benchmark as a scenario file with the same settings would.

    Raises:
        LoadgenError: the benchmark cannot be run.
    """
    if options.processing_job:
        raise UsageError(
            "benchmark --processing-job", hint="call loadgen.run_as_sagemaker_job(), or write a scenario file"
        )
    signal_handler = SignalHandler()
    with signal_handler.install():
        from loadgen.cli.run import run_loaded
        from loadgen.compat import load_benchmark

        fields = ["include_concurrency", *(field for field, *_ in _OPTIONS.values())]
        given = [(field, getattr(options, field)) for field in fields if hasattr(options, field)]
        settings: dict[str, Any] = {field: tuple(v) if isinstance(v, list) else v for field, v in given}
        loaded = load_benchmark(options.model_name, options.invoke_args_examples_file, **settings)
        argv = ["benchmark", *repeatable_argv(options.argv, out_aliases=_OUT_ALIASES)]
        return run_loaded(loaded, options, argv, signal_handler)

"""`python -m loadgen benchmark`: the serverless benchmark of a model, without a scenario file."""

import argparse
from pathlib import Path

from loadgen.compat import load_benchmark
from loadgen.scenario.loader import LoadedScenario
from loadgen.workload.serverless_config import MEMORY_SIZES_MB


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the predecessor's command line to a parser: the same names, and the defaults of the call."""
    parser.add_argument("model_name", help="name of the SageMaker Model")
    parser.add_argument("invoke_args_examples_file", type=Path, help="JSON Lines or pickle of InvokeEndpoint arguments")
    parser.add_argument("--cold_start_delay", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--memory_sizes", type=int, nargs="+", default=list(MEMORY_SIZES_MB), metavar="MB")
    parser.add_argument("--stability_benchmark_invocations", type=int, default=1000, metavar="N")
    parser.add_argument("--stability_benchmark_error_thresh", type=int, default=3, metavar="N")
    parser.add_argument("--no_include_concurrency_benchmark", action="store_true")
    parser.add_argument("--concurrency_benchmark_max_conc", type=int, nargs="+", default=[2, 4, 8], metavar="N")
    parser.add_argument("--concurrency_benchmark_invocations", type=int, default=1000, metavar="N")
    parser.add_argument(
        "--concurrency_num_clients_multiplier", type=float, nargs="+", default=[1, 1.5, 1.75, 2], metavar="X"
    )
    parser.add_argument("--result_save_path", type=Path, dest="out", metavar="DIR", help="the same as --out")


def from_arguments(options: argparse.Namespace) -> LoadedScenario:
    """Return the scenario that the predecessor's command line describes."""
    return load_benchmark(
        options.model_name,
        options.invoke_args_examples_file,
        cold_start_delay=options.cold_start_delay,
        memory_sizes=tuple(options.memory_sizes),
        invocations=options.stability_benchmark_invocations,
        error_limit=options.stability_benchmark_error_thresh,
        include_concurrency=not options.no_include_concurrency_benchmark,
        max_concurrency=tuple(options.concurrency_benchmark_max_conc),
        concurrency_invocations=options.concurrency_benchmark_invocations,
        multipliers=tuple(options.concurrency_num_clients_multiplier),
    )

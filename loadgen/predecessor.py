"""The calls of AWS's sm-serverless-benchmarking toolkit, under its names and with its defaults.

Thin: each builds the scenario that a file would define, and runs it as the command line does.
"""

import argparse
import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from loadgen import job
from loadgen.aws.unfinished import state_directory
from loadgen.benchmark import ServerlessBenchmark
from loadgen.errors import LeftoversError
from loadgen.payload import read_requests
from loadgen.report import live
from loadgen.runners.local import Finished
from loadgen.runners.precautions import Precautions
from loadgen.scenario import LoadedScenario
from loadgen.target import MEMORY_SIZES_MB, Target
from loadgen.targets.sagemaker import SageMaker

T = TypeVar("T")

_CALL = "loadgen.run_serverless_benchmarks(...)"
_QUESTION = "Which memory size and MaxConcurrency should this model have?"


def run_serverless_benchmarks(
    model_name: str,
    invoke_args_examples_file: str | Path,
    cold_start_delay: float = 0,
    memory_sizes: Sequence[int] = MEMORY_SIZES_MB,
    stability_benchmark_invocations: int = 1000,
    stability_benchmark_error_thresh: int = 3,
    include_concurrency_benchmark: bool = True,  # noqa: FBT001, FBT002 - the predecessor's signature
    concurrency_benchmark_max_conc: Sequence[int] = (2, 4, 8),
    concurrency_benchmark_invocations: int = 1000,
    concurrency_num_clients_multiplier: Sequence[float] = (1, 1.5, 1.75, 2),
    result_save_path: str | Path = ".",
    *,
    target: Target | None = None,
) -> str:
    """Deploy a model in each memory size, benchmark it, remove everything, and return the report's HTML.

    Args:
        model_name: of the SageMaker Model.
        invoke_args_examples_file: JSON Lines or pickle of InvokeEndpoint arguments.
        cold_start_delay: seconds to wait before the first call, so that it is likely to be cold.
        memory_sizes: in MB.
        stability_benchmark_invocations: calls for each memory size.
        stability_benchmark_error_thresh: errors that stop one memory size.
        include_concurrency_benchmark: run the concurrency benchmark at the recommended size.
        concurrency_benchmark_max_conc: MaxConcurrency settings.
        concurrency_benchmark_invocations: calls for each MaxConcurrency and client count.
        concurrency_num_clients_multiplier: clients for each MaxConcurrency.
        result_save_path: where the output directories go; must not hold a run.
        target: another place than SageMaker, such as `Emulated(...)`.

    Raises:
        LoadgenError: it could not start or could not be kept; the message says what to do.
    """
    loaded = loaded_benchmark(
        model_name,
        Path(invoke_args_examples_file),
        target=target,
        cold_start_delay=cold_start_delay,
        memory_sizes=tuple(memory_sizes),
        invocations=stability_benchmark_invocations,
        error_limit=stability_benchmark_error_thresh,
        include_concurrency=include_concurrency_benchmark,
        max_concurrency=tuple(concurrency_benchmark_max_conc),
        concurrency_invocations=concurrency_benchmark_invocations,
        multipliers=tuple(concurrency_num_clients_multiplier),
    )
    return outside_any_loop(lambda: _page(loaded, Path(result_save_path))).read_text("utf-8")


def loaded_benchmark(
    model_name: str, examples: Path, *, target: Target | None = None, **settings: Any
) -> LoadedScenario:
    """Return the scenario that a file with the same settings would define.

    Raises:
        LoadgenError: the examples cannot be read, or a setting cannot be meant.
    """
    scenario = ServerlessBenchmark(target or SageMaker(model_name), read_requests(examples), **settings)
    return LoadedScenario(scenario, model_name, _QUESTION, "", Path(model_name))


def _page(loaded: LoadedScenario, out: Path) -> Path:
    allowed = Precautions(state=state_directory(os.environ))

    async def carry_out() -> Finished | None:
        with live.progress() as progress:
            return await job.carry_out(
                loaded, out, command=_CALL, progress=progress, stop=asyncio.Event(), precautions=allowed
            )

    finished = asyncio.run(carry_out())
    assert finished is not None  # noqa: S101 - it was no dry run
    findings, page = job.report(finished.results, partial=finished.partial)
    finished.results.conclude(job.result(finished, job.causes_of(finished, findings), findings))
    if finished.leftovers:
        details = [str(leftover) for leftover in finished.leftovers]
        raise LeftoversError("something may still exist", hint="remove it", details=details) from finished.failure
    if finished.failure is not None:
        raise finished.failure
    return page


def outside_any_loop(call: Callable[[], T]) -> T:
    """Run it in a thread of its own where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


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
    return loaded_benchmark(
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

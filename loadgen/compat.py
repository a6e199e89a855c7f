"""The calls of AWS's sm-serverless-benchmarking toolkit, under its names and with its defaults.

Thin: each builds the scenario that a file would define, and runs it as the command line does.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadgen.aws.deployment.run_registry import state_directory
from loadgen.aws.s3 import S3Location
from loadgen.errors import ResourceLeakError
from loadgen.event_loop import run_outside_loop
from loadgen.execution.preflight import RunPolicy
from loadgen.execution.run_identity import RunContext
from loadgen.execution.scenario_result import ScenarioResult, exit_causes, result_json
from loadgen.execution.scenario_runner import run_scenario
from loadgen.interfaces import Target
from loadgen.processing_job import client
from loadgen.processing_job.bundle import build_bundle
from loadgen.processing_job.client import JobSubmission
from loadgen.processing_job.job_spec import INSTANCE_TYPE, MAX_RUNTIME, ProcessingJobSpec
from loadgen.report import console
from loadgen.report.build import build_report
from loadgen.scenario.loader import LoadedScenario
from loadgen.scenario.serverless_benchmark import ServerlessBenchmark
from loadgen.targets.sagemaker import SageMaker
from loadgen.workload.payload import read_requests
from loadgen.workload.serverless_config import MEMORY_SIZES_MB


def run_as_sagemaker_job(
    role: str,
    model_name: str,
    invoke_args_examples_file: str | Path,
    s3_output_path: str | None = None,
    wait: bool = False,  # noqa: FBT001, FBT002 - the predecessor's signature
    cold_start_delay: float = 0,
    memory_sizes: Sequence[int] = MEMORY_SIZES_MB,
    stability_benchmark_invocations: int = 1000,
    stability_benchmark_error_thresh: int = 3,
    include_concurrency_benchmark: bool = True,  # noqa: FBT001, FBT002 - as above
    concurrency_benchmark_max_conc: Sequence[int] = (2, 4, 8),
    concurrency_benchmark_invocations: int = 1000,
    concurrency_num_clients_multiplier: Sequence[float] = (1, 1.5, 1.75, 2),
    result_save_path: str | Path = ".",
    *,
    instance_type: str = INSTANCE_TYPE,
    instance_count: int = 1,
    image: str = "",
    max_runtime: int = MAX_RUNTIME,
    region: str | None = None,
) -> str:
    """Run the whole benchmark in the cloud, and return the job's name: what `python -m loadgen fetch` takes.

    The job removes its endpoints itself; `wait` and `fetch` remove what it left if it died.

    Args:
        role: ARN of the execution role that the job acts as.
        model_name: of the SageMaker Model.
        invoke_args_examples_file: JSON Lines or pickle of InvokeEndpoint arguments; it is uploaded.
        s3_output_path: `s3://bucket/prefix`; None for the bucket that the SageMaker SDK uses too.
        wait: True to wait for the job's end, and to bring its results to `result_save_path`.
        cold_start_delay: seconds to wait before the first call, so that it is likely to be cold.
        memory_sizes: in MB.
        stability_benchmark_invocations: calls for each memory size.
        stability_benchmark_error_thresh: errors that stop one memory size.
        include_concurrency_benchmark: run the concurrency benchmark at the recommended size.
        concurrency_benchmark_max_conc: MaxConcurrency settings.
        concurrency_benchmark_invocations: calls for each MaxConcurrency and client count.
        concurrency_num_clients_multiplier: clients for each MaxConcurrency.
        result_save_path: where the results go when it waits.
        instance_type: of the job's instances.
        instance_count: how many; each sends a shard.
        image: of a container with Python 3.11 or later; empty takes one of AWS's.
        max_runtime: seconds after which SageMaker ends the job.
        region: overrides the SDK's own chain.

    Raises:
        LoadgenError: the job could not be created; or, when it waits, it failed, or left something behind.
    """
    settings = {
        "cold_start_delay": [cold_start_delay],
        "memory_sizes": memory_sizes,
        "stability_benchmark_invocations": [stability_benchmark_invocations],
        "stability_benchmark_error_thresh": [stability_benchmark_error_thresh],
        "concurrency_benchmark_max_conc": concurrency_benchmark_max_conc,
        "concurrency_benchmark_invocations": [concurrency_benchmark_invocations],
        "concurrency_num_clients_multiplier": concurrency_num_clients_multiplier,
    }
    submission = _build_submission(
        model_name, Path(invoke_args_examples_file), settings, include_concurrency=include_concurrency_benchmark
    )
    spec = ProcessingJobSpec(role, instance_type, instance_count, max_runtime, image)
    s3_location = S3Location.parse(s3_output_path) if s3_output_path else None

    return run_outside_loop(
        lambda: asyncio.run(_submit(submission, spec, s3_location, region, Path(result_save_path) if wait else None))
    )


def _build_submission(
    model_name: str, examples: Path, settings: Mapping[str, Sequence[float]], *, include_concurrency: bool
) -> JobSubmission:
    # Read here too, so that a mistake in it is found before anything is uploaded.
    loaded = load_benchmark(model_name, examples)
    bundle = build_bundle([], scenario=examples, working_directory=Path())
    argv = ["benchmark", model_name, bundle.remote_path(examples)]
    for name, values in settings.items():
        argv += [f"--{name}", *map(str, values)]
    if not include_concurrency:
        argv.append("--no_include_concurrency_benchmark")
    return JobSubmission(RunContext.create(loaded, command="").run_id, argv, bundle)


async def _submit(
    submission: JobSubmission,
    spec: ProcessingJobSpec,
    s3_location: S3Location | None,
    region: str | None,
    output_dir: Path | None,
) -> str:
    """Create the job; wait for it, and bring its results home, when there is a place for them."""

    def log(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    job = await client.create_job(submission, spec, s3_location=s3_location, region=region, log=log)
    if output_dir is not None:
        await client.wait_for_job(job.name, region=region, log=log, stop=asyncio.Event())
        client.check_completed(await client.fetch_results(job.name, output_dir / job.name, region=region, log=log))
    return job.name


_COMMAND = "loadgen.run_serverless_benchmarks(...)"
_TITLE = "Which memory size and MaxConcurrency should this model have?"


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
    loaded = load_benchmark(
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
    return run_outside_loop(lambda: _run_and_report(loaded, Path(result_save_path))).read_text("utf-8")


def load_benchmark(model_name: str, examples: Path, *, target: Target | None = None, **settings: Any) -> LoadedScenario:
    """Return the scenario that a file with the same settings would define.

    Raises:
        LoadgenError: the examples cannot be read, or a setting cannot be meant.
    """
    scenario = ServerlessBenchmark(target or SageMaker(model_name), read_requests(examples), **settings)
    return LoadedScenario(scenario, model_name, _TITLE, "", Path(model_name))


def _run_and_report(loaded: LoadedScenario, out: Path) -> Path:
    policy = RunPolicy(state_dir=state_directory(os.environ))

    async def main() -> ScenarioResult | None:
        with console.show_progress() as progress:
            return await run_scenario(
                loaded, out, command=_COMMAND, progress=progress, stop=asyncio.Event(), policy=policy
            )

    finished = asyncio.run(main())
    assert finished is not None  # noqa: S101 - it was no dry run
    analysis, report_path = build_report(finished.results, incomplete_reason=finished.incomplete_reason)
    finished.results.write_result(result_json(finished, exit_causes(finished, analysis), analysis))
    if finished.leftovers:
        details = [str(leftover) for leftover in finished.leftovers]
        raise ResourceLeakError("something may still exist", hint="remove it", details=details) from finished.failure
    if finished.failure is not None:
        raise finished.failure
    return report_path

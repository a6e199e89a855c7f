"""The two calls of AWS's sm-serverless-benchmarking toolkit, under their names and with their parameters.

Each call builds the scenario that a scenario file would define, and runs it as the command line does.
"""

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadgen.aws.deployment.run_registry import state_directory
from loadgen.aws.s3 import S3Location
from loadgen.errors import OutputError, ResourceLeakError, UsageError, error_of_status
from loadgen.event_loop import new_runner, run_outside_loop
from loadgen.execution.preflight import RunPolicy
from loadgen.execution.run_identity import RunContext
from loadgen.execution.scenario_result import ScenarioResult, exit_causes, first_line_cause, result_json
from loadgen.execution.scenario_runner import run_scenario
from loadgen.interfaces import Target
from loadgen.processing_job import client
from loadgen.processing_job.bundle import build_bundle
from loadgen.processing_job.client import JobSubmission
from loadgen.processing_job.job_spec import INSTANCE_TYPE, MAX_RUNTIME, ProcessingJobSpec
from loadgen.report import console
from loadgen.report.build import build_report
from loadgen.report.content.table import sanitize_text
from loadgen.results.directory import free_directory
from loadgen.scenario.benchmark_parameters import DEFAULTS, argv_from_settings, settings_from_arguments
from loadgen.scenario.loader import LoadedScenario
from loadgen.scenario.serverless_benchmark import ServerlessBenchmark
from loadgen.standard_streams import lossy_output
from loadgen.targets.sagemaker import SageMaker
from loadgen.validation import to_bool
from loadgen.workload.payload import read_requests

# Source: the regions of botocore's endpoints.json (2025), such as us-gov-west-1, us-isob-east-1 and eusc-de-east-1.
_REGION_PATTERN = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]+")
_COMMAND = "loadgen.run_serverless_benchmarks(...)"
_TITLE = "Which memory size and MaxConcurrency should this model have?"


def run_serverless_benchmarks(
    model_name: str,
    invoke_args_examples_file: str | Path,
    cold_start_delay: float = DEFAULTS["cold_start_delay"],
    memory_sizes: Sequence[int] = DEFAULTS["memory_sizes"],
    stability_benchmark_invocations: int = DEFAULTS["invocations"],
    stability_benchmark_error_thresh: int = DEFAULTS["error_limit"],
    include_concurrency_benchmark: bool = DEFAULTS["include_concurrency"],  # noqa: FBT001 - the predecessor's signature
    concurrency_benchmark_max_conc: Sequence[int] = DEFAULTS["max_concurrency"],
    concurrency_benchmark_invocations: int = DEFAULTS["concurrency_invocations"],
    concurrency_num_clients_multiplier: Sequence[float] = DEFAULTS["multipliers"],
    result_save_path: str | Path = ".",
    *,
    target: Target | None = None,
) -> str:
    """Benchmark a model over memory sizes and MaxConcurrency, delete the endpoints, and return the report as HTML.

    Args:
        model_name: name of the SageMaker Model.
        invoke_args_examples_file: JSON Lines or pickle of InvokeEndpoint arguments.
        cold_start_delay: seconds to wait before the first call, so that a cold start is likely.
        memory_sizes: sizes of the stability benchmark, MB.
        stability_benchmark_invocations: calls for each memory size.
        stability_benchmark_error_thresh: how many errors stop one memory size.
        include_concurrency_benchmark: False to skip the concurrency benchmark.
        concurrency_benchmark_max_conc: MaxConcurrency settings.
        concurrency_benchmark_invocations: calls for each MaxConcurrency and client count.
        concurrency_num_clients_multiplier: client counts for each MaxConcurrency, as multiples of it.
        result_save_path: the output directory. If it holds an earlier benchmark, this one is saved beside it as
            `NAME-2`, `NAME-3`, ..., for the default `.` inside it as `run-2`, `run-3`, ...
        target: where to deploy instead of SageMaker, such as `Emulated(...)`.

    Raises:
        LoadgenError: the benchmark could not start, failed, had no ok call, or may have left resources.
    """
    settings = settings_from_arguments(locals())
    examples = _to_path(invoke_args_examples_file, "invoke_args_examples_file")
    out = _to_path(result_save_path, "result_save_path")
    loaded = load_benchmark(model_name, examples, target=target, **settings)
    return run_outside_loop(lambda: _run_and_report(loaded, out)).read_text("utf-8")


def run_as_sagemaker_job(
    role: str,
    model_name: str,
    invoke_args_examples_file: str | Path,
    s3_output_path: str | None = None,
    wait: bool = False,  # noqa: FBT001, FBT002 - the predecessor's signature
    cold_start_delay: float = DEFAULTS["cold_start_delay"],
    memory_sizes: Sequence[int] = DEFAULTS["memory_sizes"],
    stability_benchmark_invocations: int = DEFAULTS["invocations"],
    stability_benchmark_error_thresh: int = DEFAULTS["error_limit"],
    include_concurrency_benchmark: bool = DEFAULTS["include_concurrency"],  # noqa: FBT001 - as above
    concurrency_benchmark_max_conc: Sequence[int] = DEFAULTS["max_concurrency"],
    concurrency_benchmark_invocations: int = DEFAULTS["concurrency_invocations"],
    concurrency_num_clients_multiplier: Sequence[float] = DEFAULTS["multipliers"],
    result_save_path: str | Path = ".",
    *,
    instance_type: str = INSTANCE_TYPE,
    instance_count: int = 1,
    image: str = "",
    max_runtime: int = MAX_RUNTIME,
    region: str | None = None,
) -> str:
    """Run the benchmark as a SageMaker Processing job, and return the job's name.

    The job deletes its endpoints itself. When it fails to, `wait=True` and `python -m loadgen fetch JOB` do.

    Args:
        role: ARN of the execution role of the job.
        model_name: name of the SageMaker Model.
        invoke_args_examples_file: JSON Lines or pickle of InvokeEndpoint arguments; it is uploaded.
        s3_output_path: `s3://bucket/prefix`; None for the default bucket of the SageMaker SDK.
        wait: True to wait until the job ends, and to download its results.
        cold_start_delay: this and the next seven as in `run_serverless_benchmarks`.
        memory_sizes: see there.
        stability_benchmark_invocations: see there.
        stability_benchmark_error_thresh: see there.
        include_concurrency_benchmark: see there.
        concurrency_benchmark_max_conc: see there.
        concurrency_benchmark_invocations: see there.
        concurrency_num_clients_multiplier: see there.
        result_save_path: the directory of the downloaded results.
        instance_type: of the job's instances.
        instance_count: number of instances; each sends a shard.
        image: URI of a container image with Python 3.11 or later; empty for one of AWS's.
        max_runtime: seconds after which SageMaker stops the job.
        region: AWS region; None for the SDK's default.

    Raises:
        LoadgenError: the job could not be created; with `wait`, also when it failed or may have left resources.
    """
    # Every argument is checked before anything is uploaded.
    settings = settings_from_arguments(locals())
    spec = ProcessingJobSpec(role, instance_type, instance_count, max_runtime, image)
    s3_location = None if s3_output_path is None else S3Location.parse(s3_output_path)
    output_dir = _to_path(result_save_path, "result_save_path")
    if region is not None and not (isinstance(region, str) and _REGION_PATTERN.fullmatch(region)):
        raise UsageError(
            f"region {region!r:.80}", hint="give a region such as us-east-1, or None for the SDK's default"
        )
    submission = _build_submission(
        model_name, _to_path(invoke_args_examples_file, "invoke_args_examples_file"), settings
    )
    if not to_bool(wait, "wait"):
        return run_outside_loop(lambda: asyncio.run(_submit(submission, spec, s3_location, region, None)))
    _check_writable(output_dir)
    return run_outside_loop(lambda: asyncio.run(_submit(submission, spec, s3_location, region, output_dir)))


def _to_path(value: str | Path, name: str) -> Path:
    try:
        return Path(value)
    except TypeError as error:
        raise UsageError(f"{name} is of type {type(value).__name__}", hint="give a path") from error


def _check_writable(directory: Path) -> None:
    """Create a directory and check that files can be created in it.

    Raises:
        OutputError: it cannot be created or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"cannot write to result_save_path {str(directory)!r}: {reason}", hint="choose another result_save_path"
        ) from error


def load_benchmark(model_name: str, examples: Path, *, target: Target | None = None, **settings: Any) -> LoadedScenario:
    """Return the scenario that a file with the same settings would define.

    Args:
        model_name: name of the SageMaker Model.
        examples: JSON Lines or pickle of InvokeEndpoint arguments.
        target: where to deploy; None for SageMaker.
        settings: fields of ServerlessBenchmark.

    Raises:
        LoadgenError: the examples cannot be read, or a setting is invalid.
    """
    scenario = ServerlessBenchmark(target or SageMaker(model_name), read_requests(examples), **settings)
    return LoadedScenario(scenario, model_name, _TITLE, "", Path(model_name))


def _build_submission(model_name: str, examples: Path, settings: Mapping[str, Any]) -> JobSubmission:
    # Built here too, so that invalid examples and settings are reported before anything is uploaded.
    loaded = load_benchmark(model_name, examples, **settings)
    bundle = build_bundle([], scenario=examples, working_directory=Path())
    argv = ["benchmark", model_name, bundle.remote_path(examples), *argv_from_settings(settings)]
    return JobSubmission(RunContext.create(loaded, command="").run_id, argv, bundle)


async def _submit(
    submission: JobSubmission,
    spec: ProcessingJobSpec,
    s3_location: S3Location | None,
    region: str | None,
    output_dir: Path | None,
) -> str:
    """Create the job; with an output directory, wait until it ends and download its results."""

    def log(text: str) -> None:
        # A status or a reason of the service is text from elsewhere.
        sys.stderr.write(f"{sanitize_text(text, max_length=len(text))}\n")

    job = await client.create_job(submission, spec, s3_location=s3_location, region=region, log=log)
    if output_dir is not None:
        await client.wait_for_job(job.name, region=region, log=log, stop=asyncio.Event())
        client.check_completed(await client.fetch_results(job.name, output_dir / job.name, region=region, log=log))
    return job.name


def _run_and_report(loaded: LoadedScenario, out: Path) -> Path:
    policy = RunPolicy(state_dir=state_directory(os.environ))
    given, out = out, free_directory(out)
    if out != given:
        sys.stderr.write(f"result_save_path {str(given)!r} holds an earlier benchmark; saving to {str(out)!r}\n")

    async def main() -> ScenarioResult | None:
        with console.show_progress() as progress:
            return await run_scenario(
                loaded, out, command=_COMMAND, progress=progress, stop=asyncio.Event(), policy=policy
            )

    try:
        with lossy_output(), new_runner() as runner:
            result = runner.run(main())
    except OutputError as error:
        hint = error.hint.replace("--out", "result_save_path")
        raise OutputError(error.message, hint=hint, details=error.details) from error
    assert result is not None  # noqa: S101 - None only after a dry run
    analysis, report_path = build_report(result.results, incomplete_reason=result.incomplete_reason)
    causes = exit_causes(result, analysis)
    result.results.write_result(result_json(result, causes, analysis))
    if result.leftovers:
        details = [str(leftover) for leftover in result.leftovers]
        raise ResourceLeakError(
            f"{len(details)} resources may still exist", hint="delete them", details=details
        ) from result.failure
    if result.failure is not None:
        raise result.failure
    if unmeasured := first_line_cause(result.runs, causes):
        raise error_of_status(unmeasured.status, f"{unmeasured.message}; the report is {report_path}")
    return report_path

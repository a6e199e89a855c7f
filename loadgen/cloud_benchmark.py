"""The predecessor's `run_as_sagemaker_job`: its whole benchmark as a SageMaker Processing job."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadgen.aws.storage import Shelf
from loadgen.predecessor import loaded_benchmark, outside_any_loop
from loadgen.runners import cloud
from loadgen.runners.circumstances import Circumstances
from loadgen.runners.cloud import Cargo
from loadgen.runners.parcel import pack
from loadgen.runners.processing import INSTANCE_TYPE, MAX_RUNTIME, Hire
from loadgen.target import MEMORY_SIZES_MB


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
    cargo = _cargo(model_name, Path(invoke_args_examples_file), settings, is_whole=include_concurrency_benchmark)
    hire = Hire(role, instance_type, instance_count, max_runtime, image)
    shelf = Shelf.read(s3_output_path) if s3_output_path else None

    return outside_any_loop(
        lambda: asyncio.run(_carry_out(cargo, hire, shelf, region, Path(result_save_path) if wait else None))
    )


def _cargo(model_name: str, examples: Path, settings: Mapping[str, Sequence[float]], *, is_whole: bool) -> Cargo:
    # Read here too, so that a mistake in it is found before anything is uploaded.
    loaded = loaded_benchmark(model_name, examples)
    parcel = pack([], scenario=examples, working=Path())
    words = ["benchmark", model_name, parcel.name_of(examples)]
    for name, values in settings.items():
        words += [f"--{name}", *map(str, values)]
    if not is_whole:
        words.append("--no_include_concurrency_benchmark")
    return Cargo(Circumstances.of(loaded, command="").run_id, words, parcel)


async def _carry_out(cargo: Cargo, hire: Hire, shelf: Shelf | None, region: str | None, home: Path | None) -> str:
    """Create the job; wait for it, and bring its results home, when there is a place for them."""

    def say(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    state = await cloud.submit(cargo, hire, shelf=shelf, region=region, say=say)
    if home is not None:
        await cloud.follow(state.name, region=region, say=say, stop=asyncio.Event())
        cloud.check(await cloud.fetch(state.name, home / state.name, region=region, say=say))
    return state.name

"""Measurements of known latencies for tests of comparisons: closed loops of one client in virtual time."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.analysis import analyze
from loadgen.analysis.prices import PriceBook
from loadgen.comparison.measurement import Measurement, measurement_of
from loadgen.interfaces import Identity
from loadgen.measurement.block import Block
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.run import Run
from loadgen.measurement.sample import SAMPLE
from loadgen.results.directory import ResultsDirectory
from loadgen.results.manifest import Manifest
from loadgen.results.writer import BLOCK_FIELDS, BLOCKS_FILE
from loadgen.workload.load import ClosedLoop
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support.example_runs import run_of_samples

HEALTHY = GeneratorStats(cpu_share=0.05, loop_lag_p99=0.001, loop_lag_max=0.002)


def run_of_latencies(
    latencies: NDArray[np.float64], name: str = "one client", failed: NDArray[np.bool_] | None = None, rounds: int = 0
) -> Run:
    """Return the run of one client that calls without pause.

    Args:
        latencies: seconds, shape (n,), in the order of the calls.
        name: name of the step.
        failed: which calls failed, shape (n,); None for none.
        rounds: number of blocks into which the calls are divided; 0 for a run in one piece.
    """
    count = latencies.size
    samples = np.zeros(count, SAMPLE)
    samples["seq"] = np.arange(count)
    done = np.cumsum(latencies)
    for field in ("done", "first_byte"):
        samples[field] = done
    for field in ("scheduled", "sent"):
        samples[field] = done - latencies
    samples["request_bytes"] = samples["response_bytes"] = 100
    if failed is not None:
        samples["outcome"][failed] = Outcome.MODEL_ERROR
    firsts = [count * number // rounds for number in range(rounds)]
    blocks = tuple(
        Block(number + 1, first, 1e9 + 60 * number, float(done[first] - latencies[first]))
        for number, first in enumerate(firsts)
    )
    step = Step(ServerlessConfig(2048), ClosedLoop(1, count=count), name=name)
    return run_of_samples(step, samples, blocks=blocks, generator_stats=HEALTHY)


def _manifest(kind: str, **fields: Any) -> Manifest:
    """Return the manifest of a scenario file."""
    made = Manifest(
        run_id="k3v9q2",
        created="2026-11-01T12:00:00+00:00",
        scenario="ranker.py",
        title="How fast is the ranker?",
        kind="Scenario",
        settings={},
        scenario_sha256="9f" * 32,
        payloads={"count": 7, "bytes_mean": 100.0, "bytes_max": 100, "sha256": "ab" * 32},
        seed=7,
        identity=Identity(kind, "", "us-east-1", "a detail"),
        versions={"loadgen": "0.1.0"},
        command="python -m loadgen ranker.py",
    )
    return replace(made, **fields)


def measurement(name: str, *runs: Run, kind: str = "emulator", **fields: Any) -> Measurement:
    """Return the measurement of runs; further arguments are fields of the manifest."""
    analysis = analyze(runs, region="us-east-1", prices=PriceBook.builtin())
    return measurement_of(name, _manifest(kind, **fields), analysis)


def save(path: Path, *runs: Run, kind: str = "emulator", **fields: Any) -> Path:
    """Write runs to an output directory as a scenario does, and return its path."""
    results = ResultsDirectory.create(path, _manifest(kind, **fields))
    for number, run in enumerate(runs, 1):
        writer = results.create_run(number, run.step, {"started": run.started})
        writer.sink.write_samples(run.samples)
        writer.close()
        for block in run.blocks:
            with (writer.directory / BLOCKS_FILE).open("ab") as table:
                table.write(json.dumps({name: getattr(block, name) for name in BLOCK_FIELDS}).encode() + b"\n")
        writer.write_metadata(run)
    results.write_result({"incomplete_reason": ""})
    return path


def measured(name: str, latencies: NDArray[np.float64], **fields: Any) -> Measurement:
    """Return the measurement of one step with these latencies."""
    return measurement(name, run_of_latencies(latencies), **fields)


def interleaved(base: NDArray[np.float64], new: NDArray[np.float64], rounds: int) -> Measurement:
    """Return the measurement of the steps `base` and `new`, called in alternating blocks."""
    return measurement("both", *(run_of_latencies(v, n, rounds=rounds) for v, n in ((base, "base"), (new, "new"))))

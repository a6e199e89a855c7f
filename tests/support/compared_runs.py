"""Measurements of known latencies for tests of comparisons: closed loops of one client in virtual time."""

import numpy as np
from numpy.typing import NDArray

from loadgen.comparison.measurement import Measurement, measurement_of
from loadgen.interfaces import Identity
from loadgen.measurement.block import Block
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.run import Run
from loadgen.measurement.sample import SAMPLE
from loadgen.workload.load import ClosedLoop
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support.example_runs import run_of_samples
from tests.support.report_examples import analyze_runs, manifest

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


def measurement(name: str, *runs: Run, kind: str = "emulator", **fields: object) -> Measurement:
    """Return the measurement of runs; further arguments are fields of the manifest."""
    about = manifest(kind, identity=Identity(kind, "", "us-east-1", "a detail"), **fields)
    return measurement_of(name, about, analyze_runs(*runs))


def measured(name: str, latencies: NDArray[np.float64], **fields: object) -> Measurement:
    """Return the measurement of one step with these latencies."""
    return measurement(name, run_of_latencies(latencies), **fields)


def interleaved(base: NDArray[np.float64], new: NDArray[np.float64], rounds: int) -> Measurement:
    """Return the measurement of the steps `base` and `new`, called in alternating blocks."""
    return measurement("both", *(run_of_latencies(v, n, rounds=rounds) for v, n in ((base, "base"), (new, "new"))))

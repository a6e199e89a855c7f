"""Numbers and sequences of other types, such as numpy's: kept as int and tuple, or refused when the value is built."""

import asyncio
import dataclasses
import math
from functools import partial

import numpy as np
import pytest

import loadgen
from loadgen import (
    ClosedLoop,
    Emulated,
    NullTransport,
    OpenLoop,
    Request,
    Scenario,
    ServerlessBenchmark,
    ServerlessConfig,
    Step,
    constant,
    poisson,
)
from loadgen.errors import UsageError
from loadgen.processing_job.job_spec import ProcessingJobSpec
from loadgen.results.serialization import to_json
from loadgen.scenario.benchmark_parameters import settings_from_arguments
from loadgen.validation import to_tuple
from loadgen.workload.step import ErrorLimit

REQUESTS = [Request(b"1")]
LOAD = ClosedLoop(1, count=1)
BENCHMARK = partial(ServerlessBenchmark, Emulated(), REQUESTS)
# Each integer field of a scenario, with a value that is valid for it.
INTEGER_FIELDS = [
    (partial(ServerlessConfig, max_concurrency=8), "memory_mb", 2048),
    (partial(ServerlessConfig, 2048), "max_concurrency", 8),
    (partial(ServerlessConfig, 2048, 8), "provisioned_concurrency", 2),
    (partial(ClosedLoop, count=5), "clients", 3),
    (partial(ClosedLoop, 1), "count", 3),
    (partial(ClosedLoop, 1, count=1), "seed", 3),
    (partial(OpenLoop, poisson(constant(1), seed=1), 1.0), "max_in_flight", 3),
    (partial(poisson, constant(1)), "seed", 3),
    (ErrorLimit, "count", 3),
    (ErrorLimit, "at_least", 3),
    (partial(Step, None, LOAD), "warmup_calls", 3),
    (partial(Scenario, Emulated(), REQUESTS, [Step(None, LOAD)]), "seed", 3),
    (BENCHMARK, "seed", 3),
    (BENCHMARK, "invocations", 3),
    (BENCHMARK, "error_limit", 3),
    (BENCHMARK, "concurrency_invocations", 3),
    (BENCHMARK, "memory_size", 3072),
    (Emulated, "seed", 3),
    (partial(ProcessingJobSpec, "arn:aws:iam::111122223333:role/r"), "instances", 3),
    (partial(ProcessingJobSpec, "arn:aws:iam::111122223333:role/r"), "max_runtime", 3600),
]
IDS = [f"{getattr(build, 'func', build).__name__}.{name}" for build, name, _ in INTEGER_FIELDS]


class Index:
    """An integer of a library that loadgen does not know."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


@pytest.mark.parametrize(("build", "name", "value"), INTEGER_FIELDS, ids=IDS)
@pytest.mark.parametrize("convert", [np.int64, np.uint16, np.array, Index])
def test_an_integer_of_another_type_is_kept_as_an_int(build, name, value, convert):
    """Whatever `operator.index` takes becomes an int: boto, random.Random and JSON accept no other type."""
    kept = getattr(build(**{name: convert(value)}), name)
    assert (kept, type(kept)) == (value, int)


@pytest.mark.parametrize(("build", "name", "value"), INTEGER_FIELDS, ids=IDS)
@pytest.mark.parametrize("convert", [float, np.float64, str, lambda n: np.array([n, n]), lambda n: n > 0])
def test_what_is_no_integer_is_refused_when_the_value_is_built(build, name, value, convert):
    """2048.0, "2048", an array and True are usage errors before anything is deployed."""
    with pytest.raises(UsageError, match="must be an integer"):
        build(**{name: convert(value)})


def test_arrays_and_generators_are_kept_as_tuples():
    """Sizes from numpy's arange and requests from a generator give the benchmark of the same lists."""
    given = ServerlessBenchmark(
        Emulated(),
        (request for request in REQUESTS),
        memory_sizes=np.arange(1024, 3072, 1024),
        max_concurrency=np.array([2, 4]),
        multipliers=np.array([1, 1.5]),
    )
    assert given == ServerlessBenchmark(
        Emulated(), tuple(REQUESTS), memory_sizes=(1024, 2048), max_concurrency=(2, 4), multipliers=(1, 1.5)
    )
    assert [to_json(step) for step in given.possible_steps()]
    assert {type(step.config.memory_mb) for step in given.possible_steps()} == {int}
    plan = Scenario(Emulated(), iter(REQUESTS), (Step(None, LOAD) for _ in range(2)), slos=iter(()))
    assert (plan.requests, len(plan.steps), plan.slos) == (tuple(REQUESTS), 2, ())
    assert dataclasses.replace(plan, seed=2).requests == tuple(REQUESTS)


@pytest.mark.parametrize("value", [2048, "2048", {1024: 1}, [2048.0], np.array([1024.0]), np.array(2048), [], iter(())])
def test_memory_sizes_that_are_no_list_of_integers_are_refused(value):
    """A single size, text, a mapping, floats and no sizes at all are usage errors."""
    with pytest.raises(UsageError, match="memory_sizes"):
        BENCHMARK(memory_sizes=value)


@pytest.mark.parametrize("value", [math.nan, np.float64("inf"), np.int64(-1), 0])
def test_invalid_multipliers_of_an_array_are_refused(value):
    """A multiplier from numpy that is not finite or not above 0 is a usage error."""
    with pytest.raises(UsageError, match="multipliers"):
        BENCHMARK(multipliers=np.array([1, value]))


def test_the_predecessors_parameters_take_arrays():
    """The settings of a call with an array are those of the list; one number for a list is a usage error."""
    assert settings_from_arguments({"memory_sizes": np.arange(1024, 3072, 1024)}) == {"memory_sizes": (1024, 2048)}
    with pytest.raises(UsageError, match="memory_sizes is of type int"):
        settings_from_arguments({"memory_sizes": 1024})


def test_a_load_runs_with_requests_from_a_generator_and_a_seed_of_numpy():
    """`loadgen.run` takes a generator of requests and a numpy seed."""
    result = asyncio.run(loadgen.run(LOAD, NullTransport(), (r for r in REQUESTS), seed=np.int64(3)))
    assert result.scheduled == 1


@pytest.mark.parametrize("value", [b"ab", np.array(1), None])
def test_a_single_value_is_no_sequence(value):
    """Bytes, an array without dimensions and None are not taken as a list of values."""
    with pytest.raises(UsageError, match="must be a list of values"):
        to_tuple(value, "items")

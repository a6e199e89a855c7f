"""Values as JSON and back: every type of the list, and nothing else."""

import math
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.slo import Slo
from loadgen.errors import DataError
from loadgen.interfaces import Identity
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetric, CloudWatchMetrics
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.results.manifest import Manifest
from loadgen.results.serialization import from_json, to_json
from loadgen.workload.arrivals import Arrivals, even, trace
from loadgen.workload.load import ClosedLoop, OpenLoop, Uniform
from loadgen.workload.rate import Rate, constant, ramp, stages
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import ErrorLimit, Step

text = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)
positive = st.floats(0.001, 1e6)
scalars = st.none() | st.booleans() | numbers | text
keys = text.filter(lambda key: key not in ("type", "float"))
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
configs = st.builds(ServerlessConfig, st.sampled_from([1024, 2048, 6144]), st.integers(1, 200))
rates = st.one_of(
    st.builds(constant, positive),
    st.builds(ramp, positive, positive, over=positive),
    st.builds(lambda s: stages(*s), st.lists(st.tuples(positive, positive), min_size=1, max_size=4)),
)
arrivals = st.one_of(
    st.builds(even, rates),
    st.builds(Arrivals, rates, seed=st.integers(0, 2**63 - 1)),
    st.builds(trace, st.lists(positive, min_size=1, max_size=5)),
).map(lambda a: a.shard(1, 3))
pauses = st.floats(0, 100) | st.tuples(st.floats(0, 5), st.floats(5, 9)).map(lambda p: Uniform(*p))
loads = st.one_of(
    st.builds(OpenLoop, arrivals, duration=positive, max_in_flight=st.integers(1, 9999)),
    st.builds(
        ClosedLoop,
        st.integers(1, 500),
        count=st.integers(1, 10**6),
        think=pauses,
        backoff=pauses,
        seed=st.integers(0, 99),
    ),
)
limits = st.builds(ErrorLimit, count=st.none() | st.integers(1, 9), share=st.none() | st.floats(0, 0.99))
steps = st.builds(
    Step, st.none() | configs, loads, name=text, phase=text, warmup=st.floats(0, 60), error_limit=st.none() | limits
)
metrics = st.builds(
    CloudWatchMetric,
    text,
    text,
    numbers,
    numbers,
    numbers,
    numbers,
    numbers,
    st.dictionaries(st.sampled_from(["p50", "p99.9"]), numbers),
    numbers,
)
identities = st.builds(Identity, text, text, text, text)
values = st.one_of(
    *(plain, configs, rates, arrivals, loads, limits, steps, identities),
    st.builds(
        CloudWatchMetrics,
        st.dictionaries(keys, metrics, max_size=2),
        st.dictionaries(keys, text, max_size=2),
        st.booleans(),
    ),
    st.builds(Slo, st.just("response_p99"), at_most=positive),
    st.builds(GeneratorStats, *[st.floats(0, 1e9) for _ in range(7)]),
    st.builds(
        Manifest,
        *[text] * 5,
        st.dictionaries(keys, plain, max_size=3),
        text,
        st.dictionaries(keys, plain, max_size=3),
        st.integers(0, 2**63 - 1),
        identities,
        st.dictionaries(keys, text, max_size=3),
        text,
    ),
)


@given(values)
def test_every_value_survives_the_file(value):
    """Through JSON text and back, a value of any type of ours is equal to itself."""
    assert from_json(orjson.loads(orjson.dumps(to_json(value)))) == value


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_floats_that_json_cannot_say_survive(number):
    """Infinity and NaN come back as they were."""
    back = from_json(orjson.loads(orjson.dumps(to_json({"x": (number,)}))))["x"][0]
    assert back == number or (math.isnan(back) and math.isnan(number))


def test_enumerations_become_their_text():
    """An outcome is its label, a column its name: readable, and not mistaken for numbers."""
    assert to_json({"o": Outcome.MODEL_ERROR, "c": OutcomeCategory.OK}) == {"o": "model_error", "c": "ok"}


def test_numbers_of_numpy_are_numbers():
    """Whole and real numbers that come out of numpy are saved as numbers."""
    assert to_json([np.int64(3), np.float32(0.5), np.float64(2.5)]) == [3, 0.5, 2.5]
    assert to_json(ClosedLoop(np.int64(3), count=1))["clients"] == 3


def test_text_that_is_no_unicode_can_be_saved():
    """A file name of other bytes, as Python shows it, is saved in an escaped form rather than not at all."""
    assert orjson.dumps(to_json("caf\udce9.py")) == rb'"caf\\udce9.py"'


@dataclass(frozen=True)
class Foreign:
    x: int = 1


@pytest.mark.parametrize(
    "value",
    [Foreign(), object(), b"bytes", {1, 2}, len, Foreign, {"type": "Step"}, {"float": 1}, 2**70, {"x": (b"deep",)}, 1j],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_read_back_is_not_saved(value):
    """A foreign type, or an object that would be read as something else, is a DataError when it is written."""
    with pytest.raises(DataError):
        to_json(value)


@pytest.mark.parametrize(
    "saved",
    [
        {"type": "Foreign"},
        {"type": "object"},
        {"type": 5},
        {"type": ["Step"]},
        {"type": "ServerlessConfig"},
        {"type": "ServerlessConfig", "memory_mb": 1500},
        {"type": "ServerlessConfig", "memory_mb": "x"},
        {"type": "Rate", "knots": 5},
        {"type": "Rate", "knots": [[0, "x"]]},
        {"type": "Rate", "knots": [5]},
        {"type": "OpenLoop", "arrivals": None},
        {"type": "OpenLoop", "arrivals": 5, "duration": 3},
        {"type": "Step", "config": None, "load": None},
        {"type": "Step", "config": 5, "load": {"type": "ClosedLoop", "clients": 1, "count": 1}},
        {"type": "ClosedLoop", "clients": -1, "count": 1},
        {"type": "ClosedLoop", "clients": 1, "count": 1, "part": 5},
        {"type": "Arrivals", "instants": "abc"},
        {"type": "Slo", "metric": "no_such_metric", "at_most": 1},
        {"float": "x"},
        {"float": None},
        {"deep": [{"type": "Nothing"}]},
    ],
    ids=str,
)
def test_what_was_tampered_with_is_refused(saved):
    """Unknown types and values that a type refuses are DataErrors: a damaged file, not a wrong flag, not a crash."""
    with pytest.raises(DataError):
        from_json(saved)


def test_a_field_of_a_later_version_is_left_out():
    """What this version does not know does not keep it from reading the rest."""
    assert from_json({"type": "ErrorLimit", "count": 3, "shiny": True}) == ErrorLimit(count=3)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda i: (
            st.lists(i)
            | st.dictionaries(
                st.sampled_from(["type", "float", "load", "knots", "rate", "x"]) | st.text(),
                i | st.sampled_from(["Step", "Rate", "OpenLoop", "Arrivals", "ClosedLoop", "Uniform", "Slo"]),
            )
        ),
        max_leaves=10,
    )
)
def test_any_json_is_read_or_refused(saved):
    """Whatever a file holds, reading it gives a value or a DataError."""
    with suppress(DataError):
        from_json(saved)


def test_the_types_on_the_list_have_only_savable_fields():
    """Every type that this file draws is a frozen dataclass with slots: a value."""
    for kind in (
        Rate,
        Arrivals,
        OpenLoop,
        ClosedLoop,
        Uniform,
        ErrorLimit,
        Step,
        ServerlessConfig,
        Slo,
        Identity,
        Manifest,
        CloudWatchMetric,
        CloudWatchMetrics,
        GeneratorStats,
    ):
        assert is_dataclass(kind)
        assert kind.__dataclass_params__.frozen
        assert all(f.name in kind.__slots__ for f in fields(kind))

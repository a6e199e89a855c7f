"""Values as JSON and back: every listed type is restored, every other type is rejected."""

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
from loadgen.measurement.sample import ErrorCode
from loadgen.results.manifest import Manifest
from loadgen.results.serialization import from_json, to_json, to_untagged_json
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
def test_every_listed_type_is_restored(value):
    """A value of any listed type, converted to JSON text and back, equals itself."""
    assert from_json(orjson.loads(orjson.dumps(to_json(value)))) == value


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_infinity_and_nan_are_restored(number):
    """JSON has no infinity and no NaN; both are restored."""
    back = from_json(orjson.loads(orjson.dumps(to_json({"x": (number,)}))))["x"][0]
    assert back == number or (math.isnan(back) and math.isnan(number))


def test_enum_members_become_their_names():
    """An outcome and a category are saved as text, not as numbers."""
    for convert in (to_json, to_untagged_json):
        assert convert({"o": Outcome.MODEL_ERROR, "c": OutcomeCategory.OK}) == {"o": "model_error", "c": "ok"}


def test_untagged_json_is_strict_and_has_no_types():
    """Values without type tags: null for NaN and infinity, names for enum and percentile keys, text for other types."""
    value = {Outcome.OK: (math.nan, math.inf), 99.9: ErrorLimit(count=3), "code": ErrorCode(1, Outcome.OK, "c", 0, "m")}
    assert to_untagged_json(value) == {
        "ok": [None, None],
        "p99.9": {"count": 3, "share": None, "at_least": 20},
        "code": {
            "number": 1,
            "outcome": "ok",
            "code": "c",
            "status": 0,
            "message": "m",
            "original_status": None,
            "request_index": 0,
        },
    }
    assert to_untagged_json([b"x", np.int64(3), np.float32(0.5)]) == ["b'x'", 3, 0.5]


def test_numpy_scalars_are_numbers():
    """Integers and floats of numpy are saved as numbers."""
    assert to_json([np.int64(3), np.float32(0.5), np.float64(2.5)]) == [3, 0.5, 2.5]
    assert to_json(ClosedLoop(np.int64(3), count=1))["clients"] == 3


def test_text_with_a_lone_surrogate_can_be_saved():
    """A file name that is not UTF-8, as Python represents it, is saved in an escaped form."""
    assert orjson.dumps(to_json("caf\udce9.py")) == rb'"caf\\udce9.py"'


@dataclass(frozen=True)
class Foreign:
    x: int = 1


@pytest.mark.parametrize(
    "value",
    [Foreign(), object(), b"bytes", {1, 2}, len, Foreign, {"type": "Step"}, {"float": 1}, 2**70, {"x": (b"deep",)}, 1j],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_cannot_be_restored_is_rejected(value):
    """A type that is not listed, or a mapping that would be read as another value, is a DataError."""
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
def test_invalid_saved_values_are_data_errors(saved):
    """An unknown type, or a value that a type rejects, is a DataError: not a usage error and not a crash."""
    with pytest.raises(DataError):
        from_json(saved)


def test_an_unknown_field_is_ignored():
    """A field of a later version is ignored, and the rest is read."""
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
def test_any_json_is_a_value_or_a_data_error(saved):
    """from_json returns a value or raises a DataError, for any JSON."""
    with suppress(DataError):
        from_json(saved)


def test_listed_types_are_frozen_dataclasses_with_slots():
    """Every type that the property test draws is an immutable value."""
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

"""Our values as plain JSON and back: a closed list of types, so that reading a file builds nothing else.

A dataclass becomes an object with its class name under `type`; tuples become arrays and arrays become tuples; an Outcome or a
Column becomes its text; a float that JSON cannot say becomes text under `float`.
"""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from numbers import Integral, Real
from typing import Any

from loadgen.analysis.slo import Slo
from loadgen.errors import DataError, LoadgenError
from loadgen.interfaces import Identity
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetric, CloudWatchMetrics
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.run import WorkerReport
from loadgen.results.manifest import Manifest
from loadgen.workload.arrivals import Arrivals
from loadgen.workload.load import ClosedLoop, OpenLoop, Uniform
from loadgen.workload.rate import Rate
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import ErrorLimit, Step

_TYPES: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(Arrivals, ClosedLoop, OpenLoop, Rate, Uniform),
        *(ErrorLimit, Step, ServerlessConfig, Slo),
        *(Identity, Manifest, CloudWatchMetric, CloudWatchMetrics, GeneratorStats, WorkerReport),
    )
}


def to_json(value: Any) -> Any:
    """Return a value as JSON can say it.

    Raises:
        DataError: it holds a type that is not on the list.

    Example:
        >>> to_json(ServerlessConfig(2048, 4))
        {'type': 'ServerlessConfig', 'memory_mb': 2048, 'max_concurrency': 4, 'provisioned_concurrency': 0}
    """
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, str):
        # Half a surrogate pair stands for a byte of a file name that is no Unicode: shown, since JSON cannot say it.
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral) and -(2**63) <= int(value) < 2**64:
        return int(value)
    if isinstance(value, Real) and not isinstance(value, Integral):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, Mapping) and "type" not in value and value.keys() != {"float"}:
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if is_dataclass(value) and type(value).__name__ in _TYPES:
        named = {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
        return {"type": type(value).__name__} | named
    raise DataError(f"a {type(value).__name__} cannot be saved")


def from_json(value: Any) -> Any:
    """Return what `to_json` was given, built from our own types only.

    Raises:
        DataError: it names an unknown type, or a value that the type refuses.

    Example:
        >>> from_json(to_json(ServerlessConfig(2048, 4)))
        ServerlessConfig(memory_mb=2048, max_concurrency=4, provisioned_concurrency=0)
    """
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    if value.keys() == {"float"}:
        return _build(float, value["float"])
    if "type" not in value:
        return {key: from_json(item) for key, item in value.items()}
    kind = _TYPES.get(str(value["type"]))
    if kind is None:
        raise DataError(f"a saved value of the unknown type {value['type']!r}", hint="written by another version?")
    known = {f.name for f in fields(kind)}
    # A field of a later version is left out rather than refused: the rest can still be read.
    named = {key: from_json(item) for key, item in value.items() if key in known}
    return _build(kind, **named)


def _build(kind: type[Any], /, *values: Any, **named: Any) -> Any:
    """Build a value from a file, where whatever it refuses is the file's fault."""
    try:
        return kind(*values, **named)
    except (LoadgenError, ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise DataError(f"a saved {kind.__name__} is damaged: {error}") from error

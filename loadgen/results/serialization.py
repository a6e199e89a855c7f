"""Conversion of loadgen's values to JSON and back, for every JSON file of the output directory.

`to_json` is reversible: a dataclass becomes an object with its class name under `type`, a tuple becomes an array, an
array is read as a tuple, an enum member becomes its name, and a float that JSON does not have becomes
`{"float": "nan"}`. `from_json` builds only the types of a closed list. `to_untagged_json` is for other programs: no
`type`, null for NaN and infinity.
"""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from numbers import Integral, Real
from typing import Any

from loadgen.analysis.size_choice import Objective
from loadgen.analysis.slo import Slo
from loadgen.errors import DataError, LoadgenError
from loadgen.interfaces import Identity
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetric, CloudWatchMetrics
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.run import WorkerReport
from loadgen.measurement.stalls import Stalls
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
        *(ErrorLimit, Step, ServerlessConfig, Slo, Objective),
        *(Identity, Manifest, CloudWatchMetric, CloudWatchMetrics, GeneratorStats, Stalls, WorkerReport),
    )
}


def to_json(value: Any) -> Any:
    """Return a value as JSON that `from_json` restores.

    Raises:
        DataError: it contains a type that is not on the list.

    Example:
        >>> to_json(ServerlessConfig(2048, 4))
        {'type': 'ServerlessConfig', 'memory_mb': 2048, 'max_concurrency': 4, 'provisioned_concurrency': 0}
    """
    if _is_scalar(value):
        return _scalar_to_json(value)
    if isinstance(value, Real) and not isinstance(value, Integral):
        return {"float": str(float(value))}
    if isinstance(value, Mapping) and "type" not in value and value.keys() != {"float"}:
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if is_dataclass(value) and type(value).__name__ in _TYPES:
        named = {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
        return {"type": type(value).__name__} | named
    raise DataError(f"a {type(value).__name__} cannot be saved")


def to_untagged_json(value: Any) -> Any:
    """Return a value as JSON without type tags; null for NaN and infinity, text for unknown types.

    Example:
        >>> to_untagged_json({99.9: ServerlessConfig(2048, 4), "lag": math.nan})
        {'p99.9': {'memory_mb': 2048, 'max_concurrency': 4, 'provisioned_concurrency': 0}, 'lag': None}
    """
    if _is_scalar(value):
        return _scalar_to_json(value)
    if isinstance(value, Real) and not isinstance(value, Integral):
        return None
    if is_dataclass(value):
        return {f.name: to_untagged_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {_untagged_key(key): to_untagged_json(item) for key, item in value.items()}
    if hasattr(value, "_asdict"):
        return to_untagged_json(value._asdict())
    if isinstance(value, (tuple, list)):
        return [to_untagged_json(item) for item in value]
    return str(value)


def _untagged_key(key: Any) -> str:
    """Return an enum member as its name and a percentile as `p99.9`."""
    return str(_scalar_to_json(key)) if isinstance(key, Enum) else f"p{key:g}" if isinstance(key, float) else str(key)


def _is_scalar(value: Any) -> bool:
    """Tell whether JSON has the value, other than as an array or object."""
    if value is None or isinstance(value, (Enum, str, bool)):
        return True
    if isinstance(value, Integral):
        return -(2**63) <= int(value) < 2**64
    return isinstance(value, Real) and math.isfinite(value)


def _scalar_to_json(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, str):
        # A lone surrogate is a byte of a file name that is not UTF-8; JSON text cannot contain it.
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, bool):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def from_json(value: Any) -> Any:
    """Return the value that `to_json` was given, built from the listed types only.

    Raises:
        DataError: it names an unknown type, or a value that the type rejects.

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
    # Fields of a later version are ignored, so that the rest can be read.
    named = {key: from_json(item) for key, item in value.items() if key in known}
    return _build(kind, **named)


def _build(kind: type[Any], /, *values: Any, **named: Any) -> Any:
    """Build a value read from a file; a value that the type rejects is a DataError."""
    try:
        return kind(*values, **named)
    except (LoadgenError, ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise DataError(f"a saved {kind.__name__} is damaged: {error}") from error

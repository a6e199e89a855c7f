"""The parameters of the serverless benchmark under the names of AWS's sm-serverless-benchmarking toolkit.

The one place of their defaults. Imports nothing heavy: the command line reads this table to build its `--help`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from loadgen.validation import to_tuple
from loadgen.workload.serverless_config import MEMORY_SIZES_MB


class Parameter(NamedTuple):
    """A parameter of the predecessor.

    Args:
        name: the predecessor's name.
        field: the field of ServerlessBenchmark that it sets.
        default: a bool, a number, or a tuple of numbers.
        convert: from a string of the command line to the value, or to one value of a tuple.
        metavar: stands for a value in `--help`.
        help: a phrase for `--help`.
    """

    name: str
    field: str
    default: Any
    convert: Callable[[str], Any]
    metavar: str
    help: str

    @property
    def is_flag(self) -> bool:
        """True when the parameter is a bool; the option `--no_<name>` sets it to False."""
        return isinstance(self.default, bool)

    @property
    def is_sequence(self) -> bool:
        """True when the parameter takes several values."""
        return isinstance(self.default, tuple)


# In the order of the predecessor's signatures.
PARAMETERS = (
    Parameter(
        *("cold_start_delay", "cold_start_delay", 0.0, float, "SECONDS"),
        "wait before the first call, so that a cold start is likely",
    ),
    Parameter(
        *("memory_sizes", "memory_sizes", MEMORY_SIZES_MB, int, "MB"),
        "memory sizes to measure",
    ),
    Parameter(
        *("stability_benchmark_invocations", "invocations", 1000, int, "N"),
        "calls for each memory size",
    ),
    Parameter(
        *("stability_benchmark_error_thresh", "error_limit", 3, int, "N"),
        "how many errors stop one memory size",
    ),
    Parameter(
        *("include_concurrency_benchmark", "include_concurrency", True, bool, ""),
        "skip the concurrency benchmark",
    ),
    Parameter(
        *("concurrency_benchmark_max_conc", "max_concurrency", (2, 4, 8), int, "N"),
        "MaxConcurrency settings to measure",
    ),
    Parameter(
        *("concurrency_benchmark_invocations", "concurrency_invocations", 1000, int, "N"),
        "calls for each MaxConcurrency and client count",
    ),
    Parameter(
        *("concurrency_num_clients_multiplier", "multipliers", (1, 1.5, 1.75, 2), float, "X"),
        "client counts for each MaxConcurrency, as multiples of it",
    ),
)
# Field of ServerlessBenchmark -> default.
DEFAULTS: Mapping[str, Any] = {parameter.field: parameter.default for parameter in PARAMETERS}


def settings_from_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ServerlessBenchmark that a call's arguments set; other arguments are ignored.

    Args:
        arguments: by the predecessor's names.

    Example:
        >>> settings_from_arguments({"stability_benchmark_invocations": 50, "memory_sizes": [1024], "role": "x"})
        {'memory_sizes': (1024,), 'invocations': 50}
    """
    given = [(parameter, arguments[parameter.name]) for parameter in PARAMETERS if parameter.name in arguments]
    return {
        parameter.field: to_tuple(value, parameter.name) if parameter.is_sequence else value
        for parameter, value in given
    }


def argv_from_settings(settings: Mapping[str, Any]) -> list[str]:
    """Return the options of `python -m loadgen benchmark` that set these fields of ServerlessBenchmark.

    Example:
        >>> argv_from_settings({"memory_sizes": (1024, 2048), "include_concurrency": False})
        ['--memory_sizes', '1024', '2048', '--no_include_concurrency_benchmark']
    """
    argv = []
    for parameter in PARAMETERS:
        if parameter.field not in settings:
            continue
        value = settings[parameter.field]
        if parameter.is_flag:
            argv += [] if value else [f"--no_{parameter.name}"]
        else:
            argv += [f"--{parameter.name}", *map(str, value if parameter.is_sequence else [value])]
    return argv

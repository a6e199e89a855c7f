"""`--set name=value`: how text becomes the value of a field, and what is refused."""

from types import SimpleNamespace

import pytest

from loadgen import Emulated, Request, ServerlessBenchmark
from loadgen.errors import UsageError
from loadgen.scenario.overrides import apply_overrides


def benchmark() -> ServerlessBenchmark:
    return ServerlessBenchmark(Emulated(), [Request(b"{}")])


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("250", "invocations", 250),
        ("[1024, 2048]", "memory_sizes", (1024, 2048)),
        ("False", "include_concurrency", False),
        ("0.25", "backoff", 0.25),
        ("cost", "objective", "cost"),
        ("'cost'", "objective", "cost"),
        ("None", "instance", None),
        ("ml.m5.large", "instance", "ml.m5.large"),
    ],
)
def test_set_changes_a_field(text, name, value):
    """A Python literal becomes its value, any other text a string; the other fields stay the same."""
    changed = apply_overrides(benchmark(), {name: text})
    assert getattr(changed, name) == value
    assert apply_overrides(benchmark(), {}) == benchmark()


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"invocation": "5"}, "invocations"),
        ({"nothing_like_it": "5"}, "its fields are"),
        ({"invocations": "0"}, "at least 1"),
        ({"invocations": "many"}, "."),
        ({"invocations": "1.5"}, "."),
        ({"memory_sizes": "2048"}, "."),
        ({"memory_sizes": "[1500]"}, "1024"),
        ({"multipliers": "x"}, "."),
        ({"max_concurrency": "[201]"}, "200"),
        ({"timeout": "nan"}, "."),
        ({"timeout": "0"}, "."),
        ({"seed": "x"}, "."),
        ({"seed": "-1"}, "."),
        ({"cold_start_delay": "-1"}, "."),
        ({"error_limit": "0"}, "."),
        ({"objective": "best"}, "balanced"),
        ({"target": "somewhere"}, "."),
        ({"requests": "none"}, "."),
        ({"slos": "fast"}, "."),
        ({"think": "'x'"}, "."),
        ({"invocations": "(" * 300}, "."),
    ],
)
def test_set_refuses_invalid_names_and_values(settings, hint):
    """An unknown field and an invalid value are usage errors with a hint."""
    with pytest.raises(UsageError, match=hint):
        apply_overrides(benchmark(), settings)


def test_set_needs_a_dataclass():
    """A scenario that is not a dataclass is refused with the name of its type."""
    with pytest.raises(UsageError, match="got SimpleNamespace"):
        apply_overrides(SimpleNamespace(), {"seed": "1"})

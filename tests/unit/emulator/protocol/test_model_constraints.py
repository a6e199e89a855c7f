"""Every constraint of the service models, on every member of every operation, is enforced by the emulator.

The mutations are derived from botocore's shapes: one constraint of one member is broken in an input that is otherwise
empty, and the refusal must name the member and the constraint. A check that is left out fails here.
"""

import re
from functools import cache

import pytest

from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.protocol.input_validation import validate_input
from loadgen.emulator.protocol.service_models import input_shape
from loadgen.emulator.server import Emulator, EpochClock, Settings

SERVICES = {"SageMaker": "sagemaker", "GraniteServiceVersion20100801": "cloudwatch"}
SERVICES["ServiceQuotasV20190624"] = "service-quotas"
WRONG_TYPES = {
    "string": [7, True, [], {}],
    "boolean": ["true", 1],
    "integer": ["1", 1.5, True, 2**31, -(2**31) - 1],
    "long": ["1", 1.5, True, 2**63],
    "float": ["1", True, 1e300],
    "double": ["1", True, 1e300],
    "timestamp": ["yesterday", 1e299, -1e299, True],
    "list": [{}, "a", 1],
    "map": [[], "a", 1],
    "structure": [[], "a", 1],
}
EXPECTED = {
    "string": "must be a string",
    "boolean": "must be a boolean",
    **dict.fromkeys(("integer", "long"), "must be an integer"),
    **dict.fromkeys(("float", "double"), "must be a number"),
    "timestamp": "must be a timestamp",
    **{kind: f"must be a {kind}" for kind in ("list", "map", "structure")},
}


@cache
def operations():
    emulator = Emulator(Settings(), EpochClock())
    return [(SERVICES[prefix], name) for prefix, (named, _) in emulator._targets.items() for name in named]


def sample(shape):
    """Return a value of a scalar's type, or an empty container."""
    kinds = {"string": "a", "boolean": True, "list": [], "map": {}, "structure": {}}
    return kinds.get(shape.type_name, 1)


def broken(shape):
    """Yield values that break one constraint of a shape, and the text with which a refusal must name it."""
    kind, rules = shape.type_name, shape.metadata
    for value in WRONG_TYPES[kind]:
        yield value, EXPECTED[kind]
    if kind in ("string", "list", "integer", "long"):
        least, most = rules.get("min"), rules.get("max")
        unit = {"string": "a", "list": [sample(shape.member)] if kind == "list" else []}.get(kind)
        noun = "value" if unit is None else "length"
        if least is not None and (least > 0 or unit is None) and least > -(2**31):
            yield (least - 1 if unit is None else unit * (least - 1)), f"have {noun} greater than or equal to {least}"
        if most is not None and most < 100_000:
            yield (most + 1 if unit is None else unit * (most + 1)), f"have {noun} less than or equal to {most}"
    if "enum" in rules:
        yield "no such value", "satisfy enum value set"
    if kind == "string" and re.fullmatch(r"\^?\(?\[a-zA-Z0-9\].*", rules.get("pattern", "")):
        yield "-!-", "satisfy regular expression pattern"


def members(shape, wrap=lambda value: value, path=(), seen=()):
    """Yield (path, shape, a function that puts a value of the member into an input) of all members."""
    if path:
        yield path, shape, wrap
    if shape.name in seen or len(path) > 8:
        return
    seen = (*seen, shape.name)
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield from members(member, lambda value, name=name: wrap({name: value}), (*path, name), seen)
    elif shape.type_name == "list":
        yield from members(shape.member, lambda value: wrap([value]), (*path, 1), seen)
    elif shape.type_name == "map":
        yield from members(shape.value, lambda value: wrap({"A": value}), path, seen)


def missing_members(shape):
    """Yield (path, input) in which a required member of a structure is missing."""
    for path, member, wrap in members(shape):
        if member.type_name == "structure":
            for name in member.required_members:
                yield (*path, name), wrap({})
    for name in shape.required_members:
        yield (name,), {}


def refusal(service, operation, payload):
    """Return the message with which an input is refused, or that it is accepted."""
    try:
        validate_input(service, operation, payload)
    except ServiceError as error:
        return error.message if 400 <= error.status < 500 else f"status {error.status}"
    return "accepted"


def leaf(path):
    return next(step for step in reversed(path) if isinstance(step, str))


@pytest.mark.parametrize(("service", "operation"), operations(), ids=str)
def test_every_broken_constraint_of_every_member_is_refused(service, operation):
    """A wrong type, a length or value out of range, an unknown member of an enumeration and a pattern that does not
    match get a refusal that names the member and what it must satisfy.
    """
    unnamed = []
    for path, shape, wrap in members(input_shape(service, operation)):
        for value, text in broken(shape):
            message = refusal(service, operation, wrap(value))
            # The query services report the first violation only, which may be a required member that is missing.
            is_named = text in message and leaf(path)[1:] in message
            is_earlier = service == "cloudwatch" and "is required" in message
            if not is_named and not is_earlier:
                unnamed.append((path, value, text, message[:200]))
    assert unnamed == []


@pytest.mark.parametrize(("service", "operation"), operations(), ids=str)
def test_every_required_member_is_required(service, operation):
    """Without a required member, at any depth, an input is refused by the member's name."""
    for path, payload in missing_members(input_shape(service, operation)):
        message = refusal(service, operation, payload)
        assert "not be null" in message or "is required" in message
        if service != "cloudwatch":
            assert leaf(path)[1:] in message

"""Load models: validation and shards."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import UsageError
from loadgen.workload.arrivals import even, poisson, trace
from loadgen.workload.load import ClosedLoop, OpenLoop, Uniform
from loadgen.workload.rate import constant, stages


def test_shards_divide_max_in_flight():
    """The `max_in_flight` of the shards add up to that of the whole."""
    load = OpenLoop(even(constant(10)), duration=1, max_in_flight=17)
    assert sum(load.shard(i, 5).max_in_flight for i in range(5)) == 17


@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 12), st.integers(1, 3))
def test_closed_loop_shards_divide_clients_and_requests(clients, requests, count, again):
    """The shards of a closed loop have all its clients and all its requests, each sequence number once."""
    load = ClosedLoop(clients, count=requests)
    parts = [part for i in range(count) if (part := load.shard(i, count)) is not None]
    parts = [deep for part in parts for i in range(again) if (deep := part.shard(i, again)) is not None]
    assert sum(part.clients for part in parts) == clients
    numbers = [n for part in parts for n in itertools.islice(itertools.count(*part.part), part.count)]
    assert sorted(numbers) == list(range(requests))


def test_closed_loop_shards_by_duration_divide_clients():
    """Without a count the clients are divided and the duration stays."""
    parts = [ClosedLoop(5, duration=9).shard(i, 3) for i in range(3)]
    assert [(p.clients, p.count, p.duration) for p in parts] == [(2, None, 9), (2, None, 9), (1, None, 9)]
    assert ClosedLoop(1, duration=9).shard(1, 2) is None


@pytest.mark.parametrize("load", [ClosedLoop(4, count=4), OpenLoop(even(constant(1)), duration=1), even(constant(1))])
@pytest.mark.parametrize(("index", "count"), [(0, 0), (2, 2), (-1, 2), (0, -1)])
def test_an_invalid_shard_is_rejected(load, index, count):
    """A shard requires 0 <= index < count."""
    with pytest.raises(UsageError):
        load.shard(index, count)


def test_numpy_integers_are_accepted():
    """Counts of numpy's integer types work like Python's own."""
    load = ClosedLoop(np.int64(3), count=np.int32(5))
    assert (load.clients, load.count) == (3, 5)


@pytest.mark.parametrize(
    "build",
    [
        lambda: OpenLoop(even(constant(1))),
        lambda: OpenLoop(even(constant(1)), duration=0),
        lambda: OpenLoop(even(constant(1)), duration=math.nan),
        lambda: OpenLoop(even(constant(1)), duration=math.inf),
        lambda: OpenLoop(even(constant(1)), duration=1, max_in_flight=0),
        lambda: OpenLoop(even(constant(1)), duration=1, max_in_flight=math.nan),
        lambda: OpenLoop(even(constant(1)), duration=1, max_in_flight=1.5),
        lambda: ClosedLoop(0, count=1),
        lambda: ClosedLoop(1.5, count=1),
        lambda: ClosedLoop(math.nan, count=1),
        lambda: ClosedLoop(True, count=1),
        lambda: ClosedLoop("4", count=1),
        lambda: ClosedLoop(1),
        lambda: ClosedLoop(1, count=0),
        lambda: ClosedLoop(1, count=2.5),
        lambda: ClosedLoop(1, count=math.nan),
        lambda: ClosedLoop(1, duration=0),
        lambda: ClosedLoop(1, duration=math.inf),
        lambda: ClosedLoop(1, count=1, think=-1),
        lambda: ClosedLoop(1, count=1, backoff=math.nan),
        lambda: ClosedLoop(1, count=1, think=math.inf),
        lambda: ClosedLoop(1, count=1, seed="x"),
        lambda: ClosedLoop(1, count=1, seed=-1),
        lambda: Uniform(2, 1),
        lambda: Uniform(-1, 1),
        lambda: Uniform(math.nan, 1),
        lambda: Uniform(0, math.inf),
    ],
)
def test_an_invalid_value_is_rejected_when_built(build):
    """Each invalid value raises a UsageError where it is created."""
    with pytest.raises(UsageError):
        build()


@pytest.mark.parametrize(
    ("load", "connections"),
    [
        (OpenLoop(even(constant(5)), duration=60), 10),
        (OpenLoop(even(constant(240.5)), duration=60), 241),
        (OpenLoop(even(constant(5000)), duration=60), 1000),
        (OpenLoop(even(stages((60, 20), (60, 300), (60, 0)))), 300),
        (OpenLoop(even(constant(100)), duration=60).shard(0, 4), 25),
        (OpenLoop(poisson(constant(70), seed=1), duration=60), 70),
        (OpenLoop(trace([0, 0.1, 0.2, *[30 + n / 100 for n in range(50)], 60])), 50),
        (OpenLoop(trace([0.0])), 10),
        (OpenLoop(even(constant(100)), duration=60, max_in_flight=3), 3),
        (ClosedLoop(500, count=1000), 500),
    ],
)
def test_a_load_opens_connections_for_its_busiest_second(load, connections):
    """An open loop begins with a connection for each arrival of its busiest second, a closed loop with its clients."""
    assert load.initial_connections == connections

"""The fleet's rules and the ledger, in virtual time: no server, no clock."""

import math
import statistics
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.emulator.behaviour.fleet import Fleet
from loadgen.emulator.behaviour.ledger import EndpointCounters, InvocationResult
from loadgen.emulator.behaviour.profile import PROFILES, Profile, get_profile
from loadgen.errors import UsageError

# One second of work, two of start, no spread: what happens can be worked out by hand.
EXACT = Profile(
    "exact",
    ((1024, 1.0),),
    jitter=0.0,
    overhead=0.0,
    overhead_jitter=0.0,
    cold_start=2.0,
    cold_jitter=0.0,
    memory_used_mb=500,
)


def fleet(profile=EXACT, **changes):
    options = {"memory_mb": 2048, "max_concurrency": 2, "rng": Random(1), "now": 0.0, "idle_lifetime": (300.0, 600.0)}
    return Fleet(profile, **{**options, **changes})


def test_an_endpoint_is_warm_when_it_comes_into_service():
    """The first request is served at once; a second one beside it waits for a new instance; a third is refused."""
    endpoint = fleet()
    first, second, third = endpoint.admit(10.0), endpoint.admit(10.0), endpoint.admit(10.0)
    assert (first.is_cold, first.cold_start_wait, first.completes_at) == (False, 0.0, 11.0)
    assert (second.is_cold, second.cold_start_wait, second.completes_at) == (True, 2.0, 13.0)
    assert third is None


def test_setup_time_is_only_there_when_cold_and_need_not_nest_in_the_hold():
    """ModelSetupTime exceeds the held time by the profile's ratio, as in the one public trace; warm requests have none."""
    endpoint = fleet()
    assert endpoint.admit(0.0).setup_time == 0.0
    assert endpoint.admit(0.0).setup_time == pytest.approx(2.0 * 1.4)


def test_time_scale_shortens_cold_starts_and_never_service():
    """At a scale of 100 a start of 2 s holds for 20 ms and the second of work stays one second."""
    endpoint = fleet(time_scale=100.0)
    endpoint.admit(0.0)
    cold = endpoint.admit(0.0)
    assert (cold.cold_start_wait, cold.model_latency) == (pytest.approx(0.02), 1.0)


def test_a_freed_instance_serves_the_next_request_warm():
    """After the cold one ends, both instances are warm: the next two requests are not held."""
    endpoint = fleet()
    for admission in [endpoint.admit(0.0), endpoint.admit(0.0)]:
        endpoint.release(admission, 5.0)
    assert [endpoint.admit(6.0).is_cold, endpoint.admit(6.0).is_cold] == [False, False]


def test_idle_instances_go_between_five_and_ten_minutes():
    """An instance idle for less than 300 s is there, after 600 s it is gone, and not all go at the same moment."""
    endpoint = fleet(max_concurrency=50)
    admitted = [endpoint.admit(0.0) for _ in range(50)]
    for admission in admitted:
        endpoint.release(admission, 100.0)
    assert endpoint.instance_count(399.0) == 50
    assert 0 < endpoint.instance_count(550.0) < 50
    assert endpoint.instance_count(700.1) == 0
    assert endpoint.admit(701.0).is_cold


def test_a_single_client_keeps_one_instance_and_lets_the_others_go():
    """The instance used last serves first, so a lone client's traffic does not keep a burst's instances alive."""
    endpoint = fleet(max_concurrency=8)
    for admission in [endpoint.admit(0.0) for _ in range(8)]:
        endpoint.release(admission, 10.0)
    for second in range(10, 700, 10):
        admission = endpoint.admit(float(second))
        assert not admission.is_cold
        endpoint.release(admission, second + 1.0)
    assert endpoint.instance_count(700.0) == 1


def test_provisioned_instances_never_go_cold_and_the_rest_spill_over():
    """A day of idleness later two provisioned instances serve at once; a third request starts an on-demand one."""
    endpoint = fleet(max_concurrency=4, provisioned=2)
    admitted = [endpoint.admit(86_400.0) for _ in range(3)]
    assert [a.is_cold for a in admitted] == [False, False, True]
    assert [a.instance.is_provisioned for a in admitted] == [True, True, False]
    assert endpoint.busy_provisioned == 2


def test_more_capacity_takes_effect_and_less_never_cuts_what_is_in_flight():
    """Resizing from 2 to 1 keeps both requests, refuses a third until both are over, and leaves one instance."""
    endpoint = fleet()
    both = [endpoint.admit(0.0), endpoint.admit(0.0)]
    endpoint.resize(1, 0, 0.5)
    assert endpoint.busy == 2
    endpoint.release(both[0], 1.0)
    assert endpoint.admit(1.0) is None
    endpoint.release(both[1], 3.0)
    assert endpoint.instance_count(3.0) == 1
    endpoint.resize(3, 2, 4.0)
    assert [endpoint.admit(4.0).is_cold for _ in range(3)] == [False, False, False]
    assert endpoint.admit(4.0) is None


def test_too_little_memory_ends_in_out_of_memory():
    """A model that needs 1600 MB fails at 1024 MB and is answered at 2048 MB."""
    heavy = replace(EXACT, memory_used_mb=1600)
    assert fleet(heavy, memory_mb=1024).admit(0.0).result is InvocationResult.OUT_OF_MEMORY
    assert fleet(heavy, memory_mb=2048).admit(0.0).result is InvocationResult.SUCCEEDED


def test_a_container_gets_sixty_seconds():
    """A model that takes 61 s is given up after 60, one that takes 59 is answered."""
    over = fleet(replace(EXACT, model_latency=((1024, 61.0),))).admit(0.0)
    assert (over.result, over.completes_at) == (InvocationResult.TIMED_OUT, 60.0)
    assert fleet(replace(EXACT, model_latency=((1024, 59.0),))).admit(0.0).result is InvocationResult.SUCCEEDED


@pytest.mark.parametrize(
    ("profile", "memory_mb", "latency"),
    [
        ("mobilenet-v2", 1024, 0.205),
        ("mobilenet-v2", 2048, 0.102),
        ("mobilenet-v2", 3072, 0.092),
        ("mobilenet-v2", 6144, 0.092),
        ("xgboost", 1024, 0.008),
        ("huggingface", 2048, 0.600),
        ("huggingface", 6144, 0.250),
    ],
)
def test_the_endpoints_latency_is_the_published_one(profile, memory_mb, latency):
    """Over 20,000 warm requests the mean of model plus overhead is the stated figure within 1 %, with some spread."""
    endpoint = fleet(PROFILES[profile], memory_mb=memory_mb)
    taken = []
    for _ in range(20_000):
        admission = endpoint.admit(0.0)
        endpoint.release(admission, 0.0)
        taken.append(admission.overhead + admission.model_latency)
    assert statistics.fmean(taken) == pytest.approx(latency, rel=0.01)
    assert 0.0 < statistics.stdev(taken) < 0.15 * latency


def test_the_same_seed_makes_the_same_run():
    """Two fleets with one seed decide alike, and another seed decides otherwise."""

    def run(seed):
        endpoint = fleet(PROFILES["xgboost"], rng=Random(seed))
        return [endpoint.admit(0.0).completes_at for _ in range(2)]

    assert run(7) == run(7) != run(8)


def test_an_unknown_profile_is_refused_with_the_names_there_are():
    """The error names what was asked for and what there is."""
    with pytest.raises(UsageError, match=r"no profile named 'resnet'.*mobilenet-v2"):
        get_profile("resnet")


@pytest.mark.parametrize("rows", [(), ((2048, 1.0), (1024, 2.0)), ((1024, -1.0),)])
def test_a_profile_checks_its_figures(rows):
    """No rows, rows out of order and a negative duration are refused when the profile is made."""
    with pytest.raises(UsageError):
        Profile("wrong", rows)


@st.composite
def _arrivals(draw):
    gaps = draw(st.lists(st.one_of(st.floats(0, 3), st.floats(0, 700)), min_size=1, max_size=60))
    instants, now = [], 0.0
    for gap in gaps:
        now += gap
        instants.append(now)
    return instants


@given(
    arrivals=_arrivals(),
    max_concurrency=st.integers(1, 5),
    provisioned=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_the_slot_rules_hold_for_any_arrivals(arrivals, max_concurrency, provisioned, seed):
    """A reference that only keeps intervals agrees: refused exactly at capacity, one request at a time for each
    instance, cold only when every instance that stands is busy, and every arrival admitted or refused once.
    """
    provisioned = min(provisioned, max_concurrency)
    jittery = replace(EXACT, jitter=0.5, cold_jitter=0.3)
    endpoint = fleet(jittery, max_concurrency=max_concurrency, provisioned=provisioned, rng=Random(seed))
    flying, books = [], EndpointCounters()
    last_end = {}
    for now in arrivals:
        for admission in sorted((a for a in flying if a.completes_at <= now), key=lambda a: a.completes_at):
            endpoint.release(admission, admission.completes_at)
            flying.remove(admission)
            books.ok += 1
        standing = endpoint.instance_count(now)
        admission = endpoint.admit(now)
        books.arrivals += 1
        assert (admission is None) == (len(flying) == max_concurrency)
        if admission is None:
            books.throttled += 1
        else:
            assert admission.is_cold == (standing == len(flying))
            assert last_end.get(id(admission.instance), (None, 0.0))[1] <= now
            last_end[id(admission.instance)] = (admission.instance, admission.completes_at)
            flying.append(admission)
            books.cold += admission.is_cold
        assert endpoint.busy == len(flying) == books.in_flight
        assert endpoint.instance_count(now) <= max_concurrency
        assert endpoint.busy_provisioned == sum(a.instance.is_provisioned for a in flying) <= provisioned


@given(
    st.lists(st.sampled_from(["ok", "throttled", "disconnected", "ModelError", "cut"]), max_size=50), st.integers(0, 9)
)
def test_the_books_always_balance(endings, pending):
    """Arrivals equal the sum of what ended and what is in flight, in the figures that are served."""
    books = EndpointCounters()
    books.arrivals = len(endings) + pending
    for ending in endings:
        if ending in ("ok", "throttled", "disconnected"):
            setattr(books, ending, getattr(books, ending) + 1)
        else:
            books.failed[ending] += 1
    shown = books.to_dict()
    assert shown["in_flight"] == pending
    assert shown["failed"] == sum(shown["failed_by_code"].values())
    parts = ("ok", "throttled", "failed", "disconnected", "in_flight")
    assert shown["arrivals"] == math.fsum(shown[part] for part in parts)

"""The fleet's rules in virtual time."""

import statistics
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.emulator.behaviour.fleet import Fleet
from loadgen.emulator.behaviour.ledger import EndpointCounters, InvocationResult
from loadgen.emulator.behaviour.profile import PROFILES, Profile

# One second per request, two per cold start, no jitter: expected values can be computed by hand.
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
    """The first request is served at once, a concurrent second one waits for a new instance, a third is throttled."""
    endpoint = fleet()
    first, second, third = endpoint.admit(10.0), endpoint.admit(10.0), endpoint.admit(10.0)
    assert (first.is_cold, first.cold_start_wait, first.completes_at) == (False, 0.0, 11.0)
    assert (second.is_cold, second.cold_start_wait, second.completes_at) == (True, 2.0, 13.0)
    assert third is None


def test_setup_time_is_a_ratio_of_the_cold_start_wait():
    """ModelSetupTime is 1.4 times the wait, as in the one public trace; 0 for warm requests."""
    endpoint = fleet()
    assert endpoint.admit(0.0).setup_time == 0.0
    assert endpoint.admit(0.0).setup_time == pytest.approx(2.0 * 1.4)


def test_time_scale_shortens_cold_starts_and_never_service():
    """At a scale of 100 a cold start of 2 s takes 20 ms; the model latency stays one second."""
    endpoint = fleet(time_scale=100.0)
    endpoint.admit(0.0)
    cold = endpoint.admit(0.0)
    assert (cold.cold_start_wait, cold.model_latency) == (pytest.approx(0.02), 1.0)


def test_a_freed_instance_serves_the_next_request_warm():
    """After both requests have ended, both instances are warm: the next two requests are not held."""
    endpoint = fleet()
    for admission in [endpoint.admit(0.0), endpoint.admit(0.0)]:
        endpoint.release(admission, 5.0)
    assert [endpoint.admit(6.0).is_cold, endpoint.admit(6.0).is_cold] == [False, False]


def test_idle_instances_expire_between_five_and_ten_minutes():
    """50 idle instances all exist after 299 s and none after 600 s; they do not expire at the same instant."""
    endpoint = fleet(max_concurrency=50)
    admitted = [endpoint.admit(0.0) for _ in range(50)]
    for admission in admitted:
        endpoint.release(admission, 100.0)
    assert endpoint.instance_count(399.0) == 50
    assert 0 < endpoint.instance_count(550.0) < 50
    assert endpoint.instance_count(700.1) == 0
    assert endpoint.admit(701.0).is_cold


def test_sequential_requests_keep_one_instance_warm():
    """The instance used last serves first, so that sequential requests do not keep a burst's instances warm."""
    endpoint = fleet(max_concurrency=8)
    for admission in [endpoint.admit(0.0) for _ in range(8)]:
        endpoint.release(admission, 10.0)
    for second in range(10, 700, 10):
        admission = endpoint.admit(float(second))
        assert not admission.is_cold
        endpoint.release(admission, second + 1.0)
    assert endpoint.instance_count(700.0) == 1


def test_provisioned_instances_do_not_expire_and_others_spill_over():
    """After an idle day two provisioned instances serve at once; a third request starts an on-demand instance."""
    endpoint = fleet(max_concurrency=4, provisioned=2)
    admitted = [endpoint.admit(86_400.0) for _ in range(3)]
    assert [a.is_cold for a in admitted] == [False, False, True]
    assert [a.instance.is_provisioned for a in admitted] == [True, True, False]
    assert endpoint.busy_provisioned == 2


def test_resizing_keeps_requests_in_flight():
    """Resizing from 2 to 1 keeps both requests, throttles a third until both have ended, and leaves one instance."""
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


def test_too_little_memory_is_out_of_memory():
    """A model that needs 1600 MB fails at 1024 MB and succeeds at 2048 MB."""
    heavy = replace(EXACT, memory_used_mb=1600)
    assert fleet(heavy, memory_mb=1024).admit(0.0).result is InvocationResult.OUT_OF_MEMORY
    assert fleet(heavy, memory_mb=2048).admit(0.0).result is InvocationResult.SUCCEEDED


def test_a_request_times_out_after_sixty_seconds():
    """A model latency of 61 s times out at 60 s; one of 59 s succeeds."""
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
def test_mean_latencies_are_the_published_ones(profile, memory_mb, latency):
    """Over 20,000 warm requests the mean of model latency plus overhead is the published figure within 1 %."""
    endpoint = fleet(PROFILES[profile], memory_mb=memory_mb)
    taken = []
    for _ in range(20_000):
        admission = endpoint.admit(0.0)
        endpoint.release(admission, 0.0)
        taken.append(admission.overhead + admission.model_latency)
    assert statistics.fmean(taken) == pytest.approx(latency, rel=0.01)
    assert 0.0 < statistics.stdev(taken) < 0.15 * latency


def test_a_seed_reproduces_the_draws():
    """Two fleets with one seed draw the same durations; another seed draws others."""

    def run(seed):
        endpoint = fleet(PROFILES["xgboost"], rng=Random(seed))
        return [endpoint.admit(0.0).completes_at for _ in range(2)]

    assert run(7) == run(7) != run(8)


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
    """A reference that only keeps intervals agrees: throttled exactly at capacity, one request at a time per instance,
    cold only if every instance is busy, and every arrival admitted or throttled once.
    """
    provisioned = min(provisioned, max_concurrency)
    jittery = replace(EXACT, jitter=0.5, cold_jitter=0.3)
    endpoint = fleet(jittery, max_concurrency=max_concurrency, provisioned=provisioned, rng=Random(seed))
    in_flight, counters = [], EndpointCounters()
    last_end = {}
    for now in arrivals:
        for admission in sorted((a for a in in_flight if a.completes_at <= now), key=lambda a: a.completes_at):
            endpoint.release(admission, admission.completes_at)
            in_flight.remove(admission)
            counters.ok += 1
        instances = endpoint.instance_count(now)
        admission = endpoint.admit(now)
        counters.arrivals += 1
        assert (admission is None) == (len(in_flight) == max_concurrency)
        if admission is None:
            counters.throttled += 1
        else:
            assert admission.is_cold == (instances == len(in_flight))
            assert last_end.get(id(admission.instance), (None, 0.0))[1] <= now
            last_end[id(admission.instance)] = (admission.instance, admission.completes_at)
            in_flight.append(admission)
            counters.cold += admission.is_cold
        assert endpoint.busy == len(in_flight) == counters.in_flight
        assert endpoint.instance_count(now) <= max_concurrency
        assert endpoint.busy_provisioned == sum(a.instance.is_provisioned for a in in_flight) <= provisioned

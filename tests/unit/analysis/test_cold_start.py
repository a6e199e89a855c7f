"""Telling cold calls from warm ones, against simulations that know which were cold."""

import heapq
import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.analysis.cold_start import ColdStartLabels, StartLabel, label_cold_starts
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import SAMPLE
from loadgen.workload.arrivals import trace
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support import example_runs as made
from tests.support.fleet_samples import sample_record


def fleet(
    sends,
    *,
    slots,
    warm=1,
    service=0.1,
    spread=0.15,
    separation=5.0,
    idle=300.0,
    network=0.004,
    clients=None,
    calls=0,
    backoff=0.1,
    seed=0,
):
    """Simulate instances one event at a time: arrivals travel, may overtake, take the instance used last, or start one.

    `sends` are instants of an open loop, or empty for `clients` that call `calls` times in all.
    Returns (samples, was_cold) in the order of the samples' completion.
    """
    rng = random.Random(seed)
    events, ticket = [], itertools.count()
    for at in sends if clients is None else [0.0005 * i for i in range(clients)]:
        heapq.heappush(events, (at + rng.uniform(0.2, 1) * network / 2, next(ticket), "arrive", at, None))
    asked = len(events)
    parked = [0.0] * min(warm, slots)  # when each idle instance became idle; the last used is at the end
    busy, rows = 0, []
    while events:
        now, _, kind, sent, row = heapq.heappop(events)
        if kind == "leave":
            busy -= 1
            parked.append(now)
            continue
        if kind == "done":
            rows.append(row)
            if clients is not None and asked < calls:
                asked += 1
                again = now + (backoff if row[0] == Outcome.THROTTLED else 0.0002)
                heapq.heappush(events, (again + rng.uniform(0.2, 1) * network / 2, next(ticket), "arrive", again, None))
            continue
        parked = [since for since in parked if now - since < idle]
        is_cold, outcome, left = False, Outcome.OK, now
        if parked:
            parked.pop()
        elif busy < slots:
            is_cold = True
        else:
            outcome = Outcome.THROTTLED
        if outcome is Outcome.OK:
            busy += 1
            typical = service * separation if is_cold else service
            left = now + typical * math.exp(spread * rng.gauss(0, 1))
            heapq.heappush(events, (left, next(ticket), "leave", 0.0, None))
        back = left + rng.uniform(0.2, 1) * network / 2
        heapq.heappush(events, (back, next(ticket), "done", sent, (outcome, sent, back, is_cold)))
    samples = np.zeros(len(rows), SAMPLE)
    for i, (outcome, sent, done, _) in enumerate(rows):
        samples[i] = sample_record(i, sent, sent, done, outcome)
    return samples, np.array([row[3] for row in rows], bool)


def run_of(samples, *, slots, clients=None, metrics=None):
    """Return the run of a simulation; nothing in it knows which calls were cold."""
    load = ClosedLoop(clients, count=max(1, len(samples))) if clients else OpenLoop(trace(samples["sent"].tolist()))
    return made.run_of_samples(
        Step(ServerlessConfig(2048, slots), load), samples, metrics=metrics or CloudWatchMetrics()
    )


def score(labels, truth):
    """Return (precision, recall) of the label COLD."""
    said = labels == StartLabel.COLD
    hit = np.count_nonzero(said & truth)
    return hit / max(1, np.count_nonzero(said)), hit / max(1, np.count_nonzero(truth))


def closed(clients, slots, seed, **options):
    samples, truth = fleet((), slots=slots, clients=clients, calls=60 * clients, seed=seed, **options)
    return run_of(samples, slots=slots, clients=clients), truth


def poisson(rate, seconds, seed):
    rng = random.Random(seed)
    at, sends = 0.0, []
    while (at := at + rng.expovariate(rate)) < seconds:
        sends.append(at)
    return sends


def pooled(runs):
    """Return precision and recall over several runs together: a single one has few cold calls."""
    labels = np.concatenate([label_cold_starts(run).labels for run, _ in runs])
    return score(labels, np.concatenate([truth for _, truth in runs]))


@pytest.mark.parametrize("clients", [1, 2, 6, 16])
def test_cold_calls_of_a_closed_loop_are_detected(clients):
    """At five times the warm latency, recall and precision of the label cold are 95 %."""
    runs = [closed(clients, max(1, clients - clients // 3), seed, warm=seed % 2) for seed in range(12)]

    precision, recall = pooled(runs)

    assert sum(truth.sum() for _, truth in runs) >= 6
    assert precision >= 0.95
    assert recall >= 0.95


@pytest.mark.parametrize(("rate", "slots"), [(2, 4), (20, 8), (60, 20), (200, 60)])
def test_cold_calls_of_an_open_loop_are_detected(rate, slots):
    """The same holds in an open loop from 2 to 200 calls/s, where calls overtake each other."""
    runs = []
    for seed in range(8):
        samples, truth = fleet(poisson(rate, 40, seed), slots=slots, seed=seed)
        runs.append((run_of(samples, slots=slots), truth))

    precision, recall = pooled(runs)

    assert sum(truth.sum() for _, truth in runs) >= 8
    assert precision >= 0.95
    assert recall >= 0.95


def test_cold_calls_after_an_idle_period_are_detected():
    """A burst, ten idle minutes and the same burst: the cold calls of the second one are detected."""
    burst = [0.01 * i for i in range(200)]
    runs = []
    for seed in range(6):
        samples, truth = fleet([*burst, *(600 + at for at in burst)], slots=30, seed=seed)
        runs.append((run_of(samples, slots=30), truth))

    precision, recall = pooled(runs)

    assert all(truth[run.samples["sent"] > 599].sum() >= 5 for run, truth in runs)
    assert precision >= 0.95
    assert recall >= 0.95


def test_slow_calls_that_needed_no_instance_are_warm():
    """Later calls of a single client cannot be cold, however slow they are."""
    samples, _ = fleet((), slots=1, clients=1, calls=300, separation=1.0)
    slow = samples["seq"] % 50 == 20
    samples["done"][slow] += 3.0
    order = np.argsort(samples["done"])
    shift = np.cumsum(slow) * 3.0 - slow * 3.0
    samples["sent"] += shift
    samples["done"] += shift

    labels = label_cold_starts(run_of(samples[order], slots=1, clients=1)).labels

    assert np.count_nonzero(slow) == 6
    assert (labels == StartLabel.WARM).sum() >= 299
    assert not (labels == StartLabel.COLD).any()


def test_a_fast_first_call_is_warm():
    """The first calls of a warm endpoint are warm although they could be cold."""
    runs = [closed(8, 8, seed, warm=8) for seed in range(5)]

    labels = np.concatenate([label_cold_starts(run).labels for run, _ in runs])

    assert not any(truth.any() for _, truth in runs)
    assert np.count_nonzero(labels == StartLabel.COLD) == 0
    assert np.count_nonzero(labels == StartLabel.UNKNOWN) <= 0.01 * labels.size


def calls_of(*spans):
    """Return the samples of calls that were sent and done at these instants."""
    rows = [sample_record(i, sent, sent, done) for i, (sent, done) in enumerate(sorted(spans))]
    samples = np.array(rows, dtype=SAMPLE)
    return samples[np.argsort(samples["done"], kind="stable")]


def test_network_overlap_is_not_a_second_instance():
    """A response still in the network when the next call is sent does not count as a second instance."""
    chain = [(0.0995 * i, 0.0995 * i + 0.1) for i in range(40)]  # each is sent half a millisecond before the last is in
    pair = [(5.0, 5.1), (5.02, 7.0)]

    run = run_of(calls_of(*chain, *pair), slots=2, clients=2)

    cold = run.samples["sent"][label_cold_starts(run).labels == StartLabel.COLD]
    assert cold.tolist() == [5.02]


@pytest.mark.parametrize("spread", [0.02, 0.3])
def test_a_dense_stream_of_warm_calls_is_warm(spread):
    """At 1,000 calls/s any call may have needed an instance; at most one in a thousand is labelled cold."""
    sends = [i / 1000 for i in range(6000)]
    samples, truth = fleet(sends, slots=200, warm=200, spread=spread)

    starts = label_cold_starts(run_of(samples, slots=200))

    assert not truth.any()
    assert starts.count(StartLabel.COLD) <= 0.001 * len(samples)
    assert starts.count(StartLabel.WARM) >= 0.99 * len(samples)


def test_instances_expire_after_the_idle_time():
    """After 10 s two concurrent calls reuse both instances; after a minute a slow call can be cold."""
    singles = [(0.2 * i + 1, 0.2 * i + 1.1) for i in range(40)]
    pair = [(0.0, 0.1), (0.03, 0.13)]

    soon = run_of(calls_of(*pair, *singles, (10.0, 10.1), (10.03, 12.0)), slots=2, clients=2)
    late = run_of(calls_of(*pair, *singles, (70.0, 70.1), (70.03, 72.0)), slots=2, clients=2)

    assert label_cold_starts(soon).count(StartLabel.COLD) == 0
    assert label_cold_starts(late).count(StartLabel.COLD) == 1


def test_a_moderately_slow_possible_cold_call_is_unknown():
    """Below twice the warm latency a call that can be cold is unknown."""
    samples, _ = fleet((), slots=1, clients=1, calls=100, spread=0.05, separation=1.0)
    samples["sent"][0] -= 0.07  # the first call took 1.7 times as long

    starts = label_cold_starts(run_of(samples, slots=1, clients=1))

    assert starts.labels[0] == StartLabel.UNKNOWN
    assert starts.count(StartLabel.WARM) == 99


def test_a_small_gap_suffices_if_warm_calls_are_close():
    """With a spread of 5 %, cold calls at 2.5 times the warm latency are detected."""
    runs = [closed(6, 6, seed, spread=0.05, separation=2.5) for seed in range(6)]

    precision, recall = pooled(runs)

    assert precision >= 0.95
    assert recall >= 0.95


@pytest.mark.parametrize("cold", [0, 1])
def test_a_single_call_is_unknown(cold):
    """A single call has no reference; CloudWatch's count resolves it."""
    run = made.stability_run(count=1, cold=cold)

    assert label_cold_starts(replace(run, metrics=made.NO_METRICS)).labels.tolist() == [StartLabel.UNKNOWN]
    assert label_cold_starts(run).labels.tolist() == [[StartLabel.WARM, StartLabel.COLD][cold]]


def test_few_calls_are_labelled_by_the_largest_gap():
    """Of eight clients with one call each, the seven cold calls are detected by the gap in their latencies."""
    run = made.concurrency_run(8, 8, count=8)

    assert run.server_counts["cold"] == 7
    assert label_cold_starts(replace(run, metrics=made.NO_METRICS)).count(StartLabel.COLD) == 7


def test_throttled_and_unanswered_calls_have_no_label():
    """Throttles, drops and network failures are neither cold nor warm."""
    run = made.concurrency_run(2, 4)
    samples = run.samples.copy()
    samples["outcome"][-3:] = [Outcome.RESET, Outcome.TIMEOUT_TTFB, Outcome.DROPPED]
    samples["sent"][-1] = np.nan

    labels = label_cold_starts(replace(run, samples=samples)).labels

    served = samples["outcome"] == Outcome.OK
    assert (labels[~served] == StartLabel.NOT_SERVED).all()
    assert (labels[served] != StartLabel.NOT_SERVED).all()


def test_cloudwatch_is_compared_with_the_labels():
    """The labels do not depend on CloudWatch's count; whether they agree is reported, None without a count."""
    run = made.concurrency_run(4, 4)
    setup = run.metrics.values["ModelSetupTime"]
    wrong = replace(run.metrics, values={**run.metrics.values, "ModelSetupTime": replace(setup, sample_count=90.0)})

    assert label_cold_starts(run).is_consistent is True
    assert label_cold_starts(replace(run, metrics=wrong)).is_consistent is False
    assert label_cold_starts(replace(run, metrics=wrong)).count(StartLabel.COLD) == 3
    assert label_cold_starts(replace(run, metrics=made.NO_METRICS)).is_consistent is None


def test_a_shared_cloudwatch_minute_is_not_compared():
    """If CloudWatch counted more calls than were sent, its cold starts are not compared."""
    run = made.concurrency_run(4, 4)
    more = replace(run.metrics.values["Invocations"], total=320.0)

    shared = replace(run, metrics=replace(run.metrics, values={**run.metrics.values, "Invocations": more}))

    assert label_cold_starts(run).cloudwatch_cold_starts == 3
    assert label_cold_starts(shared).cloudwatch_cold_starts is None
    assert label_cold_starts(shared).is_consistent is None


def test_a_run_without_samples_has_no_labels():
    """Without samples there are no labels."""
    starts = label_cold_starts(made.zero_samples())

    assert isinstance(starts, ColdStartLabels)
    assert starts.labels.size == 0
    assert starts.is_consistent is None


@settings(max_examples=40, deadline=None)
@given(
    gaps=st.lists(st.floats(0, 5, allow_nan=False), min_size=1, max_size=60),
    latencies=st.lists(st.floats(1e-6, 60, allow_nan=False), min_size=60, max_size=60),
    outcomes=st.lists(st.sampled_from([Outcome.OK, Outcome.THROTTLED, Outcome.MODEL_ERROR]), min_size=60, max_size=60),
    slots=st.integers(1, 5),
)
def test_every_sample_has_one_label(gaps, latencies, outcomes, slots):
    """Every sample has one label, and only served calls are cold, warm or unknown."""
    sent = np.cumsum(gaps)
    samples = np.array(
        [sample_record(i, s, s, s + latencies[i], outcomes[i]) for i, s in enumerate(sent.tolist())], dtype=SAMPLE
    )
    samples = samples[np.argsort(samples["done"], kind="stable")]

    labels = label_cold_starts(run_of(samples, slots=slots)).labels

    refused = samples["outcome"] == Outcome.THROTTLED
    assert labels.shape == samples.shape
    assert ((labels == StartLabel.NOT_SERVED) == refused).all()


def idle_between_calls(count, *, cloudwatch):
    """Return a run of one client that thinks for 15 minutes: every call of 6 s is cold."""
    samples = np.zeros(count, SAMPLE)
    samples["seq"], samples["scheduled"] = np.arange(count), 900.0 * np.arange(count)
    samples["sent"] = samples["scheduled"]
    samples["done"] = samples["sent"] + 6 * np.random.default_rng(count).lognormal(0, 0.12, count)
    run = made.run_of_samples(Step(ServerlessConfig(2048), ClosedLoop(1, count=count)), samples)
    setup = made.metric("ModelSetupTime", np.full(count, 8.4e6))
    return replace(run, metrics=CloudWatchMetrics({"ModelSetupTime": setup} if cloudwatch else {}, {}, True))


@pytest.mark.parametrize("count", [5, 12, 20, 60, 500])
def test_calls_that_may_all_be_cold_are_never_warm(count):
    """Every call was cold: the client cannot tell, and says unknown; with CloudWatch's count all of them are cold."""
    alone = label_cold_starts(idle_between_calls(count, cloudwatch=False))
    counted = label_cold_starts(idle_between_calls(count, cloudwatch=True))

    assert alone.count(StartLabel.UNKNOWN) == count
    assert counted.count(StartLabel.COLD) == count
    assert counted.is_consistent


@pytest.mark.parametrize("warm", ["sigma 1", "two kinds of calls"])
@pytest.mark.parametrize("cold_count", [None, 8])
def test_cold_calls_within_a_long_tail_are_not_warm(warm, cold_count):
    """Cold calls that are slower by five warm means, hidden in the tail: unknown without CloudWatch, cold with its count."""
    random = np.random.default_rng(5)
    tail = (
        random.lognormal(np.log(0.1), 1.0, 800) if warm == "sigma 1" else random.choice([0.1, 1.0], 800, p=[0.8, 0.2])
    )
    samples = np.zeros(800, SAMPLE)
    rounds = np.arange(800) // 8  # 8 clients that call in rounds; the calls of the first round are cold
    latency = tail + np.where(rounds == 0, 0.5, 0)
    samples["seq"] = np.arange(800)
    samples["sent"] = samples["scheduled"] = rounds * 20.0
    samples["done"] = samples["sent"] + latency
    run = made.run_of_samples(Step(ServerlessConfig(2048, 8), ClosedLoop(8, count=800)), samples)
    values = {} if cold_count is None else {"ModelSetupTime": made.metric("ModelSetupTime", np.full(cold_count, 8.4e6))}

    starts = label_cold_starts(replace(run, metrics=CloudWatchMetrics(values, {}, bool(values))))

    assert np.count_nonzero(starts.labels[:8] == StartLabel.WARM) == 0
    assert np.count_nonzero(starts.labels[8:] == StartLabel.COLD) == 0
    if cold_count:
        assert starts.count(StartLabel.COLD) == 8


@pytest.mark.parametrize(("counted", "cold", "unknown"), [(1, 1, 0), (0, 0, 1), (4, 1, 0)])
def test_the_count_of_cloudwatch_stands(counted, cold, unknown):
    """One clearly cold call. CloudWatch counted none: it is unknown; 4: no other call can have been cold, as is said."""
    run = made.stability_run(cold=1)
    setup = {"ModelSetupTime": made.metric("ModelSetupTime", np.full(counted, 6e6))} if counted else {}
    others = {name: value for name, value in run.metrics.values.items() if name != "ModelSetupTime"}
    run = replace(run, metrics=CloudWatchMetrics(others | setup, {}, True))

    starts = label_cold_starts(run)

    assert (starts.count(StartLabel.COLD), starts.count(StartLabel.UNKNOWN)) == (cold, unknown)
    assert starts.is_consistent == (counted == 1)

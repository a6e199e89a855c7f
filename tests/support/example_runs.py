"""Example runs for tests: every situation that a report must handle, without an engine or a target.

Each function simulates a serverless endpoint (fleet_samples.py) with a seed. Server-side counts and CloudWatch metrics
come from the simulation, not from the code under test.

    stability_runs()         six memory sizes of an image classifier, with CloudWatch metrics
    concurrency_runs()        cells of MaxConcurrency x clients; some are throttled
    benchmark_runs()        both, as a whole benchmark makes them
    failed_deploy()        the endpoint never came into service
    all_failed()           every call is a ModelError
    out_of_memory()        stopped at its error limit
    zero_samples()         stopped before the first call
    one_sample()           a single call
    open_loop()            an open loop, optionally with dropped requests
    without_metrics()      a run without CloudWatch metrics
    starved()              the generator was saturated
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.cloudwatch_metrics import UNITS, CloudWatchMetric, CloudWatchMetrics
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome, OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.sample import SAMPLE, WARMUP, ErrorCode, checksum
from loadgen.measurement.tally import Tally
from loadgen.workload.arrivals import even
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import ErrorLimit, Step
from tests.support.fleet_samples import Simulation, simulate

STARTED = 1_793_534_400.0  # 2026-11-01 12:00:00 UTC
# The published example's endpoint latency in seconds: 102 ms at 2048 MB, 92 ms at 3072 MB, flat above.
SERVICE = {1024: 0.198, 2048: 0.102, 3072: 0.092, 4096: 0.092, 5120: 0.0915, 6144: 0.0915}

_MESSAGES = {
    Outcome.THROTTLED: ("ThrottlingException", 400, ""),
    Outcome.MODEL_ERROR: ("ModelError", 424, 'Received server error (500) from primary: "division by zero"'),
    Outcome.MODEL_OOM: ("ModelError", 424, "Received server error (500) from primary: memory utilization is high"),
    Outcome.SERVER_5XX: ("InternalFailure", 500, "An internal error occurred"),
    Outcome.RESET: ("ConnectionResetError", 0, "the peer closed the connection"),
    Outcome.TIMEOUT_TTFB: ("read timeout", 0, "no answer within 300 s"),
}


def run_of_samples(step: Step, samples: NDArray[np.void], **fields: object) -> Run:
    """Return the run that the engine would make of these samples."""
    samples = samples.copy()
    samples["check"] = checksum(samples) if len(samples) else 0
    tally = Tally()
    tally.record_samples(samples, with_response=isinstance(step.load, OpenLoop))
    duration = float(samples["done"].max()) if len(samples) else 0.0
    counted = samples[(samples["flags"] & WARMUP) == 0]
    windows = np.zeros((max(1, math.ceil(duration)), len(COMPLETED_CATEGORIES)), dtype=np.int64)
    for record in counted:
        column = Outcome(int(record["outcome"])).category
        if column in COMPLETED_CATEGORIES:
            windows[min(int(record["done"]), len(windows) - 1), COMPLETED_CATEGORIES.index(column)] += 1
    codes = {
        int(r["code"]): ErrorCode(int(r["code"]), Outcome(int(r["outcome"])), *_MESSAGES[Outcome(int(r["outcome"]))])
        for r in samples[samples["code"] > 0]
    }
    sent = samples["sent"][~np.isnan(samples["sent"])]
    lag = np.sort((samples["sent"] - samples["scheduled"])[~np.isnan(samples["sent"])])
    stats = GeneratorStats(
        cpu_share=0.07,
        loop_lag_p99=0.0011,
        loop_lag_max=0.0063,
        send_lag_p50=float(lag[len(lag) // 2]) if lag.size else 0.0,
        send_lag_p99=float(lag[int(0.99 * (len(lag) - 1))]) if lag.size else 0.0,
        send_lag_max=float(lag[-1]) if lag.size else 0.0,
        gc_pauses=1,
        gc_pause_max=0.0021,
        dropped=int(np.count_nonzero(samples["outcome"] == Outcome.DROPPED)),
        target_rate=len(samples) / (step.load.duration or 1.0) if isinstance(step.load, OpenLoop) else 0.0,
        achieved_rate=sent.size / duration if duration else 0.0,
    )
    given: dict[str, Any] = {
        "started": STARTED,
        "duration": duration,
        "stop_reason": "schedule" if isinstance(step.load, OpenLoop) else "count",
        "scheduled": len(samples),
        "tally": tally,
        "window_counts": windows,
        "measurement_start": float(counted["scheduled"].min()) if len(counted) and len(counted) < len(samples) else 0.0,
        "error_codes": tuple(codes[number] for number in sorted(codes)),
        "generator_stats": stats,
        "samples": samples,
        "endpoint": f"loadgen-k3v9q2-{step.config.memory_mb}-{step.config.max_concurrency}" if step.config else "mine",
        "deploy_duration": 131.4,
        "transport": "wire",
    }
    return Run(step=step, **(given | fields))


def server_counts(simulation: Simulation) -> dict[str, int]:
    """Return the server-side counts of a simulation."""
    reached = simulation.samples[~np.isnan(simulation.samples["sent"])]
    columns = [Outcome(int(o)).category for o in reached["outcome"]]
    return {
        "arrivals": len(reached),
        "ok": columns.count(OutcomeCategory.OK),
        "throttled": columns.count(OutcomeCategory.THROTTLED),
        "failed": columns.count(OutcomeCategory.FAILED),
        "cold": int(simulation.cold.sum()),
    }


def cloudwatch_metrics(simulation: Simulation, *, memory_percent: float = 41.0) -> CloudWatchMetrics:
    """Return the CloudWatch metrics of a simulation."""
    reached = ~np.isnan(simulation.model)
    micro = {
        "ModelLatency": simulation.model[reached] * 1e6,
        "OverheadLatency": simulation.overhead[reached] * 1e6,
        "ModelSetupTime": simulation.overhead[simulation.cold] * 0.9e6,
    }
    columns = np.array([Outcome(int(o)).category for o in simulation.samples["outcome"]])
    failed = (columns[reached] == OutcomeCategory.FAILED).astype(float)
    micro |= {
        "MemoryUtilization": memory_percent + np.linspace(0, 4, 6),
        "Invocations": np.ones(int(reached.sum())),
        "Invocation4XXErrors": np.zeros(int(reached.sum())),
        "Invocation5XXErrors": failed,
    }
    values = {name: metric(name, column) for name, column in micro.items() if column.size}
    missing = {name: "CloudWatch has no datapoints for it" for name in UNITS if name not in values}
    if "ModelSetupTime" in missing:
        missing["ModelSetupTime"] = "no cold start was recorded"
    return CloudWatchMetrics(values=values, unavailable=missing, is_final=True, publish_delay=72.0)


def metric(name: str, column: NDArray[np.float64]) -> CloudWatchMetric:
    """Return the metric of observations in CloudWatch's unit."""
    return CloudWatchMetric(
        name,
        UNITS[name],
        sample_count=float(column.size),
        total=float(column.sum()),
        average=float(column.mean()),
        minimum=float(column.min()),
        maximum=float(column.max()),
        percentiles={f"p{q:g}": float(np.percentile(column, q)) for q in (25, 50, 75, 90, 95, 99)},
        timestamp=STARTED,
    )


NO_METRICS = CloudWatchMetrics(
    unavailable=dict.fromkeys(UNITS, "AccessDenied: cloudwatch:GetMetricData is not allowed")
)


def stability_step(memory_mb: int, count: int = 200) -> Step:
    """Return a step as the stability benchmark makes it."""
    return Step(
        ServerlessConfig(memory_mb),
        ClosedLoop(1, count=count),
        name=f"stability-{memory_mb}",
        phase="stability",
        error_limit=ErrorLimit(count=3),
    )


def stability_run(memory_mb: int = 2048, count: int = 200, *, cold: int = 0, seed: int = 0) -> Run:
    """Return a healthy run of one memory size; with `cold=1` its first call is cold."""
    made = simulate(count=count, service=SERVICE[memory_mb], warm=1 - cold, seed=seed + memory_mb)
    step = stability_step(memory_mb, count)
    percent = 41.0 * 2048 / memory_mb
    return run_of_samples(
        step,
        made.samples,
        metrics=cloudwatch_metrics(made, memory_percent=percent),
        server_counts=server_counts(made),
        started=STARTED,
    )


def stability_runs(count: int = 200, *, cold: int = 0, seed: int = 0) -> tuple[Run, ...]:
    """Return a healthy stability benchmark of six memory sizes, smallest first."""
    return tuple(
        replace(stability_run(mb, count, cold=cold, seed=seed), started=STARTED + 60 * i)
        for i, mb in enumerate(SERVICE)
    )


def concurrency_run(
    max_concurrency: int = 2, clients: int = 3, *, memory_mb: int = 2048, count: int = 200, warm: int = 1, seed: int = 0
) -> Run:
    """Return one run of the concurrency benchmark; clients beyond MaxConcurrency are throttled, new instances are cold."""
    made = simulate(
        clients=clients,
        count=count,
        max_concurrency=max_concurrency,
        warm=warm,
        service=SERVICE[memory_mb],
        seed=seed + 1000 * max_concurrency + clients,
    )
    step = Step(
        ServerlessConfig(memory_mb, max_concurrency),
        ClosedLoop(clients, count=count),
        name=f"concurrency-{max_concurrency}-{clients}",
        phase="concurrency",
    )
    return run_of_samples(
        step, made.samples, metrics=cloudwatch_metrics(made), server_counts=server_counts(made), started=STARTED + 600
    )


def concurrency_runs(
    sizes: Iterable[int] = (2, 4, 8),
    multipliers: Iterable[float] = (1, 1.5, 1.75, 2),
    *,
    count: int = 200,
    seed: int = 0,
) -> tuple[Run, ...]:
    """Return a whole concurrency benchmark at 2048 MB: the first run on each endpoint has cold starts."""
    runs = []
    for size in sizes:
        for i, clients in enumerate(sorted({math.ceil(size * m) for m in multipliers})):
            runs.append(concurrency_run(size, clients, count=count, warm=1 if i == 0 else size, seed=seed))
    return tuple(replace(run, started=STARTED + 600 + 60 * i) for i, run in enumerate(runs))


def benchmark_runs(count: int = 200, seed: int = 0) -> tuple[Run, ...]:
    """Return a whole benchmark: six memory sizes, then eleven concurrency runs."""
    return (*stability_runs(count, seed=seed), *concurrency_runs(count=count, seed=seed))


def failed_deploy(memory_mb: int = 1024) -> Run:
    """Return the run of an endpoint that never came into service."""
    return Run(
        step=stability_step(memory_mb),
        started=STARTED,
        duration=0.0,
        stop_reason="not deployed",
        scheduled=0,
        failure="the endpoint failed: CannotStartContainerError. Please ensure the model container starts correctly",
        endpoint=f"loadgen-k3v9q2-{memory_mb}-1",
        deploy_duration=0.0,
    )


def all_failed(memory_mb: int = 1024, count: int = 20) -> Run:
    """Return a run in which no call was successful."""
    made = simulate(count=count, service=SERVICE[memory_mb], failing={Outcome.MODEL_ERROR: 1.0})
    step = replace(stability_step(memory_mb, count), error_limit=None)
    return run_of_samples(step, made.samples, metrics=cloudwatch_metrics(made), server_counts=server_counts(made))


def out_of_memory(memory_mb: int = 1024, ok: int = 41) -> Run:
    """Return a run that stopped at its error limit of 3."""
    made = simulate(count=ok + 3, service=SERVICE[memory_mb], seed=3)
    made.samples["outcome"][ok:] = Outcome.MODEL_OOM
    made.samples["code"][ok:] = 1
    return run_of_samples(
        stability_step(memory_mb),
        made.samples,
        stop_reason="errors",
        metrics=cloudwatch_metrics(made, memory_percent=95.0),
        server_counts=server_counts(made),
    )


def zero_samples(memory_mb: int = 2048) -> Run:
    """Return a run that was stopped before its first call."""
    return run_of_samples(
        stability_step(memory_mb), np.empty(0, SAMPLE), stop_reason="stop", duration=0.4, metrics=NO_METRICS
    )


def one_sample(memory_mb: int = 2048) -> Run:
    """Return a run of a single call."""
    return stability_run(memory_mb, count=1)


def open_loop(
    rate: float = 20.0, duration: float = 30.0, *, max_in_flight: int = 1000, max_concurrency: int = 8, seed: int = 0
) -> Run:
    """Return an open-loop run; a small `max_in_flight` causes drops, a small `max_concurrency` throttles."""
    load = OpenLoop(even(constant(rate)), duration=duration, max_in_flight=max_in_flight)
    made = simulate(
        arrivals=[due for _, due in load],
        max_in_flight=max_in_flight,
        max_concurrency=max_concurrency,
        warm=max_concurrency,
        service=SERVICE[2048],
        seed=seed,
    )
    step = Step(ServerlessConfig(2048, max_concurrency), load, name="open loop")
    return run_of_samples(step, made.samples, metrics=cloudwatch_metrics(made), server_counts=server_counts(made))


def without_metrics(memory_mb: int = 2048, count: int = 200) -> Run:
    """Return a healthy run without CloudWatch metrics."""
    return replace(stability_run(memory_mb, count), metrics=NO_METRICS)


def warmed_up(memory_mb: int = 2048, count: int = 200, warmup_calls: int = 10) -> Run:
    """Return a healthy run whose first calls are warm-up."""
    run = stability_run(memory_mb, count, cold=1)
    samples = run.samples.copy()
    samples["flags"][samples["seq"] < warmup_calls] |= WARMUP
    step = replace(run.step, warmup_calls=warmup_calls)
    return run_of_samples(step, samples, metrics=run.metrics, server_counts=run.server_counts)


def without_samples(run: Run) -> Run:
    """Return the run without its samples: histograms and windows only."""
    return replace(run, samples=np.empty(0, SAMPLE))


def starved(memory_mb: int = 2048) -> Run:
    """Return a run in which the load generator was saturated."""
    run = stability_run(memory_mb)
    stats = replace(
        run.generator_stats,
        cpu_share=0.99,
        longest_saturated=17.0,
        loop_lag_p99=0.061,
        loop_lag_max=0.254,
        send_lag_p99=0.048,
        send_lag_max=0.25,
    )
    return replace(run, generator_stats=stats)

"""Generator statistics: what the load generator observed of itself during a run."""

from dataclasses import dataclass, field

from loadgen.measurement.stalls import Stalls


@dataclass(frozen=True, slots=True)
class GeneratorStats:
    """Self-monitoring of the load generator during one run. Durations and lags are in seconds.

    Args:
        cpu_share: CPU seconds of the event loop's thread per second of the run; 1.0 is one core.
        longest_saturated: longest period with a CPU share above 0.9.
        loop_lag_p99: 99th percentile of the event loop's lag, measured by a periodic timer.
        loop_lag_max: maximum of the event loop's lag.
        send_lag_p50: median of the send lag, which is sent minus scheduled.
        send_lag_p99: 99th percentile of the send lag.
        send_lag_max: maximum of the send lag.
        pool_waits: number of requests that waited for a free connection.
        pool_wait_max: longest wait for a free connection.
        connections_opened: number of connections opened during the run.
        dropped: number of arrivals that were not sent because `max_in_flight` was reached.
        gc_pauses: number of garbage collections of the oldest generation.
        gc_pause_max: longest pause of a garbage collection of any generation.
        target_rate: requests per second of the load; 0 in a closed loop.
        achieved_rate: requests per second that were sent.
        runqueue_wait: seconds for which the loop's thread was ready to run and the kernel ran something else; 0 where
            the kernel does not tell.
        wall_clock_change: largest change of the wall clock against the monotonic clock during the run.
        stalls: the intervals in which the event loop stood still.
    """

    cpu_share: float = 0.0
    longest_saturated: float = 0.0
    loop_lag_p99: float = 0.0
    loop_lag_max: float = 0.0
    send_lag_p50: float = 0.0
    send_lag_p99: float = 0.0
    send_lag_max: float = 0.0
    pool_waits: int = 0
    pool_wait_max: float = 0.0
    connections_opened: int = 0
    dropped: int = 0
    gc_pauses: int = 0
    gc_pause_max: float = 0.0
    target_rate: float = 0.0
    achieved_rate: float = 0.0
    runqueue_wait: float = 0.0
    wall_clock_change: float = 0.0
    stalls: Stalls = field(default_factory=Stalls)

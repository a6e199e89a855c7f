"""Generator statistics: what the load generator observed of itself during a run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GeneratorStats:
    """What the generator saw of itself during one run. Seconds, except where a name says otherwise.

    Args:
        cpu_share: CPU seconds of the loop's thread for each second of the run; 1.0 is a whole core.
        longest_saturated: the longest stretch with `cpu_share` above 0.9.
        loop_lag_p99: how late the loop was for what came at any moment, by a ticker: 99th percentile.
        loop_lag_max: and at worst.
        send_lag_p50: how late requests left: sent minus scheduled.
        send_lag_p99: the same, 99th percentile.
        send_lag_max: and at worst.
        pool_waits: requests that waited for a free connection.
        pool_wait_max: the longest of these waits.
        connections_opened: connections opened in mid-run.
        dropped: arrivals that could not be sent since `max_in_flight` was reached.
        gc_pauses: garbage collections of the oldest generation.
        gc_pause_max: the longest pause of any generation.
        target_rate: requests a second that the load asked for; 0 in a closed loop.
        achieved_rate: requests a second that were sent.
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

"""Limits of the validity checks."""

from dataclasses import dataclass

from loadgen.statistics.order_statistics import calls_needed


@dataclass(frozen=True, slots=True)
class ValidityLimits:
    """Limits of the validity checks.

    Args:
        effect: share by which the load generator, or a late emulator, may move a figure that is VALID.
        smallest_effect: seconds; a latency that is moved by less is VALID. Shorter delays of an event loop are not
            recorded (SHORTEST_STALL).
        dropped_share: share of the scheduled requests dropped at `max_in_flight`.
        rate_shortfall: share by which the achieved rate may be below the target rate.
        longest_saturated: longest period in which the loop's thread uses more than 90 % of a core, seconds; above it
            there is a note.
        pool_wait: longest wait for a connection, seconds; above it there is a note.
        wall_clock_change: change of the wall clock during the run, seconds; above it there is a note.
        worker_start_delay: delay of a worker after the common start, seconds.
        clock_uncertainty: uncertainty of a worker's clock against the others, seconds.
        min_ok_calls: ok calls below which there is a note; p95 needs this many.
    """

    effect: float = 0.05
    smallest_effect: float = 0.001
    dropped_share: float = 0.001
    rate_shortfall: float = 0.01
    longest_saturated: float = 5.0
    pool_wait: float = 0.1
    wall_clock_change: float = 1.0
    worker_start_delay: float = 0.1
    clock_uncertainty: float = 0.1
    min_ok_calls: int = calls_needed(95)


DEFAULT_LIMITS = ValidityLimits()

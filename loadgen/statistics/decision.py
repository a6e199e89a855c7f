"""Decisions with their uncertainty: whether a value lies above or below a limit, or the data does not decide."""

from enum import Enum

from loadgen.statistics.interval import Interval, share_interval_of_counts


class Decision(Enum):
    """Where a value lies with 95 % confidence, relative to a limit."""

    BELOW = "below"
    ABOVE = "above"
    UNDECIDED = "undecided"


def decide(interval: Interval, limit: float) -> Decision:
    """Tell on which side of a limit the whole interval lies; an end at the limit lies below it.

    Example:
        >>> decide(Interval(0.2, 0.15, 0.25, 400, 400.0), 0.3)
        <Decision.BELOW: 'below'>
    """
    if interval.low is None or interval.high is None:
        return Decision.UNDECIDED
    if interval.high <= limit:
        return Decision.BELOW
    return Decision.ABOVE if interval.low > limit else Decision.UNDECIDED


def decide_share(hits: int, count: int, limit: float) -> Decision:
    """Tell whether a share lies above or below a limit, such as 1 % failures; independent calls are assumed.

    Example:
        >>> [decide_share(hits, 20, 0.01).value for hits in (0, 1, 3)]
        ['undecided', 'undecided', 'above']
        >>> decide_share(0, 368, 0.01).value  # 0.99^368 = 2.5 %
        'below'
    """
    return Decision.UNDECIDED if count < 1 else decide(share_interval_of_counts(hits, count), limit)

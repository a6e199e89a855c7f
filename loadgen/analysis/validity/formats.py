"""Counts and formats that the checks and the notes share."""

from loadgen.measurement.outcome import Outcome
from loadgen.measurement.run import Run


def count_with_warmup(run: Run, outcome: Outcome) -> int:
    """Return the number of requests with an outcome, including the warm-up."""
    return run.tally.counts[outcome] + run.tally.warmup[outcome]


def format_seconds(seconds: float) -> str:
    """Return a duration in milliseconds, or in seconds from one second on."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def format_percent(share: float) -> str:
    """Return a share in percent with two decimals."""
    return f"{100 * share:.2f} %"

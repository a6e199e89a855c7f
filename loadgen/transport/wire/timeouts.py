"""Deadlines of a call, as values: how long each part may take, and which one has been missed.

Rule: pure. One sweep asks for every call under way, so that no call arms a timer.
"""

from dataclasses import dataclass

from loadgen.errors import UsageError
from loadgen.measurement.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each part of a call may take, in seconds.

    Args:
        connect: looking up the name, connecting and the TLS handshake together.
        write: until the kernel has taken the whole request.
        first_byte: from then until the first byte of the answer; a cold start is in here.
        body: from the first byte of the answer to the last.
        total: all of it, and waiting for a free connection.
        idle: how long an unused connection is kept; not a deadline of any call.

    Raises:
        UsageError: one is not above zero.
    """

    connect: float = 10.0
    write: float = 60.0
    first_byte: float = 300.0  # a cold start was once documented to take up to four minutes
    body: float = 60.0
    total: float = 360.0
    idle: float = 12.0  # aiobotocore's DEFAULT_KEEPALIVE_TIMEOUT: under it, a load balancer's 60 s are never met

    def __post_init__(self) -> None:
        for name in ("connect", "write", "first_byte", "body", "total", "idle"):
            if not getattr(self, name) > 0:
                raise UsageError(f"timeout {name} {getattr(self, name)!r}", hint="it must be above 0 seconds")

    @property
    def check_interval(self) -> float:
        """How often deadlines are looked at: a tenth of the shortest, from 10 ms to a quarter of a second."""
        shortest = min(self.connect, self.write, self.first_byte, self.body, self.total)
        return min(max(shortest / 10, 0.01), 0.25)


def missed_deadline(
    now: float, timeouts: Timeouts, *, requested: float, sent: float, flushed: float, first_byte: float
) -> tuple[Outcome, str] | None:
    """Tell which deadline a call has missed, and in which phase; None when it is in time.

    Args:
        now: the instant to judge at; as all others on one clock.
        timeouts: the deadlines.
        requested: when the call was made.
        sent: when its first byte was handed over.
        flushed: when the kernel had taken the last one; 0 while it has not.
        first_byte: when the answer began; 0 while it has not.

    Example:
        >>> missed_deadline(400.0, Timeouts(), requested=0.0, sent=0.0, flushed=0.1, first_byte=0.0)
        (<Outcome.TIMEOUT_TTFB: 31>, 'first byte: 300 s')
    """
    if first_byte:
        phase, since, limit, outcome = "body", first_byte, timeouts.body, Outcome.TIMEOUT_BODY
    elif flushed:
        phase, since, limit, outcome = "first byte", flushed, timeouts.first_byte, Outcome.TIMEOUT_TTFB
    else:
        phase, since, limit, outcome = "write", sent, timeouts.write, Outcome.TIMEOUT_WRITE
    if now - since > limit:
        return outcome, f"{phase}: {limit:g} s"
    if now - requested > timeouts.total:
        return Outcome.TIMEOUT_TOTAL, f"total: {timeouts.total:g} s, in {phase}"
    return None

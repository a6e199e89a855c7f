"""Timeouts of a call: how long each phase may take, and which one was exceeded. Pure.

One periodic check evaluates them for every request in flight, so a call sets no timer.
"""

from dataclasses import dataclass

from loadgen.errors import UsageError
from loadgen.measurement.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeout of each phase of a call, in seconds.

    Args:
        connect: name lookup, TCP connect and TLS handshake together.
        write: until the kernel has accepted the whole request.
        first_byte: from then until the first byte of the response; includes a cold start.
        body: from the first byte of the response to the last.
        service: from the first byte of the request to the last of the response, whatever arrives in between.
        total: of all phases, including the wait for a connection.
        idle: how long an unused connection is kept; not a timeout of a call.

    Raises:
        UsageError: a value is not above zero.
    """

    connect: float = 10.0
    write: float = 60.0
    first_byte: float = 300.0  # a cold start was once documented to take up to four minutes
    body: float = 60.0
    service: float = 300.0
    total: float = 360.0
    idle: float = 12.0  # aiobotocore's DEFAULT_KEEPALIVE_TIMEOUT: under it, a load balancer's 60 s are never met

    def __post_init__(self) -> None:
        for name in ("connect", "write", "first_byte", "body", "service", "total", "idle"):
            if not getattr(self, name) > 0:
                raise UsageError(f"timeout {name} {getattr(self, name)!r}", hint="it must be above 0 seconds")

    @property
    def check_interval(self) -> float:
        """Seconds between two checks: a tenth of the shortest timeout, from 0.01 to 0.25."""
        shortest = min(self.connect, self.write, self.first_byte, self.body, self.service, self.total)
        return min(max(shortest / 10, 0.01), 0.25)


def missed_deadline(
    now: float, timeouts: Timeouts, *, requested: float, sent: float, flushed: float, first_byte: float
) -> tuple[Outcome, str] | None:
    """Return which timeout a call has exceeded, and a description of the phase; None if none.

    Args:
        now: current time; all times are seconds of the same clock.
        timeouts: the limits.
        requested: when the call was made.
        sent: when the first byte was passed to the kernel.
        flushed: when the kernel had accepted the last byte; 0 before that.
        first_byte: when the response began; 0 before that.

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
    if now - sent > timeouts.service:
        return outcome, f"service time: {timeouts.service:g} s, in {phase}"
    if now - requested > timeouts.total:
        return Outcome.TIMEOUT_TOTAL, f"total: {timeouts.total:g} s, in {phase}"
    return None

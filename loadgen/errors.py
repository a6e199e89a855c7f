"""The exception types, and the exit status of each.

Every error a user can meet is one of these; what happens to a single *request* is not an error but an
:class:`loadgen.measurement.outcome.Outcome`. Foreign exceptions are mapped to these at one edge per library.

Exit bands: 0 clean; 2 usage; 64-78 the run could not start or be kept (sysexits.h); 97-110 the run took place and its
outcome is not clean (k6's meanings); 128+n stopped by a signal. 1 is never chosen: seeing it means a bug escaped.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import ClassVar


class ExitStatus(IntEnum):
    """What the process answers to its shell."""

    OK = 0
    USAGE = 2
    BAD_DATA = 65
    NO_INPUT = 66
    UNAVAILABLE = 69
    INTERNAL = 70
    OS_RESOURCE = 71
    CANT_CREATE = 73
    IO_ERROR = 74
    TRY_LATER = 75
    NO_PERMISSION = 77
    CONFIG = 78
    THRESHOLD = 99
    RESOURCE_LEAK = 101
    SCRIPT_ERROR = 107
    SCRIPT_EXIT = 108
    INVALID = 110
    INTERRUPTED = 130
    TERMINATED = 143


# When several things went wrong the one that costs most is told: money first, then data, then the program itself.
_PRECEDENCE = (
    ExitStatus.RESOURCE_LEAK,
    ExitStatus.IO_ERROR,
    ExitStatus.INTERNAL,
    ExitStatus.OS_RESOURCE,
    ExitStatus.INTERRUPTED,
    ExitStatus.TERMINATED,
    ExitStatus.SCRIPT_ERROR,
    ExitStatus.SCRIPT_EXIT,
    ExitStatus.NO_PERMISSION,
    ExitStatus.CONFIG,
    ExitStatus.TRY_LATER,
    ExitStatus.UNAVAILABLE,
    ExitStatus.CANT_CREATE,
    ExitStatus.BAD_DATA,
    ExitStatus.NO_INPUT,
    ExitStatus.USAGE,
    ExitStatus.INVALID,
    ExitStatus.THRESHOLD,
    ExitStatus.OK,
)


def worst_status(statuses: Iterable[ExitStatus]) -> ExitStatus:
    """Choose the status to exit with when several apply.

    Example:
        >>> worst_status([ExitStatus.INVALID, ExitStatus.RESOURCE_LEAK])
        <ExitStatus.RESOURCE_LEAK: 101>
        >>> worst_status([])
        <ExitStatus.OK: 0>
    """
    return min(statuses, key=_PRECEDENCE.index, default=ExitStatus.OK)


class LoadgenError(Exception):
    """Anything loadgen refuses or could not do; shown as one line, never as a traceback.

    Args:
        message: what was given and where, in a sentence without a final stop.
        hint: what to do about it.
        details: at most ten further lines.
    """

    status: ClassVar[ExitStatus] = ExitStatus.INTERNAL

    def __init__(self, message: str, *, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(LoadgenError):
    """A value or a flag that cannot be meant: memory 1500, a rate below zero."""

    status = ExitStatus.USAGE


class DataError(LoadgenError):
    """The content of a payload or result file is wrong."""

    status = ExitStatus.BAD_DATA


class InputError(LoadgenError):
    """An input file is missing or cannot be read."""

    status = ExitStatus.NO_INPUT


class UnavailableError(LoadgenError):
    """An endpoint failed, is unreachable, or did not come up in time."""

    status = ExitStatus.UNAVAILABLE


class InternalError(LoadgenError):
    """One of our own invariants broke: a bug in loadgen."""

    status = ExitStatus.INTERNAL


class ResourceError(LoadgenError):
    """The operating system refused files, memory or processes."""

    status = ExitStatus.OS_RESOURCE


class OutputError(LoadgenError):
    """The output directory cannot be made or already holds a run."""

    status = ExitStatus.CANT_CREATE


class WriteError(LoadgenError):
    """Writing results failed; what is on disk is valid."""

    status = ExitStatus.IO_ERROR


class QuotaError(LoadgenError):
    """An account quota or a throttled control plane: the same call may work later."""

    status = ExitStatus.TRY_LATER


class AuthError(LoadgenError):
    """Credentials are missing, expired or not allowed to do this."""

    status = ExitStatus.NO_PERMISSION


class ConfigError(LoadgenError):
    """Region, scenario settings or an installation that lacks something."""

    status = ExitStatus.CONFIG


class ResourceLeakError(LoadgenError):
    """A resource may still exist; the details name each one and the command that removes it."""

    status = ExitStatus.RESOURCE_LEAK


class InterruptedRunError(LoadgenError):
    """Stopped by Ctrl-C; what was measured is kept, endpoints are removed."""

    status = ExitStatus.INTERRUPTED


class ScriptError(LoadgenError):
    """The user's scenario file raised."""

    status = ExitStatus.SCRIPT_ERROR


class ScriptExitError(LoadgenError):
    """The user's scenario file asked to stop."""

    status = ExitStatus.SCRIPT_EXIT


STATUS_MEANINGS = {
    ExitStatus.OK: "Everything was measured, the verdict is VALID, nothing is left behind.",
    ExitStatus.THRESHOLD: "A promise (SLO) of the scenario was broken.",
    ExitStatus.INVALID: "The run took place, but its numbers are not to be trusted; the report says why.",
    ExitStatus.INTERRUPTED: "Stopped by Ctrl-C; what was measured is kept, endpoints are removed.",
    ExitStatus.TERMINATED: "Stopped by SIGTERM; what was measured is kept, endpoints are removed.",
}

"""The exception types, and the exit status of each.

Every error that a user can meet is one of these types. The result of a single request is not an error but a
:class:`loadgen.measurement.outcome.Outcome`. Foreign exceptions are mapped to these types at one edge per library.

Exit bands: 0 clean; 2 usage; 64-78 the run could not start or be saved (sysexits.h); 97-110 the run took place and its
outcome is not clean (k6's meanings); 128+n stopped by a signal. loadgen never chooses 1: it means that a bug escaped.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import ClassVar


class ExitStatus(IntEnum):
    """The exit status of the process."""

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


# When several statuses apply, the most expensive one counts: money first, then data, then the program itself.
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
    """Return the status to exit with when several apply; OK when none does.

    Example:
        >>> worst_status([ExitStatus.INVALID, ExitStatus.RESOURCE_LEAK])
        <ExitStatus.RESOURCE_LEAK: 101>
        >>> worst_status([])
        <ExitStatus.OK: 0>
    """
    return min(statuses, key=_PRECEDENCE.index, default=ExitStatus.OK)


class LoadgenError(Exception):
    """Base of all errors of loadgen; printed as one line, never as a traceback.

    Args:
        message: what was given and where, as a sentence without a full stop.
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
    """An argument, option or field has an invalid value, such as memory 1500 or a negative rate."""

    status = ExitStatus.USAGE


class DataError(LoadgenError):
    """The content of a payload file or of a saved run is invalid."""

    status = ExitStatus.BAD_DATA


class InputError(LoadgenError):
    """An input file is missing or cannot be read."""

    status = ExitStatus.NO_INPUT


class UnavailableError(LoadgenError):
    """An endpoint failed, is unreachable, or did not come up in time."""

    status = ExitStatus.UNAVAILABLE


class InternalError(LoadgenError):
    """An invariant of loadgen is broken: a bug."""

    status = ExitStatus.INTERNAL


class ResourceError(LoadgenError):
    """The operating system refused files, memory or processes."""

    status = ExitStatus.OS_RESOURCE


class OutputError(LoadgenError):
    """The output directory cannot be created, is in use, or already holds a run."""

    status = ExitStatus.CANT_CREATE


class WriteError(LoadgenError):
    """Writing results failed; what was written is valid."""

    status = ExitStatus.IO_ERROR


class QuotaError(LoadgenError):
    """An account quota is exceeded, or the control plane throttles; the same call can succeed later."""

    status = ExitStatus.TRY_LATER


class AuthError(LoadgenError):
    """Credentials are missing, expired, not sufficient, or of another account."""

    status = ExitStatus.NO_PERMISSION


class ConfigError(LoadgenError):
    """A region, model, scenario or installation is not usable, or a limit forbids the run."""

    status = ExitStatus.CONFIG


class ResourceLeakError(LoadgenError):
    """An AWS resource may still exist; the details name each with the command that deletes it."""

    status = ExitStatus.RESOURCE_LEAK


class InterruptedRunError(LoadgenError):
    """The run was stopped by Ctrl-C before it had results."""

    status = ExitStatus.INTERRUPTED


class ScriptError(LoadgenError):
    """The scenario file raised an exception."""

    status = ExitStatus.SCRIPT_ERROR


class ScriptExitError(LoadgenError):
    """The scenario file called `sys.exit`."""

    status = ExitStatus.SCRIPT_EXIT


def error_of_status(status: ExitStatus, message: str) -> LoadgenError:
    """Return the error that ends with a status; UnavailableError for a status without a type of its own."""
    types = {subclass.status: subclass for subclass in LoadgenError.__subclasses__()}
    return types.get(status, UnavailableError)(message)

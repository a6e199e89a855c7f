"""The command `explain`: print what an exit status means and what to do.

STATUS_MEANINGS is the one source of these sentences; a test compares the table of guide/04-slos-and-ci.md with it.
"""

import argparse
import signal
from typing import NamedTuple

from loadgen.cli.options import AddParser, add_debug_option
from loadgen.errors import ExitStatus, UsageError
from loadgen.process_exit import signal_name


class StatusMeaning(NamedTuple):
    """What an exit status means, and what to do about it; `action` is empty for OK."""

    meaning: str
    action: str = ""


STATUS_MEANINGS = {
    ExitStatus.OK: StatusMeaning(
        "Everything was measured, the verdict is VALID, all SLOs are met, nothing is left behind. "
        "Also: after --dry-run, report, explain.",
    ),
    ExitStatus.USAGE: StatusMeaning(
        "An invalid argument, option value or field, such as memory 1500 or a negative rate.",
        "Correct it; the message names the allowed values.",
    ),
    ExitStatus.BAD_DATA: StatusMeaning(
        "The content of a payload file or of a saved run is invalid.",
        "Correct the line named in the message.",
    ),
    ExitStatus.NO_INPUT: StatusMeaning(
        "An input file or output directory is missing or cannot be read.",
        "Check the path and its permissions.",
    ),
    ExitStatus.UNAVAILABLE: StatusMeaning(
        "An endpoint failed, is unreachable, or did not come up in time; no call was ok; or a proxy, a redirect or a "
        "sign-in page replied in place of AWS.",
        "Read the cause in the first line, or the FailureReason in the report; other configurations were measured.",
    ),
    ExitStatus.INTERNAL: StatusMeaning(
        "An invariant of loadgen is broken: a bug.",
        "Repeat with --debug and report the output.",
    ),
    ExitStatus.OS_RESOURCE: StatusMeaning(
        "The operating system refused files, memory or processes, or every worker was lost.",
        "Use fewer clients or workers or smaller payloads, or raise the limits.",
    ),
    ExitStatus.CANT_CREATE: StatusMeaning(
        "The output directory cannot be created, is in use, or already holds a run.",
        "Choose another --out, or continue the run with --resume DIR.",
    ),
    ExitStatus.IO_ERROR: StatusMeaning(
        "Writing results failed, for example on a full disk. What was written is valid.",
        "Free disk space, then run python -m loadgen report DIR.",
    ),
    ExitStatus.TRY_LATER: StatusMeaning(
        "An account quota is exceeded, or the AWS control plane throttles.",
        "Request a higher quota, or repeat later.",
    ),
    ExitStatus.NO_PERMISSION: StatusMeaning(
        "Credentials are missing, expired, not sufficient, or of another account than --expect-account; the profile's "
        "credential chain fails; or credentials could not be refreshed during the run.",
        "Check AWS_PROFILE and the IAM policy; the message keeps the reason that AWS gives, such as a deny of the "
        "organization.",
    ),
    ExitStatus.CONFIG: StatusMeaning(
        "Region, model, scenario or installation is not usable, or a limit such as --max-endpoints forbids the run; "
        "or two runs are not comparable.",
        "Follow the hint in the message.",
    ),
    ExitStatus.THRESHOLD: StatusMeaning(
        "An SLO is violated, not decided or could not be evaluated, more calls of a step failed than "
        "failure_share_limit, --max-spend was reached, or compare found a metric worse.",
        "Read the headline and the SLO table of the report, or the gates of the comparison.",
    ),
    ExitStatus.RESOURCE_LEAK: StatusMeaning(
        "An AWS resource may still exist; each is listed with the command that deletes it.",
        "Run python -m loadgen cleanup RUN.",
    ),
    ExitStatus.SCRIPT_ERROR: StatusMeaning(
        "The scenario raised an exception.",
        "Correct the line named in the message.",
    ),
    ExitStatus.SCRIPT_EXIT: StatusMeaning(
        "The scenario file called sys.exit.",
        "Remove the call from the scenario file.",
    ),
    ExitStatus.INVALID: StatusMeaning(
        "The run took place, but the load generator limited it, or no call of a step was ok; or such a run was "
        "compared.",
        "Apply the remedy of each reason in the report, then run again.",
    ),
    ExitStatus.INTERRUPTED: StatusMeaning(
        "Stopped by Ctrl-C. Results are kept, endpoints are deleted.",
        "Continue with --resume DIR.",
    ),
    ExitStatus.TERMINATED: StatusMeaning(
        "Stopped by SIGTERM or SIGHUP. Results are kept, endpoints are deleted.",
        "Continue with --resume DIR.",
    ),
}


def add_parser(add: AddParser) -> None:
    """Add the command's parser."""
    parser = add(
        "explain",
        help="print what an exit status means and what to do",
        description="Print what an exit status means and what to do.",
    )
    parser.add_argument(
        "status", metavar="STATUS", help="exit status of loadgen, such as 110, or a signal, such as SIGTERM or -15"
    )
    add_debug_option(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the meaning of a status.

    Raises:
        UsageError: loadgen never exits with this status.
    """
    number = status_number(options.status)
    known = [int(status) for status in ExitStatus]
    if number in known:
        name, (meaning, action) = ExitStatus(number).name, STATUS_MEANINGS[ExitStatus(number)]
    elif number is not None and 128 < number <= 128 + signal.NSIG:
        name = signal_name(number - 128)
        meaning = f"The process was killed by {name}. It could not delete its endpoints or write its report."
        action = f"Run python -m loadgen cleanup.{_KILL_HINT if number - 128 == signal.SIGKILL else ''}"
    else:
        hint = f"one of {', '.join(map(str, known))}, or a signal, such as SIGTERM"
        raise UsageError(f"{options.status[:60]} is not an exit status of loadgen", hint=hint)
    print(f"{number} {name}: {meaning}")  # noqa: T201
    if action:
        print(f"What to do: {action}")  # noqa: T201
    return ExitStatus.OK


_KILL_HINT = " Look for a lack of memory: the operating system ends the largest process."
# loadgen ends with 143 for SIGHUP as well.
_SIGNAL_STATUSES = {signal.SIGHUP: int(ExitStatus.TERMINATED)}


def status_number(text: str) -> int | None:
    """Return the exit status that a text names: a number, a signal's negative number, or a signal's name.

    Example:
        >>> status_number("110"), status_number("-15"), status_number("sigterm"), status_number("INT")
        (110, 143, 143, 130)
        >>> status_number("soon") is None
        True
    """
    try:
        number = int(text)
    except ValueError:
        name = text.upper()
        found = signal.Signals.__members__.get(name if name.startswith("SIG") else f"SIG{name}")
        if found is None:
            return None
        return _SIGNAL_STATUSES.get(found, 128 + found)
    return 128 - number if number < 0 else number

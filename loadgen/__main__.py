"""`python -m loadgen` and the command `loadgen`: run the command line, whatever signal arrives at whatever time."""

import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with its status; SIGINT gives status 130 and no traceback, also while importing."""
    status = 128 + signal.SIGINT
    try:
        # The import takes a few tenths of a second, in which Ctrl-C would print the importer's traceback.
        from loadgen.cli.main import main as run_command_line  # noqa: PLC0415

        status = run_command_line()
    except KeyboardInterrupt as interrupt:
        status = getattr(interrupt, "status", status)
    finally:
        _leave_to_the_kernel()
    sys.exit(int(status))


def _leave_to_the_kernel() -> None:
    """Let no signal reach Python code while the interpreter ends, which takes some tenths of a second.

    Results and status are complete: a terminal that goes now changes nothing. SIGINT and SIGTERM still end a process
    that hangs, here in a thread of the user's.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


if __name__ == "__main__":
    main()

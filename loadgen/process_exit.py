"""Descriptions of how a child process ended: its exit status, or the name of the signal. No I/O."""

import signal


def signal_name(number: int) -> str:
    """Return the name of a signal, or its number if it has no name.

    Example:
        >>> signal_name(15), signal_name(50)
        ('SIGTERM', 'signal 50')
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe_exit(return_code: int) -> str:
    """Return how a child process ended; Python gives the number of a signal as a negative return code.

    Example:
        >>> describe_exit(3), describe_exit(-15)
        ('exited with status 3', 'was killed by SIGTERM (status 143)')
    """
    if return_code >= 0:
        return f"exited with status {return_code}"
    return f"was killed by {signal_name(-return_code)} (status {128 - return_code})"

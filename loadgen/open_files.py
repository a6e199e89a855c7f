"""The limit on open files of this process: a connection is an open file.

Rule: only a program of its own (the command line, the emulator's command) raises the limit, never a library call.
"""

import resource

# A load generator or an emulator needs no more; some systems have a hard limit of 2^30, and code that visits every
# possible descriptor would then be slow.
_ENOUGH = 65_536


def open_files_limit() -> int:
    """Return how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH if soft == resource.RLIM_INFINITY else soft


def raise_open_files_limit() -> int:
    """Raise the soft limit to the hard one, at most to 65,536, and return it. Child processes inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return open_files_limit()

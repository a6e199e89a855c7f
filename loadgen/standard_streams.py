"""Standard streams that cannot fail: a closed, full or narrow output device never decides the result of a run.

stdin, stdout and stderr may be closed when the process starts, their reader may go, their disk may be full, and their
encoding may lack a character. Writing to files other than these streams does not belong here.
"""

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_NAMES = ("stdin", "stdout", "stderr")


class _LossyFile(io.FileIO):
    """A standard output that discards what its device refuses; `error` is the first refusal.

    The descriptor stays open when this object is closed.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write data, or discard it once the device has refused; O(1) after the first refusal."""
        size = memoryview(data).nbytes
        if self.error is not None:
            return size
        try:
            while (written := super().write(data)) is None:
                select.select([], [self.fileno()], [])  # a non-blocking pipe, and its reader is slow
        except OSError as error:
            self.error = error
            return size
        return written


def open_missing_descriptors() -> None:
    """Open each of the descriptors 0 to 2 that is closed on the null device.

    Otherwise the next file or socket gets the number, and what is meant for stderr is written into it. uvloop aborts
    the process when descriptor 0 is a socket. Call this before anything is opened.
    """
    for descriptor, name in enumerate(_NAMES):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(opened, True)  # noqa: FBT003 - positional only
            if getattr(sys, name) is None:
                setattr(sys, name, open(opened, "w" if descriptor else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
                setattr(sys, f"__{name}__", getattr(sys, name))


@contextmanager
def lossy_output() -> Iterator[None]:
    """Make stdout and stderr discard what their device refuses, and escape what their encoding lacks.

    A loss on stdout is reported on stderr, unless the reader closed the pipe (`... | head`). Streams that a test or a
    notebook has put in place of the process's own are left as they are.
    """
    own = {name: getattr(sys, name) for name in _NAMES[1:] if _is_own(name)}
    files = {name: _LossyFile(stream.fileno()) for name, stream in own.items()}
    for name, stream in own.items():
        with suppress(OSError):
            stream.flush()
        setattr(sys, name, _wrap(files[name], stream))
    try:
        yield
    finally:
        for name in own:
            getattr(sys, name).flush()
        lost = files["stdout"].error if "stdout" in files else None
        if lost is not None and not isinstance(lost, BrokenPipeError):
            sys.stderr.write(f"loadgen: stdout lost: {lost.strerror}; what was printed is incomplete\n")
            sys.stderr.flush()
        for name, stream in own.items():
            setattr(sys, name, stream)


def _is_own(name: str) -> bool:
    """Tell whether a stream is the process's own, on a file descriptor (not the console of Windows)."""
    stream = getattr(sys, name)
    if stream is None or stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
        return False
    return isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO)


def _wrap(file: _LossyFile, stream: io.TextIOWrapper) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,
    )

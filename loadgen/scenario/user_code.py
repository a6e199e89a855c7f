"""Errors of the user's code: which exceptions it raised, and how they are reported.

Rule: an exception is the user's if the innermost frame, apart from those of Python and of installed packages, is in a
file of the user's and not in loadgen.
"""

import os
import sysconfig
import traceback
from pathlib import Path

from loadgen.errors import LoadgenError, ScriptError, ScriptExitError

_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_COMPILED = (".pyx", ".pxi", ".pxd")  # Cython writes these names without a directory, such as uvloop/loop.pyx
_MAX_LINES = 5


def script_error(error: BaseException) -> LoadgenError | None:
    """Return the error of loadgen for an exception that the user's code raised; None if it did not raise it.

    A LoadgenError keeps its status. MemoryError is this machine's.
    """
    if isinstance(error, (LoadgenError, MemoryError)):
        return None
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, (StopIteration, StopAsyncIteration)):
        error = error.__cause__  # Python replaces them when they leave a generator or a coroutine
    frames = traceback.extract_tb(error.__traceback__)
    # loadgen itself may be an installed package.
    own = [f for f in frames if f.filename.startswith(_PACKAGE) or not _is_of_a_library(f.filename)]
    if not own or own[-1].filename.startswith(_PACKAGE):
        return None
    where = f"{own[-1].filename}:{own[-1].lineno}"
    if isinstance(error, SystemExit):
        return ScriptExitError(f"{where} called sys.exit({error.code!r:.80})")
    lines = [f"{f.filename}:{f.lineno}: {f.line}" for f in own if not f.filename.startswith(_PACKAGE)]
    return ScriptError(f"{where}: {describe(error)}", details=lines[-_MAX_LINES:])


def _is_of_a_library(filename: str) -> bool:
    return filename.startswith(("<frozen", *_LIBRARIES)) or filename.endswith(_COMPILED)


def describe(error: BaseException) -> str:
    """Return type and text of an exception on one line; its own __str__ may fail."""
    try:
        text = " ".join(str(error).split())[:500]
    except Exception as failure:  # noqa: BLE001 - the text of the user's exception is the user's code
        text = f"(its text cannot be read: {type(failure).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

"""Atomic files: written to a temporary file in the same directory, synced to disk, then renamed over the target."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import orjson

from loadgen.errors import WriteError

PARTIAL_SUFFIX = ".part"  # of the temporary file

# The errors of a disk itself: no space, a quota, a file too large, a fault.
DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` when the block ends.

    When the block raises, `path` keeps its former content; the temporary file `<name>.part` remains.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    with partial.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def atomic_write_json(path: Path, value: object) -> None:
    """Write a value as an indented JSON file, atomically."""
    content = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    with atomic_write(path) as file:
        file.write(content)


def reserve_space(path: Path, size: int) -> None:
    """Occupy space on the disk for a file that must still be written when the disk is full.

    The next `atomic_write` of `path` truncates the temporary file that holds the space, and so has it for itself.
    """
    with path.with_name(path.name + PARTIAL_SUFFIX).open("wb") as file:
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())  # some file systems find out only here that there is no space


def disk_write_error(path: Path, error: OSError) -> WriteError:
    """Return the error to raise when a file cannot be written."""
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return WriteError(
            f"cannot write {path}: its directory is gone",
            hint="something deleted or moved it during the run; choose an --out that nothing cleans up, and run again",
        )
    return WriteError(f"cannot write {path}: {error.strerror}", hint="what is on disk stays valid: loadgen report DIR")

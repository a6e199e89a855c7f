"""Atomic JSON files: written beside the target, synced, then renamed."""

import errno
import os
from pathlib import Path

import orjson

from loadgen.errors import WriteError


def atomic_write_json(path: Path, value: object) -> None:
    """Write a JSON file so that it is there whole or not at all."""
    content = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


# What a disk says when it is the disk: no space, a quota, a file too large, a fault.
DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def disk_write_error(path: Path, error: OSError) -> WriteError:
    """Explain what the disk refused."""
    return WriteError(f"cannot write {path}: {error.strerror}", hint="what is on disk stays valid: loadgen report DIR")

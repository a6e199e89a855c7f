"""The files that a scenario needs in another environment: those that it opens while it is loaded.

A bundle holds only files below the working directory or the scenario file's directory, and no hidden files, which can
be keys or caches.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class FileBundle:
    """Files, and their layout in another environment.

    Args:
        files: path below the bundle's root -> local path.
        working_directory: path of the working directory below that root; empty for the root itself.
    """

    files: dict[str, Path]
    working_directory: str

    def remote_path(self, path: Path) -> str:
        """Return a file's path relative to the working directory of the other environment."""
        resolved = path.resolve()
        bundled_path = next(name for name, local_path in self.files.items() if local_path == resolved)
        return os.path.relpath(bundled_path, self.working_directory or ".")


@contextmanager
def record_opened_files() -> Iterator[list[Path]]:
    """Yield a list that receives the files opened or imported while the context is active."""
    paths: list[Path] = []
    is_recording = True

    def audit_hook(event: str, arguments: tuple[Any, ...]) -> None:
        # An audit hook cannot be removed.
        if is_recording and event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            paths.append(Path(os.fsdecode(arguments[0])))

    before = set(sys.modules)
    sys.addaudithook(audit_hook)
    try:
        yield paths
    finally:
        is_recording = False
        # Importing a module from Python's bytecode cache does not open its source.
        for name in set(sys.modules) - before:
            file = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(file, str):
                paths.append(Path(file))


def build_bundle(paths: Iterable[Path], *, scenario: Path, working_directory: Path) -> FileBundle:
    """Return the bundle of the scenario file and the opened files.

    Args:
        paths: opened files; others than those described in the module's docstring are left out.
        scenario: the scenario file.
        working_directory: directory to which relative paths refer.
    """
    roots = [working_directory.resolve(), scenario.resolve().parent]
    package_dir = Path(__file__).resolve().parents[1]
    # A virtual environment can be below the working directory.
    excluded_roots = [package_dir, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()]
    found = {scenario.resolve()}
    for path in paths:
        resolved = (working_directory / path).resolve()
        if not resolved.is_file() or any(resolved.is_relative_to(excluded) for excluded in excluded_roots):
            continue
        root = next((root for root in roots if resolved.is_relative_to(root)), None)
        if root is None or resolved.suffix == ".pyc":
            continue
        if not any(part.startswith(".") or part == "__pycache__" for part in resolved.relative_to(root).parts):
            found.add(resolved)
    base = Path(os.path.commonpath([working_directory.resolve(), *(path.parent for path in found)]))
    files = {path.relative_to(base).as_posix(): path for path in sorted(found)}
    directory = working_directory.resolve().relative_to(base).as_posix()
    return FileBundle(files, "" if directory == "." else directory)

"""Parcel: which files a scenario needs, found by watching what it opens while it loads.

Only what lies below the working directory or beside the scenario file is taken, and nothing hidden: keys and caches
are nobody's payload.
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
    """Files to be laid out elsewhere as they lie here.

    Args:
        files: path below the parcel's root -> where it is here.
        working_directory: the working directory below that root; empty for the root itself.
    """

    files: dict[str, Path]
    working_directory: str

    def remote_path(self, path: Path) -> str:
        """Return how a file is called from the working directory over there."""
        resolved = path.resolve()
        bundled_path = next(name for name, here in self.files.items() if here == resolved)
        return os.path.relpath(bundled_path, self.working_directory or ".")


@contextmanager
def record_opened_files() -> Iterator[list[Path]]:
    """Collect the files that are opened, or imported, while the context lasts."""
    paths: list[Path] = []
    is_watching = True

    def audit_hook(event: str, arguments: tuple[Any, ...]) -> None:
        # A hook cannot be taken out again, only be told to hear no more.
        if is_watching and event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            paths.append(Path(os.fsdecode(arguments[0])))

    before = set(sys.modules)
    sys.addaudithook(audit_hook)
    try:
        yield paths
    finally:
        is_watching = False
        # A module that comes from Python's cache is imported without its source being opened.
        for name in set(sys.modules) - before:
            file = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(file, str):
                paths.append(Path(file))


def build_bundle(paths: Iterable[Path], *, scenario: Path, working_directory: Path) -> FileBundle:
    """Return the parcel of what was opened: the scenario file, and what lies below it or the working directory."""
    roots = [working_directory.resolve(), scenario.resolve().parent]
    package_dir = Path(__file__).resolve().parents[1]
    # The interpreter's own files may lie in a virtual environment below the working directory.
    excluded_roots = [package_dir, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()]
    found = {scenario.resolve()}
    for path in paths:
        resolved = (working_directory / path).resolve()
        if not resolved.is_file() or any(resolved.is_relative_to(place) for place in excluded_roots):
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

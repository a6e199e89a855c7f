"""The files that a scenario needs in another environment: those that it opens while it is loaded.

A bundle holds only files below the working directory or the scenario file's directory, no hidden files, which can be
keys or caches, and no files whose names are those of credentials. Links count as the files that they lead to.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from loadgen.errors import UsageError

MAX_BUNDLE_BYTES = 1 << 30  # a job downloads all of it before it starts; payload files are some MB
# Names that keys and credentials usually have: of OpenSSH, OpenSSL, the JDK, PuTTY, AWS's console and CLI, Google
# Cloud, Kubernetes, Terraform, curl and Apache. Compared without case.
_CREDENTIAL_PATTERNS = (
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.p8", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "*.asc", "*.gpg"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "credentials", "credentials.*", "*_credentials.*"),
    *("*-credentials.*", "*accesskeys*.csv", "rootkey*.csv", "client_secret*.json", "service-account*.json"),
    *("secrets", "secrets.*", "kubeconfig*", "*.tfstate", "*.tfstate.backup", "netrc", "_netrc", "htpasswd", "*.env"),
)
_CREDENTIAL_DIRECTORIES = frozenset({".aws", ".azure", ".docker", ".git", ".gnupg", ".kube", ".ssh"})


@dataclass(frozen=True, slots=True)
class FileBundle:
    """Files, and their layout in another environment.

    Args:
        files: path below the bundle's root -> local path.
        working_directory: path of the working directory below that root; empty for the root itself.
        omitted: opened files near the scenario that are left out, each with the reason.
    """

    files: dict[str, Path]
    working_directory: str
    omitted: tuple[str, ...] = ()

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

    Raises:
        UsageError: the scenario file is one that must not leave this machine, or the files are too large.
    """
    roots = [working_directory.resolve(), scenario.resolve().parent]
    named = scenario.resolve()
    reason = _exclusion(named.relative_to(named.parent), scenario.name)
    if reason or not _CREDENTIAL_DIRECTORIES.isdisjoint(named.parts):
        reason = reason or "it is in a directory of credentials or keys"
        raise UsageError(f"{scenario} is not uploaded: {reason}", hint="give a file that may leave this machine")
    package_dir = Path(__file__).resolve().parents[1]
    # A virtual environment can be below the working directory.
    excluded_roots = [package_dir, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()]
    found = {scenario.resolve()}
    omitted: dict[str, None] = {}
    for path in paths:
        given = working_directory / path
        resolved = given.resolve()
        if not resolved.is_file() or any(resolved.is_relative_to(excluded) for excluded in excluded_roots):
            continue
        root = next((root for root in roots if resolved.is_relative_to(root)), None)
        if resolved.suffix == ".pyc" or (root is None and not _is_below(given, roots)):
            continue
        reason = "it leads out of the directory" if root is None else _exclusion(resolved.relative_to(root), given.name)
        if reason:
            omitted[f"{path}: {reason}"] = None
        else:
            found.add(resolved)
    _check_size(found)
    base = Path(os.path.commonpath([working_directory.resolve(), *(path.parent for path in found)]))
    files = {path.relative_to(base).as_posix(): path for path in sorted(found)}
    directory = working_directory.resolve().relative_to(base).as_posix()
    return FileBundle(files, "" if directory == "." else directory, tuple(omitted))


def _is_below(path: Path, roots: Iterable[Path]) -> bool:
    """Return whether a path, with its links unresolved, is below one of the directories."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  resolve() would follow the link
    return any(absolute.is_relative_to(root) for root in roots)


def _exclusion(relative: Path, given_name: str) -> str:
    """Return why a file is not uploaded; empty if it may be."""
    if any(part.startswith(".") or part == "__pycache__" for part in relative.parts):
        return "hidden files are not uploaded"
    if any(fnmatch(name.lower(), pattern) for name in (relative.name, given_name) for pattern in _CREDENTIAL_PATTERNS):
        return "its name is one of keys and credentials"
    return ""


def _check_size(files: Iterable[Path]) -> None:
    sizes = {path: path.stat().st_size for path in files}
    total = sum(sizes.values())
    if total > MAX_BUNDLE_BYTES:
        largest = max(sizes, key=lambda path: sizes[path])
        raise UsageError(
            f"the scenario opens {total / 2**20:,.0f} MiB of files, the limit is {MAX_BUNDLE_BYTES >> 20:,} MiB; "
            f"the largest is {largest} with {sizes[largest] / 2**20:,.0f} MiB",
            hint="open files that the benchmark does not need only outside of the job",
        )

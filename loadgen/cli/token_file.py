"""The file that holds a running emulator's token, readable by its user alone."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from loadgen.cli.messages import echo


@contextmanager
def token_file(environment: Mapping[str, str], url: str, token: str) -> Iterator[Path | None]:
    """Write a token into a file of mode 0600 while the context is active.

    A directory that cannot be written is reported on stderr: the token is printed as well.

    Args:
        environment: names loadgen's state directory; without one there is no file.
        url: of the emulator, from which the file gets its name.
        token: of the emulator.
    """
    from loadgen.aws.deployment.run_registry import state_directory  # of which most emulators have no need

    state_dir = state_directory(environment)
    path = None if state_dir is None else state_dir / "emulators" / f"{urlsplit(url).netloc.replace(':', '-')}.token"
    try:
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, token)
    except OSError as error:
        echo(f"loadgen: the token is in no file: {path}: {error.strerror}")
        path = None
    try:
        yield path
    finally:
        if path is not None:
            with suppress(OSError):
                path.unlink()


def _write(path: Path, token: str) -> None:
    # A new file, renamed: a file or link that is already there keeps neither its readers nor its mode.
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123  a descriptor
        os.fchmod(descriptor, 0o600)  # whatever the umask
        file.write(token + "\n")
    partial.replace(path)

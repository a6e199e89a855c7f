"""Zygote: starts loadgen's command line again and again for a fraction of what an interpreter costs.

A process that has imported everything forks a child for each run; the child has a session, files and an environment of
its own, hears signals and can be killed as any process can. Orders come as JSON lines on standard input, and what
became of each goes out the same way: {"id": 1, "pid": 123}, then {"id": 1, "exit": 0} (negative: the signal).
"""

import asyncio
import importlib
import json
import os
import resource
import select
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_POLL_INTERVAL = 0.01


@dataclass(slots=True)
class Child:
    """A run of the command line; `pid` and `exit` come when they are known."""

    pid: "asyncio.Future[int]"
    exit: "asyncio.Future[int]"
    stdout: Path
    stderr: Path

    def signal(self, number: int) -> None:
        """Send it a signal, unless it is over; it must have begun."""
        pid = self.pid.result()
        if not self.exit.done():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return


@dataclass(slots=True)
class ForkServer:
    """The way to the process that forks. Made by `fork_server`."""

    process: asyncio.subprocess.Process
    children: dict[int, Child] = field(default_factory=dict)

    def start(self, argv: Sequence[str], directory: Path, environment: Mapping[str, str]) -> Child:
        """Run `loadgen WORDS` in a directory, with nothing but this environment beside PATH and PYTHONPATH."""
        loop = asyncio.get_running_loop()
        number = len(self.children) + 1
        child = Child(
            loop.create_future(), loop.create_future(), directory / f"out.{number}", directory / f"err.{number}"
        )
        self.children[number] = child
        order = {
            "id": number,
            "words": list(argv),
            "directory": str(directory),
            "environment": dict(environment),
            "stdout": str(child.stdout),
            "stderr": str(child.stderr),
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        return child

    async def read_events(self) -> None:
        """Pass on what becomes of the children."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            said = json.loads(line)
            child = self.children[said["id"]]
            (child.pid if "pid" in said else child.exit).set_result(said.get("pid", said.get("exit")))


@asynccontextmanager
async def fork_server() -> AsyncIterator[ForkServer]:
    """Start a zygote, and end it with all its children on the way out."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.fork_server"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    made = ForkServer(process)
    listening = asyncio.create_task(made.read_events())
    try:
        yield made
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        await listening


def main() -> None:
    """Fork a child for each order until the input ends; then kill those that are left."""
    _import_all()
    running: dict[int, int] = {}
    pending = b""
    while True:
        readable, _, _ = select.select([0], [], [], _POLL_INTERVAL if running else None)
        if readable:
            read = os.read(0, 1 << 16)
            if not read:
                break
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                order = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    _run_child(order)
                running[pid] = order["id"]
                _send_event(id=order["id"], pid=pid)
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            _send_event(id=running.pop(pid), exit=os.waitstatus_to_exitcode(status))
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _import_all() -> None:
    for name in (
        "cli.main",
        "cli.run",
        "aws.account",
        "cli.cleanup",
        "targets.emulated",
        "targets.transport_selection",
    ):
        importlib.import_module(f"loadgen.{name}")
    for name in ("botocore", "wire.transport", "wire.sdk_probe"):
        importlib.import_module(f"loadgen.transport.{name}")
    importlib.import_module("uvloop")
    _stub_slow_parts()


def _stub_slow_parts() -> None:
    """Leave out what costs most and is tested elsewhere: drawing charts, parsing botocore's models each time."""
    import vl_convert
    from botocore.loaders import JSONFileLoader

    vl_convert.vegalite_to_svg = lambda *_, **__: '<svg xmlns="http://www.w3.org/2000/svg"/>'
    load, loaded = JSONFileLoader.load_file, dict[str, Any]()

    def load_once(self: Any, path: str) -> Any:
        if path not in loaded:
            loaded[path] = load(self, path)
        return loaded[path]

    JSONFileLoader.load_file = load_once
    asyncio.run(_open_clients())  # so that every model is loaded before the first fork


async def _open_clients() -> None:
    from loadgen.aws.session import AwsConnectionConfig, open_clients

    async with open_clients(AwsConnectionConfig(emulator_url="http://127.0.0.1:9")):
        pass


def _send_event(**event: int) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


def _run_child(request: Mapping[str, Any]) -> None:
    status = 70
    try:
        os.setsid()
        for number, name in ((1, "stdout"), (2, "stderr")):
            opened = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(opened, number)
            os.close(opened)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
        os.environ.clear()
        os.environ.update(kept | request["environment"])
        os.chdir(request["directory"])
        if limit := os.environ.pop("BENCH_FILE_LIMIT", ""):  # bytes in any one file: a disk that is full
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
        if limit := os.environ.pop("BENCH_OPEN_LIMIT", ""):
            resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), int(limit)))

        from loadgen.cli import main

        status = main.main(request["words"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()

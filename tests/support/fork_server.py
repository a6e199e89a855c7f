"""Fork server: starts loadgen's command line many times at a fraction of the cost of an interpreter.

A process that has imported everything forks a child for each run. A child has its own session, files and environment,
handles signals and can be killed as any process can. Orders arrive as JSON lines on standard input; events leave in the
same way: {"id": 1, "pid": 123}, then {"id": 1, "exit": 0} (negative: the signal).
"""

import asyncio
import importlib
import json
import os
import resource
import select
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

FILE_LIMIT = "TEST_FILE_LIMIT"  # environment of a child: bytes in any one file, which stands for a full disk
OPEN_LIMIT = "TEST_OPEN_LIMIT"  # environment of a child: open file descriptors
_POLL_INTERVAL = 0.01
_T = TypeVar("_T")


@dataclass(slots=True)
class Child:
    """A run of the command line; `pid` and `exit` are set when they are known."""

    pid: "asyncio.Future[int]"
    exit: "asyncio.Future[int]"
    stdout: Path
    stderr: Path

    def signal(self, number: int) -> None:
        """Send it a signal unless it has ended; it must have started."""
        pid = self.pid.result()
        if not self.exit.done():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return


@dataclass(slots=True)
class ForkServer:
    """The client of the process that forks. Made by `open_fork_server`."""

    process: asyncio.subprocess.Process
    children: dict[int, Child] = field(default_factory=dict)

    def start(self, argv: Sequence[str], directory: Path, environment: Mapping[str, str]) -> Child:
        """Run `loadgen ARGV` in a directory; the environment is this one, PATH, PYTHONPATH and LANG."""
        loop = asyncio.get_running_loop()
        number = len(self.children) + 1
        child = Child(
            loop.create_future(), loop.create_future(), directory / f"out.{number}", directory / f"err.{number}"
        )
        self.children[number] = child
        for path in (child.stdout, child.stderr):
            path.touch()  # a signal may end the child before it opens them
        order = {
            "id": number,
            "argv": list(argv),
            "directory": str(directory),
            "environment": dict(environment),
            "stdout": str(child.stdout),
            "stderr": str(child.stderr),
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        return child

    async def read_events(self) -> None:
        """Set the futures of the children as events arrive."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            event = json.loads(line)
            child = self.children[event["id"]]
            (child.pid if "pid" in event else child.exit).set_result(event.get("pid", event.get("exit")))


@asynccontextmanager
async def open_fork_server() -> AsyncIterator[ForkServer]:
    """Start a fork server; end it and all its children on exit."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.fork_server"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    server = ForkServer(process)
    reading = asyncio.create_task(server.read_events())
    try:
        yield server
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        await reading


async def run_concurrently(works: Sequence[Callable[[], Awaitable[_T]]], limit: int | None = None) -> list[_T]:
    """Run coroutine functions, `limit` at a time, and return their results in order.

    The default limit is twice the number of cores, since runs mostly wait.
    """
    turn = asyncio.Semaphore(limit or 2 * (os.cpu_count() or 1))

    async def one(work: Callable[[], Awaitable[_T]]) -> _T:
        async with turn:
            return await work()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(work)) for work in works]
    return [task.result() for task in tasks]


def run_with_fork_server(work: Callable[[ForkServer], Awaitable[_T]]) -> _T:
    """Run a coroutine function with a fork server of its own."""

    async def main() -> _T:
        async with open_fork_server() as server:
            return await work(server)

    return asyncio.run(main())


# --- the process that forks ------------------------------------------------------------------------------------------


def main() -> None:
    """Fork a child for each order until standard input ends; then kill the children that still run."""
    # As before an interpreter has started: SIGINT ends a process, and raises nothing in a child's first lines.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
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
        "aws.account",
        "cli.run_cleanup",
        "cli.main",
        "cli.scenario_run",
        "targets.emulated",
        "targets.transport_selection",
        "transport.botocore",
        "transport.wire.sdk_probe",
        "transport.wire.transport",
    ):
        importlib.import_module(f"loadgen.{name}")
    importlib.import_module("uvloop")
    _stub_slow_parts()


def _stub_slow_parts() -> None:
    """Replace what costs most and is tested elsewhere: drawing charts, and parsing botocore's models for each run."""
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


def _run_child(order: Mapping[str, Any]) -> None:
    status = 70
    try:
        os.setsid()
        for number, name in ((1, "stdout"), (2, "stderr")):
            opened = os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(opened, number)
            os.close(opened)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
        os.environ.clear()
        os.environ.update(kept | order["environment"])
        os.chdir(order["directory"])
        for name, kind in ((FILE_LIMIT, resource.RLIMIT_FSIZE), (OPEN_LIMIT, resource.RLIMIT_NOFILE)):
            if limit := os.environ.pop(name, ""):
                resource.setrlimit(kind, (int(limit), int(limit)))

        sys.argv[1:] = order["argv"]
        status = _run_main()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _run_main() -> int:
    """Return the exit status of `python -m loadgen`, which ends by SystemExit."""
    from loadgen.__main__ import main

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        main()
    except KeyboardInterrupt:  # before the first line of main(), where the interpreter would end by the signal
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    raise AssertionError


if __name__ == "__main__":
    main()

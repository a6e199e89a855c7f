"""The command `emulate`: an emulator in a process of its own, until it is told to stop.

Its first line on stdout is its URL, once it accepts. aiohttp and uvloop are imported only when it runs, so that
`--help` stays quick.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from loadgen.errors import ExitStatus

if TYPE_CHECKING:
    from loadgen.emulator.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to a parser."""
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--profile", default="mobilenet-v2", metavar="NAME", help="profile of models that name none")
    parser.add_argument(
        "--quotas", choices=("documented", "ordinary"), default="documented", help="ordinary: what new accounts have"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="decides every random draw")
    parser.add_argument(
        "--time-scale",
        type=float,
        default=1.0,
        metavar="X",
        help="deploys, deletes and cold starts take 1/X of their time",
    )
    parser.add_argument(
        "--metric-lag", type=float, default=0.0, metavar="S", help="seconds until a minute of metrics can be read"
    )
    parser.add_argument(
        "--run-jobs",
        action="store_true",
        help="run Processing jobs, as you, for whoever asks this port",
    )
    parser.add_argument("--exit-with-stdin", action="store_true", help="stop when stdin closes")


def run(arguments: argparse.Namespace) -> int:
    """Run the emulator until SIGTERM, SIGINT or, with --with-parent, the end of stdin.

    Raises:
        UsageError: an option's value cannot be meant.
        ResourceError: the port cannot be had.
    """
    from loadgen.emulator.settings import Settings

    settings = Settings(
        profile=arguments.profile,
        seed=arguments.seed,
        quotas=arguments.quotas,
        time_scale=arguments.time_scale,
        metric_lag=arguments.metric_lag,
        runs_jobs=arguments.run_jobs,
    )
    work = serve_until_stopped(settings, arguments.port, exit_with_stdin=arguments.exit_with_stdin)
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)
    return int(ExitStatus.OK)


async def serve_until_stopped(settings: "Settings", port: int = 0, *, exit_with_stdin: bool = False) -> None:
    """Serve until told to stop; the first line on stdout is the URL.

    Raises:
        ResourceError: the port cannot be had.
    """
    from loadgen.emulator.server import serve

    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if exit_with_stdin:
        # A thread, since stdin may be a pipe, a file or a terminal, and no loop can wait for all of these. It is a
        # daemon: a read that never ends must not keep the process.
        threading.Thread(target=_wait_for_stdin_eof, args=(loop, stopped), daemon=True).start()
    async with serve(settings, port=port) as emulator:
        sys.stdout.write(emulator.url + "\n")
        sys.stdout.flush()
        await stopped.wait()


def _wait_for_stdin_eof(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    # A stdin that cannot be read (closed from the start) has ended as well.
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    # The loop may have ended meanwhile, by a signal.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stopped.set)

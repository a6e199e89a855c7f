"""The command `emulate`: serve the emulator until SIGTERM, SIGINT or, with --exit-with-stdin, the end of stdin.

The first line on stdout is the URL, once the server accepts connections. If clients need a token, the next two lines
are the token and the file that holds it.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from loadgen.cli.options import AddParser, add_debug_option
from loadgen.cli.token_file import token_file
from loadgen.errors import ExitStatus

if TYPE_CHECKING:
    from loadgen.emulator.settings import Settings


def add_parser(add: AddParser) -> None:
    """Add the command's parser."""
    parser = add(
        "emulate",
        help="serve the AWS APIs on one loopback port (no AWS account, no cost)",
        description="Serve the AWS APIs on one port. The first line on stdout is the URL.",
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port (default: a free one)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on (default 127.0.0.1); off loopback, such as 0.0.0.0 in a container, every request "
        "needs the token",
    )
    parser.add_argument(
        "--host-name",
        action="append",
        default=[],
        metavar="NAME",
        help="name by which clients reach it, such as that of a container; repeatable; every request needs the token",
    )
    parser.add_argument(
        "--profile",
        default="mobilenet-v2",
        metavar="NAME",
        help="behaviour of models that name no profile (default mobilenet-v2)",
    )
    parser.add_argument(
        "--quotas",
        choices=("documented", "ordinary"),
        default="documented",
        help="account quotas: documented (default), or ordinary for those of a new account",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of every random draw (default 1)")
    parser.add_argument(
        "--time-scale",
        type=float,
        default=1.0,
        metavar="X",
        help="divide the duration of deployments, deletions and cold starts by X (default 1)",
    )
    parser.add_argument(
        "--metric-lag",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds until CloudWatch returns a minute's metrics (default 0)",
    )
    parser.add_argument(
        "--run-jobs",
        action="store_true",
        help="execute Processing job commands locally with your user's privileges; jobs and S3 need the token, which "
        "is printed (or given as LOADGEN_EMULATOR_TOKEN)",
    )
    parser.add_argument("--exit-with-stdin", action="store_true", help="exit when stdin is closed")
    add_debug_option(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> ExitStatus:
    """Serve the emulator until it is stopped.

    Raises:
        UsageError: an option value or the token is invalid.
        ResourceError: the port cannot be bound.
    """
    from loadgen.emulator.access import TOKEN_VARIABLE, new_token
    from loadgen.emulator.settings import Settings
    from loadgen.event_loop import new_runner
    from loadgen.open_files import raise_open_files_limit

    raise_open_files_limit()
    settings = Settings(
        profile=options.profile,
        seed=options.seed,
        quotas=options.quotas,
        time_scale=options.time_scale,
        metric_lag=options.metric_lag,
        runs_jobs=options.run_jobs,
        token=os.environ.get(TOKEN_VARIABLE) or new_token(),
        host_names=tuple(options.host_name),
    )
    with new_runner() as runner:
        runner.run(_serve(settings, options))
    return ExitStatus.OK


async def _serve(settings: "Settings", options: argparse.Namespace) -> None:
    from loadgen.emulator.server import serve

    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if options.exit_with_stdin:
        # A thread, because stdin can be a pipe, a file or a terminal, and an event loop cannot wait for all of them.
        # A daemon, so that a read that never returns does not keep the process alive.
        threading.Thread(target=_wait_for_stdin_eof, args=(loop, stopped), daemon=True).start()
    async with serve(settings, host=options.host, port=options.port) as emulator:
        with contextlib.ExitStack() as stack:
            lines = [emulator.url]
            if emulator.token:
                path = stack.enter_context(token_file(os.environ, emulator.url, emulator.token))
                lines += [f"AWS_SESSION_TOKEN={emulator.token}", f"token file: {path or 'none'}"]
            sys.stdout.write("".join(f"{line}\n" for line in lines))
            sys.stdout.flush()
            await stopped.wait()


def _wait_for_stdin_eof(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    # A stdin that cannot be read (closed from the start) counts as ended.
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    # A signal may have closed the loop in the meantime.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stopped.set)

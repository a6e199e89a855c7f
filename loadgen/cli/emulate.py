"""The command `emulate`: serve the emulator until SIGTERM, SIGINT or, with --exit-with-stdin, the end of stdin.

The first line on stdout is the URL, once the server accepts connections.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from loadgen.cli.options import AddParser, add_debug_option
from loadgen.errors import ExitStatus

if TYPE_CHECKING:
    from loadgen.emulator.settings import Settings


def add_parser(add: AddParser) -> None:
    """Add the command's parser."""
    parser = add(
        "emulate",
        help="serve the AWS APIs on one loopback port (no AWS account, no cost)",
        description="Serve the AWS APIs on one loopback port. The first line on stdout is the URL.",
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (default: a free one)")
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
        help="execute Processing job commands locally with your user's privileges (anyone who can reach the port can "
        "run code)",
    )
    parser.add_argument(
        "--verify-signatures",
        action="store_true",
        help="refuse requests that are not signed with the key of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or with "
        "loadgen's own",
    )
    parser.add_argument("--exit-with-stdin", action="store_true", help="exit when stdin is closed")
    add_debug_option(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> ExitStatus:
    """Serve the emulator until it is stopped.

    Raises:
        UsageError: an option value is invalid.
        ResourceError: the port cannot be bound.
    """
    from loadgen.emulator.settings import Settings
    from loadgen.event_loop import new_runner

    settings = Settings(
        profile=options.profile,
        seed=options.seed,
        quotas=options.quotas,
        time_scale=options.time_scale,
        metric_lag=options.metric_lag,
        runs_jobs=options.run_jobs,
        signing_keys=_signing_keys(os.environ) if options.verify_signatures else {},
    )
    with new_runner() as runner:
        runner.run(serve_until_stopped(settings, options.port, exit_with_stdin=options.exit_with_stdin))
    return ExitStatus.OK


def _signing_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the key that the environment names, from which SDKs take it too, and that of loadgen's own client."""
    key, secret = (environment.get(f"AWS_{name}", "") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    return {"emulator": "emulator"} | ({key: secret} if key and secret else {})


async def serve_until_stopped(settings: "Settings", port: int = 0, *, exit_with_stdin: bool = False) -> None:
    """Print the URL and serve until SIGTERM or SIGINT.

    Args:
        settings: of the emulator.
        port: on 127.0.0.1; 0 for a free one.
        exit_with_stdin: True to stop at the end of stdin as well.

    Raises:
        ResourceError: the port cannot be bound.
    """
    from loadgen.emulator.server import serve

    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if exit_with_stdin:
        # A thread, because stdin can be a pipe, a file or a terminal, and an event loop cannot wait for all of them.
        # A daemon, so that a read that never returns does not keep the process alive.
        threading.Thread(target=_wait_for_stdin_eof, args=(loop, stopped), daemon=True).start()
    async with serve(settings, port=port) as emulator:
        sys.stdout.write(emulator.url + "\n")
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

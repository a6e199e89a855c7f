"""Signals: what a signal does when Python swallows the exception of its handler."""

import asyncio
import os
import signal

from loadgen.cli.signals import SignalHandler
from loadgen.errors import ExitStatus


class _Destructor:
    """Sends SIGTERM to this process while it is being deleted."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_inside_a_destructor_stops_the_run(capfd):
    """A signal whose exception a destructor swallows is not lost: the run stops at its start, and nothing is printed."""
    handler = SignalHandler()
    stop = asyncio.Event()

    async def main():
        with handler.stop_on_signal(stop, lambda _: None):
            return stop.is_set()

    with handler.install():
        victim = _Destructor()
        del victim
        assert asyncio.run(main())
    assert handler.status is ExitStatus.TERMINATED
    assert capfd.readouterr().err == ""

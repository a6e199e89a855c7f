"""Interrupts: what signals do to a run. With cli.py the only file that touches the process.

The first SIGINT, SIGTERM or SIGHUP ends the run politely: nothing more is sent, what is in flight is given a grace,
endpoints are removed, the report is written. A second one leaves at once and says what may remain. Handlers are
Python's own and not the loop's, so that they are heard while user code keeps the loop from turning.
"""

import asyncio
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from loadgen.errors import ExitStatus
from loadgen.interfaces import Account

_SIGNAL_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupted(KeyboardInterrupt):
    """A signal came where there is nothing to end politely.

    Args:
        status: to exit with.
    """

    def __init__(self, status: ExitStatus) -> None:
        super().__init__()
        self.status = status


class SignalHandler:
    """Signals of one run.

    Args:
        term_budget: seconds from SIGTERM or SIGHUP until the process must be gone; None for as long as it takes.

    `status` is what a signal asks to exit with; None while there was none.
    """

    def __init__(self, *, term_budget: float | None = None) -> None:
        self.status: ExitStatus | None = None
        self.term_budget = term_budget
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._log: Callable[[str], None] = lambda _: None
        self._account: Account | None = None
        self._run_id = ""

    @contextmanager
    def install(self) -> Iterator[None]:
        """Hear signals while the context lasts; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [getattr(signal, name) for name in _SIGNAL_NAMES if hasattr(signal, name)]
        before = {number: signal.signal(number, self._on_signal) for number in numbers}
        can_dump = hasattr(signal, "SIGQUIT") and _has_file_descriptor(sys.stderr)
        if can_dump:
            faulthandler.register(signal.SIGQUIT, file=sys.stderr)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if can_dump:
                faulthandler.unregister(signal.SIGQUIT)

    @contextmanager
    def stop_on_signal(self, stop: asyncio.Event, log: Callable[[str], None]) -> Iterator[None]:
        """Set `stop` when a signal comes while the context lasts; entered on the loop.

        Args:
            stop: ends the run.
            log: takes a sentence for whoever watches.
        """
        self._stop, self._log, self._loop = stop, log, asyncio.get_running_loop()
        try:
            yield
        finally:
            self._loop = None

    def set_account(self, account: Account, run_id: str) -> None:
        """Take the account that what may remain is asked of, and the run's id for the command that removes it."""
        self._account, self._run_id = account, run_id

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        is_first, loop = self.status is None, self._loop
        if is_first:
            self.status = ExitStatus.INTERRUPTED if name == "SIGINT" else ExitStatus.TERMINATED
        if loop is None:
            raise Interrupted(self.status or ExitStatus.INTERRUPTED)
        if not is_first:
            self._exit_now(f"second {name}")
        loop.call_soon_threadsafe(self._request_stop, name)

    def _request_stop(self, name: str) -> None:
        assert self._stop is not None  # noqa: S101 - it came with the loop
        self._stop.set()
        held = len(self._account.leftovers()) if self._account is not None else 0
        doing = f"removing {held} endpoints and configurations" if held else "nothing has to be removed"
        self._log(f"{name}: sending no more, {doing}, keeping what was measured (again: leave at once)")
        if self.term_budget is not None and name != "SIGINT":
            asyncio.get_running_loop().call_later(
                self.term_budget, self._exit_now, f"{self.term_budget:g} s after {name}"
            )

    def _exit_now(self, reason: str) -> None:
        """Exit now. Nothing that could wait, raise or hang is done: the journal says all that must outlive us."""
        remaining = [str(leftover) for leftover in self._account.leftovers()] if self._account is not None else []
        lines = [f"loadgen: {reason}: leaving at once; {'may remain:' if remaining else 'nothing remains'}"]
        lines += [f"  {line}" for line in remaining]
        if remaining:
            lines.append(f"  remove it all: python -m loadgen cleanup {self._run_id}")
        with suppress(OSError):
            os.write(2, ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))
        os._exit(ExitStatus.RESOURCE_LEAK if remaining else self.status or ExitStatus.INTERRUPTED)


def _has_file_descriptor(stream: object) -> bool:
    with suppress(OSError, AttributeError, ValueError):
        stream.fileno()  # type: ignore[attr-defined]  # a stream in a test may be no file
        return True
    return False

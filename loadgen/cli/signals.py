"""Signal handling of a run.

The first SIGINT, SIGTERM or SIGHUP stops the run: no further request is sent, requests in flight get a grace period,
endpoints are deleted, the report is written. A second signal exits at once and lists what may still exist. The
handlers are Python's, not the event loop's, so that they run while user code blocks the loop.
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
from typing import TYPE_CHECKING

from loadgen.errors import ExitStatus

if TYPE_CHECKING:
    from loadgen.interfaces import Account

_SIGNAL_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupted(KeyboardInterrupt):
    """A signal arrived outside of `SignalHandler.stop_on_signal`, where there is no run to stop.

    Args:
        status: exit status of the signal.
    """

    def __init__(self, status: ExitStatus) -> None:
        super().__init__()
        self.status = status


class SignalHandler:
    """Handle the signals of one run.

    Args:
        term_budget: seconds from SIGTERM or SIGHUP until the process exits; None without a limit.

    `status` is the exit status of the first signal, None before it.
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
        """Handle signals while the context is active; does nothing outside of the main thread.

        SIGHUP stays ignored if the process was started so, as `nohup` does.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [getattr(signal, name) for name in _SIGNAL_NAMES if hasattr(signal, name)]
        # Not SIGINT: a script's shell ignores it in every background job, where `kill -INT` must still stop the run.
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            numbers.remove(signal.SIGHUP)
        before = {number: signal.signal(number, self._on_signal) for number in numbers}
        # Python swallows and prints what a handler raises inside a destructor or a weak reference's callback;
        # `stop_on_signal` acts on such a signal from `status`.
        unraisable_hook = sys.unraisablehook
        sys.unraisablehook = lambda event: None if isinstance(event.exc_value, Interrupted) else unraisable_hook(event)
        can_dump = hasattr(signal, "SIGQUIT") and _has_file_descriptor(sys.stderr)
        if can_dump:
            faulthandler.register(signal.SIGQUIT, file=sys.stderr)
        try:
            yield
        finally:
            sys.unraisablehook = unraisable_hook
            for number, handler in before.items():
                signal.signal(number, handler)
            if can_dump:
                faulthandler.unregister(signal.SIGQUIT)

    @contextmanager
    def stop_on_signal(self, stop: asyncio.Event, log: Callable[[str], None]) -> Iterator[None]:
        """Set `stop` when a signal arrives while the context is active; must be entered on the event loop.

        Args:
            stop: stops the run.
            log: receives a message for the user.
        """
        self._stop, self._log, self._loop = stop, log, asyncio.get_running_loop()
        if self.status is not None:
            stop.set()
        try:
            yield
        finally:
            self._loop = None

    def set_account(self, account: "Account", run_id: str) -> None:
        """Set the account whose leftovers are listed at exit, and the run's id for the cleanup command."""
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
        assert self._stop is not None  # noqa: S101 - set together with the loop
        self._stop.set()
        count = len(self._account.leftovers()) if self._account is not None else 0
        deleting = f"deleting {count} resource{'s' if count != 1 else ''}" if count else "no resources to delete"
        self._log(
            f"{name} received: load stopped; {deleting}; results are kept. "
            "Send the signal again (Ctrl-C) to exit immediately."
        )
        if self.term_budget is not None and name != "SIGINT":
            asyncio.get_running_loop().call_later(
                self.term_budget, self._exit_now, f"{self.term_budget:g} s after {name}"
            )

    def _exit_now(self, reason: str) -> None:
        """Exit without anything that could wait, raise or hang; the journal already holds what must survive."""
        remaining = [str(leftover) for leftover in self._account.leftovers()] if self._account is not None else []
        if remaining:
            lines = [f"loadgen: {reason}: exiting without cleanup. Resources that may still exist:"]
            lines += [f"  {line}" for line in remaining]
            lines.append(f"  To delete them: python -m loadgen cleanup {self._run_id}")
        else:
            lines = [f"loadgen: {reason}: exiting; no resources remain"]
        with suppress(OSError):
            os.write(2, ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))
        os._exit(ExitStatus.RESOURCE_LEAK if remaining else self.status or ExitStatus.INTERRUPTED)


def _has_file_descriptor(stream: object) -> bool:
    with suppress(OSError, AttributeError, ValueError):
        stream.fileno()  # type: ignore[attr-defined]  # a stream in a test may not be a file
        return True
    return False

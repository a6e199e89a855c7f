"""The oracle: a server that knows its true latencies, in a process and on a core of its own.

It answers InvokeEndpoint on loopback when its script says, to some microseconds: a kernel timer wakes it shortly
before and it spins the rest. It stamps each request with CLOCK_MONOTONIC (the clock of `time.perf_counter` on Linux)
when its last byte was read and when its answer is handed over, echoes both stamps, and keeps them.

It shares no code with loadgen, or it could not judge it. Not an HTTP library: whole requests with a Content-Length,
one at a time on each connection. Linux only.
"""

import argparse
import contextlib
import ctypes
import gc
import heapq
import http.client
import os
import re
import select
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.scripts import Constant, Script, from_json, to_json

_ROOT = Path(__file__).parents[1]  # where `python -m bench.oracle` works
_SPIN_NS = 120_000  # before an answer is due; a timer's wake-up takes 50 to 100 us on a virtual machine
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TFD_NONBLOCK_CLOEXEC = 0o2004000  # linux/timerfd.h
_TFD_TIMER_ABSTIME = 1
# The stamps are in the headers for whoever reads those, and in the body for whoever does not.
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 40\r\n"
    b"x-amzn-RequestId: oracle-%d\r\nx-oracle-received: %d\r\nx-oracle-sent: %d\r\n\r\n%019d %019d\n"
)


def stamps(body: bytes) -> tuple[float, float]:
    """Return (received, sent) from an answer's body: seconds on the scale of `time.perf_counter`."""
    received, sent = body.split()
    return int(received) / 1e9, int(sent) / 1e9


class _Timer:
    """One kernel timer, set to absolute CLOCK_MONOTONIC nanoseconds."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, instant: int) -> None:
        spec = (ctypes.c_long * 4)(0, 0, *divmod(instant, 1_000_000_000))
        self._libc.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, spec, None)

    def on_expired(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 8)


class _Server:
    """One loop over sockets and due answers."""

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening
        self.epoll = select.epoll()
        self.timer = _Timer()
        self.connections: dict[int, tuple[socket.socket, bytearray]] = {}
        self.due: list[tuple[int, int, int, int]] = []  # (due, order, received, descriptor)
        self.timer_instant = 0
        self.order = 0
        self.start_script(Constant())
        for fd in (listening.fileno(), self.timer.fd, sys.stdin.fileno()):
            self.epoll.register(fd, select.EPOLLIN)

    def start_script(self, script: Script) -> None:
        """Begin a script with empty books."""
        self.script = script
        self.first = 0
        self.timings = array("q")  # received, due, sent; nanoseconds

    def serve(self) -> None:
        """Serve until standard input is closed."""
        special = {self.listening.fileno(): self._accept, self.timer.fd: self.timer.on_expired}
        while True:
            for fd, _ in self.epoll.poll(self._poll_timeout()):
                if fd in self.connections:
                    self._read_from(fd)
                elif fd in special:
                    special[fd]()
                else:
                    return
            self._send_due()

    def _poll_timeout(self) -> float | None:
        """Return 0 while the next answer is close enough to spin for; else set the timer to that and return None."""
        if not self.due:
            return None
        wake = self.due[0][0] - _SPIN_NS
        if wake <= time.monotonic_ns():
            return 0
        if wake != self.timer_instant:
            self.timer_instant = wake
            self.timer.set(wake)
        return None

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self.listening.accept()
                connection.settimeout(0)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections[connection.fileno()] = connection, bytearray()
                self.epoll.register(connection.fileno(), select.EPOLLIN)

    def _read_from(self, fd: int) -> None:
        connection, heard = self.connections[fd]
        try:
            part = connection.recv(1 << 20)
        except ConnectionResetError:
            part = b""
        now = time.monotonic_ns()
        if not part:
            self.epoll.unregister(fd)
            connection.close()
            del self.connections[fd]
            return
        heard += part
        head = heard.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(heard, 0, head + 2)
        end = head + 4 + (int(length[1]) if length else 0)
        if len(heard) < end:
            return
        path, body = bytes(heard[:head]).split(b" ", 2)[1], bytes(heard[head + 4 : end])
        del heard[:end]
        if path.startswith(b"/endpoints/"):
            self._schedule_answer(fd, now)
        else:
            self._control(connection, path, body)

    def _schedule_answer(self, fd: int, now: int) -> None:
        self.first = self.first or now
        due = self.first + round(self.script.due((now - self.first) / 1e9) * 1e9)
        self.order += 1
        heapq.heappush(self.due, (due, self.order, now, fd))

    def _send_due(self) -> None:
        """Send what is due, each with the instant of its own."""
        while self.due and self.due[0][0] <= time.monotonic_ns():
            due, order, received, fd = heapq.heappop(self.due)
            if fd not in self.connections:
                continue  # the client has hung up
            sent = time.monotonic_ns()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.connections[fd][0].send(_ANSWER % (order, received, sent, received, sent))
            self.timings.extend((received, due, sent))

    def _control(self, connection: socket.socket, path: bytes, body: bytes) -> None:
        answer = b""
        if path == b"/play":
            self.start_script(from_json(body))
        elif path == b"/books":
            answer = self.timings.tobytes()
        connection.settimeout(30)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
        connection.settimeout(0)


@dataclass(frozen=True, slots=True)
class OracleTimings:
    """The oracle's own account of what it did since the script began; seconds, shape (n,), in order of answering."""

    received: NDArray[np.float64]
    due: NDArray[np.float64]
    sent: NDArray[np.float64]

    @property
    def residence(self) -> NDArray[np.float64]:
        """True latencies: from the last byte of a request to its answer."""
        return self.sent - self.received


@dataclass(frozen=True, slots=True)
class Oracle:
    """An oracle that runs, seen from the process that started it."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Where its API is."""
        return f"http://127.0.0.1:{self.port}"

    def start_script(self, script: Script) -> None:
        """Begin a script; its clock starts with the first request."""
        self._request("POST", "/play", to_json(script))

    def timings(self) -> OracleTimings:
        """Return what it did since then."""
        columns = np.frombuffer(self._request("GET", "/books", ""), dtype=np.int64).reshape(-1, 3) / 1e9
        return OracleTimings(columns[:, 0], columns[:, 1], columns[:, 2])

    def _request(self, method: str, path: str, body: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body)
            return connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def running_oracle(core: int | None = None) -> Iterator[Oracle]:
    """Run an oracle until the block ends, on this core if one is named."""
    command = [sys.executable, "-m", "bench.oracle", *(["--core", str(core)] if core is not None else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT) as process:
        assert process.stdout is not None
        try:
            yield Oracle(int(process.stdout.readline()), process.pid)
        finally:
            process.communicate()  # closes its standard input: that ends it


def main() -> None:
    """Serve until standard input is closed; the port is the first line of the output."""
    arguments = argparse.ArgumentParser(description="A server that knows its true latencies.")
    arguments.add_argument("--core", type=int, help="the core to stay on")
    core = arguments.parse_args().core
    if core is not None:
        os.sched_setaffinity(0, {core})
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(4096)
        listening.settimeout(0)
        print(listening.getsockname()[1], flush=True)
        server = _Server(listening)
        gc.disable()  # nothing here is cyclic; a collection would be a latency of ours
        server.serve()


if __name__ == "__main__":
    main()

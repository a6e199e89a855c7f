"""The oracle: a server of known latencies, in its own process and on its own core.

It answers InvokeEndpoint on loopback at the times of its script, exact to some microseconds: a kernel timer wakes it
shortly before, and it spins the rest. It stamps each request with CLOCK_MONOTONIC (the clock of `time.perf_counter` on
Linux) when its last byte was read and when its response is sent, echoes both stamps, and keeps them.

It shares no code with loadgen, since it judges loadgen's figures. It is not an HTTP library: it reads whole requests
with a Content-Length, one at a time on each connection. Linux only.
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

from tests.support.latency_scripts import Constant, Script, from_json, to_json

_ROOT = Path(__file__).parents[2]  # where `python -m tests.support.oracle` works
_SPIN_NS = 120_000  # before a response is due; a timer's wake-up takes 50 to 100 us on a virtual machine
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TFD_NONBLOCK_CLOEXEC = 0o2004000  # linux/timerfd.h
_TFD_TIMER_ABSTIME = 1
# Both stamps are in the headers and in the body: some clients keep only one of them.
_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 40\r\n"
    b"x-amzn-RequestId: oracle-%d\r\nx-oracle-received: %d\r\nx-oracle-sent: %d\r\n\r\n%019d %019d\n"
)


def stamps(body: bytes) -> tuple[float, float]:
    """Return (received, sent) from the body of a response: seconds on the scale of `time.perf_counter`."""
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
    """One loop over sockets and due responses."""

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
        """Begin a script; forget the timings of the last one."""
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
        """Return 0 while the next response is close enough to spin; else set the timer and return None."""
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
        connection, received = self.connections[fd]
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
        received += part
        head = received.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(received, 0, head + 2)
        end = head + 4 + (int(length[1]) if length else 0)
        if len(received) < end:
            return
        path, body = bytes(received[:head]).split(b" ", 2)[1], bytes(received[head + 4 : end])
        del received[:end]
        if path.startswith(b"/endpoints/"):
            self._schedule_response(fd, now)
        else:
            self._control(connection, path, body)

    def _schedule_response(self, fd: int, now: int) -> None:
        self.first = self.first or now
        due = self.first + round(self.script.due((now - self.first) / 1e9) * 1e9)
        self.order += 1
        heapq.heappush(self.due, (due, self.order, now, fd))

    def _send_due(self) -> None:
        """Send the responses that are due, each with its own stamp."""
        while self.due and self.due[0][0] <= time.monotonic_ns():
            due, order, received, fd = heapq.heappop(self.due)
            if fd not in self.connections:
                continue  # the client has closed the connection
            sent = time.monotonic_ns()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.connections[fd][0].send(_RESPONSE % (order, received, sent, received, sent))
            self.timings.extend((received, due, sent))

    def _control(self, connection: socket.socket, path: bytes, body: bytes) -> None:
        content = b""
        if path == b"/script":
            self.start_script(from_json(body))
        elif path == b"/timings":
            content = self.timings.tobytes()
        connection.settimeout(30)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))
        connection.settimeout(0)


@dataclass(frozen=True, slots=True)
class OracleTimings:
    """When the oracle received and answered each request since the script began.

    Float seconds, shape (n,), in order of response; `due` is the time that the script asked for.
    """

    received: NDArray[np.float64]
    due: NDArray[np.float64]
    sent: NDArray[np.float64]

    @property
    def residence(self) -> NDArray[np.float64]:
        """True latencies: from the last byte of a request to its response, seconds."""
        return self.sent - self.received


@dataclass(frozen=True, slots=True)
class Oracle:
    """A running oracle, controlled from the process that started it."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    def start_script(self, script: Script) -> None:
        """Begin a script; its clock starts with the first request."""
        self._request("POST", "/script", to_json(script))

    def timings(self) -> OracleTimings:
        """Return the timings since the script began."""
        columns = np.frombuffer(self._request("GET", "/timings", ""), dtype=np.int64).reshape(-1, 3) / 1e9
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
    """Run an oracle until the block ends, pinned to a core if one is given."""
    command = [sys.executable, "-m", "tests.support.oracle", *(["--core", str(core)] if core is not None else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT) as process:
        assert process.stdout is not None
        try:
            yield Oracle(int(process.stdout.readline()), process.pid)
        finally:
            process.communicate()  # closes its standard input, which ends it


def main() -> None:
    """Serve until standard input is closed; the port is the first line of the output."""
    arguments = argparse.ArgumentParser(description="A server of known latencies.")
    arguments.add_argument("--core", type=int, help="pin the process to this core")
    core = arguments.parse_args().core
    if core is not None:
        os.sched_setaffinity(0, {core})
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(4096)
        listening.settimeout(0)
        print(listening.getsockname()[1], flush=True)
        server = _Server(listening)
        gc.disable()  # nothing here is cyclic, and a collection would add latency
        server.serve()


if __name__ == "__main__":
    main()

"""FaultyServer: runs a script on each connection, with threads and sockets, without an event loop.

A script is a function of a Peer; it runs once for each connection and its return closes it.
"""

import contextlib
import re
import socket
import ssl
import struct
import threading

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nx-amzn-RequestId: r-1\r\nContent-Length: 5\r\n\r\nhello"


_RUNNING = set()


def accepted_socket_count():
    """Return how many accepted sockets the servers of this process hold."""
    return sum(sock.fileno() >= 0 for server in list(_RUNNING) for sock in list(server._sockets))


class ClientClosedError(Exception):
    """The client has closed the connection; ends the script."""


class Peer:
    """One accepted connection, seen from the server. `number` counts connections from 0."""

    def __init__(self, server, sock, number):
        self.server = server
        self.sock = sock
        self.number = number
        self._buffer = b""

    def receive(self):
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            raise ClientClosedError
        self._buffer += data

    def read_head(self):
        """Read up to the end of a request's head, without its body."""
        while b"\r\n\r\n" not in self._buffer:
            self.receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head

    def read_request(self):
        """Read one whole request; return its head and body, and note it in `server.received`."""
        head = self.read_head()
        length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1])
        while len(self._buffer) < length:
            self.receive()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        self.server.received.append((self.number, head, body))
        return head, body

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise ClientClosedError from error

    def serve(self, answer=OK):
        """Answer every request the same way until the client leaves."""
        while True:
            self.read_request()
            self.send(answer)

    def wait(self, event):
        """Wait until the test sets the event, or the server is closed."""
        while not event.wait(0.01):
            if self.server.is_closed:
                raise ClientClosedError

    def wait_until_closed(self):
        """Read until the client has closed."""
        while True:
            self.receive()

    def finish(self):
        """Send FIN and keep reading."""
        self.sock.shutdown(socket.SHUT_WR)
        self.wait_until_closed()

    def reset(self):
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        raise ClientClosedError


class FaultyServer:
    """Listen on a free loopback port and run the script on each connection.

    `scripts`: the n-th connection runs the n-th script, later ones the last. `received` holds (connection, head, body).
    """

    def __init__(self, *scripts, context=None, receive_buffer=0, family=socket.AF_INET):
        self.scripts = scripts
        self.context = context
        self.received = []
        self.connections = 0
        self.is_closed = False
        self.script_errors = []
        self._sockets = set()
        self._threads = []
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        self._listener.bind((host, 0))
        self._listener.listen(1024)
        self.port = self._listener.getsockname()[1]
        scheme = "https" if context else "http"
        name = "localhost" if context else f"[{host}]" if ":" in host else host
        self.url = f"{scheme}://{name}:{self.port}"

    def __enter__(self):
        _RUNNING.add(self)
        thread = threading.Thread(target=self._accept)
        self._threads.append(thread)
        thread.start()
        return self

    def __exit__(self, *_):
        self.close()
        assert self.script_errors == []

    def close(self):
        """Stop listening, cut every connection, wait for every thread. Harmless when closed."""
        self.is_closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        _RUNNING.discard(self)

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            number = self.connections
            self.connections += 1
            script = self.scripts[min(number, len(self.scripts) - 1)]
            self._sockets.add(sock)
            if self.is_closed:
                sock.close()
                return
            thread = threading.Thread(target=self._run, args=(script, sock, number))
            self._threads.append(thread)
            thread.start()

    def _run(self, script, sock, number):
        bare = sock
        try:
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True)
                self._sockets.add(sock)
            script(Peer(self, sock, number))
        except (ClientClosedError, ssl.SSLError, ConnectionError):
            pass
        except Exception as error:
            self.script_errors.append(repr(error))
        finally:
            sock.close()
            bare.close()
            self._sockets -= {sock, bare}


def serve_ok(peer):
    """Answer every request as it should be."""
    peer.serve()


def respond_once(response, then=None):
    """A script: answer one request with these bytes, then do `then`, or wait until the client leaves."""

    def script(peer):
        peer.read_request()
        peer.send(response)
        (then or Peer.wait_until_closed)(peer)

    return script

"""The TCP sockets on which processes listen, from /proc (Linux), and what a stranger gets who connects to them."""

import os
import socket
import ssl
from pathlib import Path

_LISTEN = "0A"  # state of a socket in /proc/net/tcp (include/net/tcp_states.h)


def descendants(pid):
    """The process id and those of all processes below it."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [pid, *(inner for child in children for inner in descendants(child))]


def listening(pids):
    """The (address, port) pairs on which any of the processes listens, IPv4 as text, others as IPv6 in hex."""
    inodes = set()
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(os.readlink(fd))
            except FileNotFoundError:
                continue  # closed in the meantime
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and f"socket:[{fields[9]}]" in inodes:
                address, _, port = fields[1].rpartition(":")
                text = socket.inet_ntoa(bytes.fromhex(address)[::-1]) if table == "tcp" else address
                found.add((text, int(port, 16)))
    return found


def speaks_http(address):
    """Whether a plain request gets an HTTP response."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        try:
            return connection.recv(5) == b"HTTP/"
        except ConnectionError:
            return False


def refuses_tls(address, certificate=None):
    """Whether a TLS client without a certificate, or with this one, is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate)
    with socket.create_connection(address, timeout=10) as plain:
        try:
            with context.wrap_socket(plain) as connection:
                # In TLS 1.3 a server refuses a certificate after the client's handshake.
                return connection.recv(1) == b""
        except TimeoutError:
            return False
        except (ssl.SSLError, ConnectionError):
            return True

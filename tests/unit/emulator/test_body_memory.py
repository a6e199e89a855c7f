"""The memory that clients can make the emulator hold: request bodies, and responses that nobody reads."""

import json
import re
import socket
from contextlib import ExitStack

import pytest

from tests.support.emulator import client, deploy, emulated, endpoint_counters, eventually, fetch

S3_HEAD = b"Authorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host\r\n"
MIB = 2**20


def connect(emulator, stack):
    """Open a connection that is closed with the stack."""
    port = int(emulator.url.rsplit(":", 1)[1])
    return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))


def head(method, path, more, size):
    """Return a request's head."""
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n".encode() + more + b"\r\n"


@pytest.mark.parametrize(
    ("line", "more", "expected"),
    [
        (("PUT", "/bucket-one/key"), S3_HEAD, b"<Code>SlowDown</Code>"),
        (("POST", "/"), b"X-Amz-Target: SageMaker.CreateModel\r\n", b'"__type":"ServiceUnavailable"'),
        (("POST", "/"), b"", b"<Code>ServiceUnavailable</Code>"),
        (("POST", "/faults"), b"", b"x-amzn-ErrorType: ServiceUnavailable"),
    ],
)
def test_bodies_above_the_memory_for_all_get_503(line, more, expected):
    """Of bodies that exceed the cap together, the one that does gets 503 in its service's own words; the memory is free again when the others have ended."""
    with emulated(body_memory=MIB) as emulator, ExitStack() as stack:
        bodies = emulator._bodies
        held = [connect(emulator, stack) for _ in range(3)]
        for sender in held:
            sender.sendall(head("PUT", "/bucket-one/held", S3_HEAD, MIB) + bytes(300_000))
        eventually(lambda: bodies.held_bytes == 900_000)
        refused = connect(emulator, stack)
        refused.sendall(head(*line, more, 200_000) + bytes(200_000))
        answer = b"".join(iter(lambda: refused.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert expected in answer
        assert b"1 MiB" in answer
        for sender in held:
            sender.close()
        eventually(lambda: bodies.held_bytes == 0)
        assert fetch(f"{emulator.url}/faults", json.dumps({"operation": "X", "kind": "throttle"}).encode())[0] == 200
        assert bodies.held_bytes == 0


def test_bodies_of_invocations_are_counted_and_dropped():
    """Invocations of four times the cap are served, their bytes are in the ledger, and none of them is held."""
    with emulated(body_memory=MIB) as emulator, ExitStack() as stack:
        deploy(emulator)
        senders = [connect(emulator, stack) for _ in range(4)]
        for sender in senders:
            sender.sendall(head("POST", "/endpoints/endpoint/invocations", b"", MIB) + bytes(MIB - 1))
        assert emulator._bodies.held_bytes == 0
        for sender in senders:
            sender.sendall(b"x")
            assert re.match(rb"HTTP/1.1 (200|400) ", sender.recv(1000))
        assert endpoint_counters(emulator)["bytes_in"] == 4 * MIB
        assert emulator._bodies.held_bytes == 0


def test_a_refused_client_that_still_sends_gets_its_response():
    """A client that sends 20 MiB before it reads finds 413, not a reset, after an invocation that is too large."""
    with emulated() as emulator, ExitStack() as stack:
        sender = connect(emulator, stack)
        sender.sendall(head("POST", "/endpoints/endpoint/invocations", b"", 20 * MIB))
        for _ in range(20):
            sender.sendall(bytes(MIB))
        assert sender.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_unread_responses_are_not_buffered():
    """Of a large object that four clients ask for and do not read, the server buffers at most a part; read, it is whole."""
    body = bytes(range(256)) * (8 * MIB // 256)
    with emulated() as emulator, client("s3", emulator) as s3, ExitStack() as stack:
        s3.create_bucket(Bucket="bucket-one")
        s3.put_object(Bucket="bucket-one", Key="key", Body=body)
        readers = [connect(emulator, stack) for _ in range(4)]
        for number, reader in enumerate(readers):
            part = b"" if number % 2 else b"Range: bytes=1-\r\n"
            reader.sendall(head("GET", "/bucket-one/key", S3_HEAD + part + b"Connection: close\r\n", 0))
        for reader in readers:
            assert reader.recv(4, socket.MSG_WAITALL) == b"HTTP"
        sizes = [c.transport.get_write_buffer_size() for c in emulator_connections() if c.transport is not None]
        assert sum(sizes) < 4 * MIB
        for number, reader in enumerate(readers):
            answer = b"".join(iter(lambda reader=reader: reader.recv(MIB), b""))
            assert answer.partition(b"\r\n\r\n")[2] == body[1 - number % 2 :]


def emulator_connections():
    """Return the connections of the servers of this process."""
    import gc

    from loadgen.emulator.protocol.http_server import ServerConnection

    return [found for found in gc.get_objects() if isinstance(found, ServerConnection)]


def test_a_client_that_never_reads_is_disconnected():
    """A client that takes nothing of a response for the head timeout loses its connection; the next one is served."""
    with emulated(head_timeout=1.5) as emulator, client("s3", emulator) as s3, ExitStack() as stack:
        s3.create_bucket(Bucket="bucket-one")
        s3.put_object(Bucket="bucket-one", Key="key", Body=bytes(16 * MIB))
        reader = connect(emulator, stack)
        reader.sendall(head("GET", "/bucket-one/key", S3_HEAD, 0))
        waiting = eventually(lambda: [found for found in emulator_connections() if not found._writable.is_set()])
        eventually(lambda: all(found.transport is None for found in waiting))
        assert fetch(f"{emulator.url}/ledger")[0] == 200

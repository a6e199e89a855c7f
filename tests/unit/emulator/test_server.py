"""The server: access, unknown operations, malformed requests, timeouts, limits and faults."""

import asyncio
import json
import socket
from contextlib import ExitStack

import pytest

from loadgen.emulator.server import Settings, serve
from loadgen.errors import ResourceError, UsageError
from tests.support.emulator import QUICK, client, deploy, emulated, endpoint_counters, eventually, fetch, invoke


def port_of(emulator):
    return int(emulator.url.rsplit(":", 1)[1])


def talk(emulator, data):
    """Send bytes and return all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port_of(emulator)), timeout=10) as talking:
        talking.sendall(data)
        return b"".join(iter(lambda: talking.recv(65536), b""))


@pytest.mark.parametrize(
    "headers",
    [
        b"Host: evil.example\r\n",
        b"Host: localhost.evil.example\r\n",
        b"Host: 127.0.0.1.evil.example:80\r\n",
        b"Host: 10.0.0.1\r\n",
        b"Host: [::2]\r\n",
        b"Host: localhost\r\nOrigin: https://evil.example\r\n",
        b"Host: localhost\r\nOrigin: null\r\n",
        b"Host: localhost:80\r\nOrigin: http://localhost:3000\r\n",
        b"Host: localhost:80\r\nOrigin: https://localhost:80\r\n",
        b"Host: localhost\r\nOrigin: http://127.0.0.1\r\n",
        b"Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://evil.example\r\n",
        b"Host: localhost\r\nOrigin: http://localhost@evil.example\r\n",
        b"Host: localhost:80.evil.example\r\n",
        b"Host: localhost:evil.example\r\n",
        b"Host: localhost:\r\n",
        b"Host: localhost:80:80\r\n",
        b"Host: localhost/evil\r\n",
        b"Host: localhost.\r\n",
        b"Host: [::1]evil.example\r\n",
        b"Host: user@localhost\r\n",
        b"Host: 127.0.0.1:\xd9\xa1\r\n",
        b"Host: \r\n",
        b"",
    ],
)
def test_a_foreign_host_or_origin_is_rejected(headers):
    """A Host that is not a loopback name and port, or an Origin other than that Host, gets 403 without a CORS header, and the ledger counts no request."""
    with emulated() as emulator:
        deploy(emulator)
        answer = talk(
            emulator, b"POST /endpoints/endpoint/invocations HTTP/1.1\r\n" + headers + b"Content-Length: 1\r\n\r\nx"
        )
        assert answer.split(b" ")[1] in (b"403", b"400")
        assert b"access-control" not in answer.lower()
        assert endpoint_counters(emulator)["arrivals"] == 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1234", "[::1]:80", "LOCALHOST"])
def test_loopback_host_names_are_served(host):
    """Every loopback name is accepted, with any port."""
    with emulated() as emulator:
        assert talk(
            emulator, b"GET /ledger HTTP/1.1\r\nHost: " + host.encode() + b"\r\nConnection: close\r\n\r\n"
        ).startswith(b"HTTP/1.1 200 ")


def test_the_emulators_own_origin_is_served():
    """An Origin of the request's own Host, with its port, is accepted."""
    with emulated() as emulator:
        own = emulator.url.encode()
        head = b"GET /ledger HTTP/1.1\r\nHost: " + own[7:] + b"\r\nOrigin: " + own + b"\r\nConnection: close\r\n\r\n"
        assert talk(emulator, head).startswith(b"HTTP/1.1 200 ")


def test_only_loopback_addresses_are_bound():
    """Binding to another address is a UsageError; a port in use is a ResourceError."""

    async def start(host, port):
        async with serve(Settings(), host=host, port=port):
            pass

    for host in ("0.0.0.0", "192.0.2.1", "example.com", "localhost", ""):
        with pytest.raises(UsageError, match="loopback only"):
            asyncio.run(start(host, 0))
    with emulated() as emulator, pytest.raises(ResourceError, match="cannot listen"):
        asyncio.run(start("127.0.0.1", port_of(emulator)))


@pytest.mark.parametrize(
    ("target", "status", "kind"),
    [
        ("SageMaker.CreateTrainingJob", 404, "UnknownOperationException"),
        ("SageMaker.__init__", 404, "UnknownOperationException"),
        ("SageMaker", 404, "UnknownOperationException"),
        ("Logs_20140328.DescribeLogGroups", 404, "UnknownOperationException"),
        ("", 404, "UnknownOperationException"),
    ],
)
def test_an_unknown_operation_is_an_unknown_operation_exception(target, status, kind):
    """JSON services respond with 404 and the error code in the body."""
    with emulated() as emulator:
        answered, _, body = fetch(emulator.url, b"{}", X_Amz_Target=target)
        assert (answered, json.loads(body)["__type"]) == (status, kind)


def test_unknown_paths_and_actions_have_the_errors_of_the_services():
    """An unknown query action is InvalidAction; an unknown path is UnknownOperationException."""
    with emulated() as emulator:
        status, _, body = fetch(emulator.url, b"Action=DescribeAlarms&Version=2010-08-01")
        assert status == 400
        assert b"<Code>InvalidAction</Code>" in body
        for path in ("/bucket/key", "/endpoints/e/invocations-response-stream", "/endpoints/e", "/"):
            status, headers, _ = fetch(emulator.url + path, b"x")
            assert (status, headers["x-amzn-ErrorType"]) == (404, "UnknownOperationException")
        assert fetch(f"{emulator.url}/ledger", b"x")[0] == 405
        assert fetch(f"{emulator.url}/faults", b"x", method="PUT")[0] == 405


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"\xff\xfe", b"{}{}", b'{"EndpointName":' + b"[" * 5000])
def test_a_malformed_body_is_a_serialization_exception(body):
    """A body that is not a JSON object gets 400 SerializationException."""
    with emulated() as emulator:
        status, _, answer = fetch(emulator.url, body, X_Amz_Target="SageMaker.DescribeEndpoint")
        assert (status, json.loads(answer)["__type"]) == (400, "SerializationException")


def test_a_gzip_bomb_is_not_unpacked():
    """A gzip body of 100 MB inside gets 413; one that is truncated or not gzip gets 400."""
    import gzip

    with emulated() as emulator:
        target = {"X_Amz_Target": "GraniteServiceVersion20100801.PutMetricData", "Content_Encoding": "gzip"}
        assert fetch(emulator.url, gzip.compress(bytes(100 * 2**20)), **target)[0] == 413
        assert fetch(emulator.url, b"plain", **target)[0] == 400
        assert fetch(emulator.url, gzip.compress(b"{}")[:-4], **target)[0] == 400


def test_slow_and_garbled_connections_are_closed_and_others_served():
    """Incomplete heads, missing bodies and garbage end in a closed connection; a valid request meanwhile is served."""
    settings = Settings(models={"quick": QUICK}, time_scale=1e6, head_timeout=0.1, idle_timeout=0.3)
    starts = [
        b"POST /endpoints/endpoint/invocations HTTP/1.1\r\nHost: loc",
        b"POST /endpoints/endpoint/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx",
        b"\x16\x03\x01 not http at all\r\n\r\n",
        b"GET /ledger HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 2**20 + b"\r\n\r\n",
        b"",
    ]
    with emulated(settings) as emulator, ExitStack() as stack:
        deploy(emulator)
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port_of(emulator)), timeout=10)) for _ in starts
        ]
        for connection, start in zip(connections, starts, strict=True):
            try:
                connection.sendall(start)
            except ConnectionError:
                assert len(start) > 2**19
        assert invoke(emulator)[0] == 200
        answers = [drain(connection) for connection in connections]
        assert answers[0] == b""
        assert answers[1].startswith(b"HTTP/1.1 408 ")
        assert answers[2].startswith(b"HTTP/1.")
        assert answers[2].split(b" ")[1] == b"400"
        assert answers[4] == b""
        assert invoke(emulator)[0] == 200


def drain(connection):
    """Read until the server closes the connection."""
    try:
        return b"".join(iter(lambda: connection.recv(65536), b""))
    except ConnectionError:
        return b""


def test_a_request_above_the_connection_limit_is_refused_with_the_limit():
    """With a limit of three a request on the fourth connection gets a 503 that names it; an idle one is closed."""
    with emulated(connections=3) as emulator, ExitStack() as stack:

        def connect():
            return stack.enter_context(socket.create_connection(("127.0.0.1", port_of(emulator)), timeout=10))

        kept = [connect() for _ in range(3)]
        for connection in kept:
            connection.sendall(b"GET /ledger HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(100)
        refused = connect()
        refused.sendall(b"GET /ledger HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = drain(refused)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"The emulator has 3 connections open, its maximum" in answer
        assert drain(connect()) == b""
        kept[0].close()
        eventually(lambda: fetch_or_none(emulator))


def test_the_limit_of_open_files_lowers_the_connection_limit(monkeypatch):
    """With room for 300 open files, connections above 100 are refused, and the response names `ulimit -n`."""
    monkeypatch.setattr("loadgen.emulator.protocol.http_server.open_files_limit", lambda: 300)
    request = b"GET /ledger HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with emulated() as emulator, ExitStack() as stack:
        answers = []
        for _ in range(101):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port_of(emulator)), timeout=10))
            connection.sendall(request)
            answers.append(connection.recv(1000))
    assert [answer.split(b" ")[1] for answer in answers] == [b"200"] * 100 + [b"503"]
    assert b"`ulimit -n`" in answers[-1]
    assert b"300" in answers[-1]


def fetch_or_none(emulator):
    try:
        return fetch(f"{emulator.url}/ledger")
    except OSError:
        return None


def test_connections_are_kept_and_pipelined_requests_answered_in_order():
    """Three requests written at once on one connection get their responses on it, in order."""
    with emulated() as emulator:
        deploy(emulator)
        one = b"POST /endpoints/endpoint/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"
        last = one.replace(b"Host", b"Connection: close\r\nHost")
        answers = talk(emulator, one + one + last)
        assert answers.count(b"HTTP/1.1 200 OK") == 3
        assert answers.count(b"Connection: close") == 1
        assert endpoint_counters(emulator)["ok"] == 3


def test_a_body_in_chunks_is_read_whole():
    """A chunked request is served, and the ledger counts the bytes inside the chunks."""
    with emulated() as emulator:
        deploy(emulator)
        answer = talk(
            emulator,
            b"POST /endpoints/endpoint/invocations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert endpoint_counters(emulator)["bytes_in"] == 7


def test_the_query_protocol_is_not_served_over_get():
    """A GET, which any web page can make a browser send, stores no metric."""
    with emulated() as emulator:
        query = "Action=PutMetricData&Version=2010-08-01&Namespace=N&MetricData.member.1.MetricName=M"
        assert fetch(f"{emulator.url}/?{query}&MetricData.member.1.Value=1")[0] == 404
        assert not emulator.metrics.series


def test_old_and_unusual_clients_are_served():
    """HTTP/1.0 with and without keep-alive, HEAD without a body, and Expect: 100-continue."""
    with emulated() as emulator:
        deploy(emulator)
        old = talk(emulator, b"GET /ledger HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert b"Connection: close" in old
        with socket.create_connection(("127.0.0.1", port_of(emulator)), timeout=10) as kept:
            for _ in range(2):
                kept.sendall(b"GET /ledger HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
                assert b"Connection: keep-alive" in kept.recv(1000)
        head = talk(emulator, b"HEAD /ledger HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405 ")
        assert head.endswith(b"\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port_of(emulator)), timeout=10) as polite:
            polite.sendall(
                b"POST /endpoints/endpoint/invocations HTTP/1.1\r\nHost: localhost\r\n"
                b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n"
            )
            assert polite.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            polite.sendall(b"x")
            assert polite.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_control_plane_faults_fail_before_or_after_the_effect():
    """error_before and throttle have no effect; after error_after and cut the endpoint exists though the call failed."""
    from botocore.exceptions import ClientError, HTTPClientError

    with emulated() as emulator, client("sagemaker", emulator) as sagemaker:
        for name, kind in (("before", "error_before"), ("after", "error_after"), ("lost", "cut"), ("many", "throttle")):
            deploy(emulator, f"{name}-model")
            fault = {"operation": "CreateEndpoint", "kind": kind, "code": "InternalFailure"}
            fetch(f"{emulator.url}/faults", json.dumps(fault).encode())
            with pytest.raises((ClientError, HTTPClientError)) as caught:
                sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=f"{name}-model-config")
            if kind == "throttle":
                assert caught.value.response["Error"] == {"Code": "ThrottlingException", "Message": "Rate exceeded"}
        standing = [row["EndpointName"] for row in sagemaker.list_endpoints(MaxResults=100)["Endpoints"]]
        assert [name in standing for name in ("before", "after", "lost", "many")] == [False, True, True, False]


def test_stopping_does_not_wait_for_held_requests():
    """An emulator that holds a request for a minute stops at once and leaves no task behind."""
    from tests.support.emulator import profile_of_latency

    async def check():
        settings = Settings(models={"slow": profile_of_latency(60.0)}, time_scale=1e6)
        before = asyncio.all_tasks()
        async with serve(settings) as emulator:
            deploy_now(emulator)
            _, writer = await asyncio.open_connection("127.0.0.1", port_of(emulator))
            writer.write(b"POST /endpoints/e/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            while not emulator.ledger.counters_for("e").in_flight:
                await asyncio.sleep(0)
        writer.close()
        return asyncio.all_tasks() - before

    def deploy_now(emulator):
        from tests.support.emulator import endpoint_config

        emulator.control.create_endpoint_config(endpoint_config("slow"), emulator.clock())
        emulator.control.create_endpoint({"EndpointName": "e", "EndpointConfigName": "config"}, emulator.clock() - 1.0)

    assert asyncio.run(asyncio.wait_for(check(), 10)) == set()

"""Run an emulator in this process for a test, and open clients for it."""

import asyncio
import json
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from loadgen.emulator.behaviour.profile import PROFILES, Profile
from loadgen.emulator.server import Emulator, Settings, serve

# Takes no time to serve, start or deploy.
QUICK = replace(PROFILES["instant"], name="quick", cold_start=0.0, deploy_time=0.0)


@contextmanager
def emulated(settings: Settings | None = None, **changes: Any) -> Iterator[Emulator]:
    """Run an emulator on a loop and thread of its own until the block ends; clients may be synchronous."""
    settings = settings or Settings(**{"models": {"quick": QUICK}, "time_scale": 1e6, **changes})
    started: list[Emulator] = []
    ready = threading.Event()
    failure: list[BaseException] = []
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()

    async def run() -> None:
        async with serve(settings) as emulator:
            started.append(emulator)
            ready.set()
            await stopped.wait()

    def work() -> None:
        try:
            loop.run_until_complete(run())
        except BaseException as error:  # handed to the test's thread
            failure.append(error)
        finally:
            loop.close()
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(10), "the emulator did not start"
    try:
        if failure:
            raise failure[0]
        yield started[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
        assert not thread.is_alive(), "the emulator did not stop"
        if failure and started:
            raise failure[0]


def eventually(condition: Callable[[], Any], within: float = 10.0) -> Any:
    """Poll the condition and return its first true value; fail if there is none in time."""
    pause, end = threading.Event(), time.perf_counter() + within
    while not (value := condition()):
        assert time.perf_counter() < end, "it did not happen in time"
        pause.wait(0.002)
    return value


@contextmanager
def client(service: str, emulator: Emulator, **options: Any) -> Iterator[Any]:
    """Open a boto3 client without retries."""
    import boto3
    from botocore.config import Config

    options = {"retries": {"total_max_attempts": 1}, "max_pool_connections": 64, **options}
    opened = boto3.session.Session().client(
        service,
        endpoint_url=emulator.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        aws_session_token=emulator.token or None,
        config=Config(**options),
    )
    try:
        yield opened
    finally:
        opened.close()


def endpoint_config(
    model: str = "quick", memory_mb: int = 2048, max_concurrency: int = 1, **more: int
) -> dict[str, Any]:
    """Return CreateEndpointConfig's input for one serverless variant."""
    serverless = {"MemorySizeInMB": memory_mb, "MaxConcurrency": max_concurrency, **more}
    variant = {"VariantName": "AllTraffic", "ModelName": model, "ServerlessConfig": serverless}
    return {"EndpointConfigName": "config", "ProductionVariants": [variant]}


def deploy(emulator: Emulator, name: str = "endpoint", **config: Any) -> None:
    """Bring an endpoint into service by direct calls of the control plane."""
    control, now = emulator.control, emulator.clock()
    control.create_endpoint_config({**endpoint_config(**config), "EndpointConfigName": f"{name}-config"}, now)
    control.create_endpoint({"EndpointName": name, "EndpointConfigName": f"{name}-config"}, now)
    eventually(lambda: control.find_serving(name, emulator.clock()))


def fetch(url: str, body: bytes | None = None, *, method: str | None = None, **headers: str) -> tuple[int, Any, bytes]:
    """Send an HTTP request and return status, headers and body, for any status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def invoke(emulator: Emulator, name: str = "endpoint", body: bytes = b"1", **headers: str) -> tuple[int, Any, bytes]:
    """Send InvokeEndpoint without an SDK; return status, headers and body."""
    return fetch(f"{emulator.url}/endpoints/{name}/invocations", body, **headers)


@contextmanager
def requests_in_flight(emulator: Emulator, clients: int, name: str = "endpoint") -> Iterator[list[socket.socket]]:
    """Keep a number of requests in flight, each on a connection of its own that closes at the end."""
    port = int(emulator.url.rsplit(":", 1)[1])
    request = f"POST /endpoints/{name}/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    with ExitStack() as stack:
        held = []
        for number in range(1, clients + 1):
            held.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)))
            held[-1].sendall(request.encode())
            eventually(lambda: endpoint_counters(emulator, name)["arrivals"] >= number)
        yield held


def endpoint_counters(emulator: Emulator, name: str = "endpoint") -> dict[str, Any]:
    """Read an endpoint's counters from /ledger."""
    return json.loads(fetch(f"{emulator.url}/ledger")[2])["endpoints"][name]


def profile_of_latency(seconds: float, **changes: Any) -> Profile:
    """Return a profile with a fixed latency and no cold start."""
    return replace(QUICK, name="slow", model_latency=((1024, seconds),), **changes)

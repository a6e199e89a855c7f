"""Start the emulator for a test, in this process, on a loop of its own in a thread; and clients for it."""

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

# Serves at once, starts at once: tests that are not about time take none.
QUICK = replace(PROFILES["instant"], name="quick", cold_start=0.0, deploy_time=0.0)


@contextmanager
def emulated(settings: Settings | None = None, **changes: Any) -> Iterator[Emulator]:
    """Run an emulator until the block ends. Its clients may be synchronous: it has its own thread."""
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
    """Return the first true value of the condition, polling; fail when there is none in time."""
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
    """Bring an endpoint into service, without a client in between."""
    control, now = emulator.control, emulator.clock()
    control.create_endpoint_config({**endpoint_config(**config), "EndpointConfigName": f"{name}-config"}, now)
    control.create_endpoint({"EndpointName": name, "EndpointConfigName": f"{name}-config"}, now)
    eventually(lambda: control.find_serving(name, emulator.clock()))


def fetch(url: str, body: bytes | None = None, *, method: str | None = None, **headers: str) -> tuple[int, Any, bytes]:
    """Send a plain HTTP request and return status, headers and body, whatever the status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def invoke(emulator: Emulator, name: str = "endpoint", body: bytes = b"1", **headers: str) -> tuple[int, Any, bytes]:
    """Send InvokeEndpoint without an SDK, so that what is on the wire can be seen."""
    return fetch(f"{emulator.url}/endpoints/{name}/invocations", body, **headers)


@contextmanager
def requests_in_flight(emulator: Emulator, clients: int, name: str = "endpoint") -> Iterator[list[socket.socket]]:
    """Have so many requests in flight, one after the other, each on its own connection, which closes at the end."""
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
    """Read an endpoint's books over HTTP."""
    return json.loads(fetch(f"{emulator.url}/ledger")[2])["endpoints"][name]


def profile_of_latency(seconds: float, **changes: Any) -> Profile:
    """Return a model that takes exactly so long, and no time to start."""
    return replace(QUICK, name="slow", model_latency=((1024, seconds),), **changes)

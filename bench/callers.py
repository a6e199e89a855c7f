"""Callers: the clients that the throughput bench compares, each in its own process.

    python -m bench.callers NAME URL CLIENTS SECONDS [CA]

prints `calls seconds cpu` of the loop alone, without imports, connecting and the first call of each client.
"""

import argparse
import asyncio
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3 as sdk  # type: ignore[import-untyped]  # it ships no types
import uvloop
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config

from loadgen.engine.engine import run
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.results.writer import SampleWriter
from loadgen.transport.botocore import BotocoreTransport, TracedSession
from loadgen.transport.wire.sigv4 import Credentials
from loadgen.transport.wire.tls import make_context
from loadgen.transport.wire.transport import WireSettings, open_wire
from loadgen.workload.load import ClosedLoop
from loadgen.workload.request import Request

REQUESTS = [Request(b"1,2,%d" % n, content_type="text/csv") for n in range(8)]
_CLIENT_OPTIONS = {"region_name": "us-east-1", "aws_access_key_id": "bench", "aws_secret_access_key": "bench"}
CallFunction = Callable[[int], Awaitable[object]]


@asynccontextmanager
async def _wire(url: str, clients: int, ca: str | None) -> AsyncIterator[Any]:

    async def credentials() -> Credentials:
        return Credentials("bench", "bench")

    settings = WireSettings(url, "us-east-1", credentials, "bench", ssl_context=make_context(ca) if ca else None)
    async with open_wire(settings, "bench", connections=clients) as transport:
        yield transport


@asynccontextmanager
async def _client(url: str, clients: int, ca: str | None, **options: Any) -> AsyncIterator[Any]:

    config = AioConfig(max_pool_connections=clients, retries={"total_max_attempts": 1}, proxies={}, **options)
    making = get_session().create_client(
        "sagemaker-runtime", endpoint_url=url, verify=ca, config=config, **_CLIENT_OPTIONS
    )
    async with making as client:
        yield client


@asynccontextmanager
async def _botocore(url: str, clients: int, ca: str | None) -> AsyncIterator[Any]:

    async with _client(url, clients, ca, http_session_cls=TracedSession) as client:
        yield BotocoreTransport(client, "bench")


async def _measure_calls(call: CallFunction, clients: int, seconds: float) -> tuple[int, float, float]:
    """Call from clients for some seconds, after one call of each."""
    await asyncio.gather(*[call(n) for n in range(clients)])
    calls = 0
    end = 0.0

    async def client(n: int) -> None:
        nonlocal calls
        while time.perf_counter() < end:
            n += 1
            await call(n)
            calls += 1

    cpu, begun = time.process_time(), time.perf_counter()
    end = begun + seconds
    await asyncio.gather(*[client(n) for n in range(clients)])
    return calls, time.perf_counter() - begun, time.process_time() - cpu


async def wire(url: str, clients: int, seconds: float, ca: str | None) -> tuple[int, float, float]:
    """Call through the wire transport."""
    async with _wire(url, clients, ca) as transport:
        return await _measure_calls(lambda n: transport.invoke(REQUESTS[n & 7]), clients, seconds)


async def traced(url: str, clients: int, seconds: float, ca: str | None) -> tuple[int, float, float]:
    """Call through the botocore transport."""
    async with _botocore(url, clients, ca) as transport:
        return await _measure_calls(lambda n: transport.invoke(REQUESTS[n & 7]), clients, seconds)


async def aiobotocore(url: str, clients: int, seconds: float, ca: str | None) -> tuple[int, float, float]:
    """Call through aiobotocore and read the body."""
    async with _client(url, clients, ca) as client:

        async def call(n: int) -> None:
            response = await client.invoke_endpoint(EndpointName="bench", **REQUESTS[n & 7].arguments())
            await response["Body"].read()

        return await _measure_calls(call, clients, seconds)


async def _engine(transport: Any, clients: int, seconds: float, folder: Path | None) -> tuple[int, float, float]:

    await run(ClosedLoop(clients, count=clients), transport, REQUESTS)
    sink = None if folder is None else SampleWriter(folder)
    cpu, begun = time.process_time(), time.perf_counter()
    done = await run(ClosedLoop(clients, duration=seconds), transport, REQUESTS, sink=sink)
    if sink is not None:
        sink.close()
    return done.count(OutcomeCategory.OK), time.perf_counter() - begun, time.process_time() - cpu


async def engine(url: str, clients: int, seconds: float, ca: str | None) -> tuple[int, float, float]:
    """Run the engine on the wire transport, samples to disk."""
    with tempfile.TemporaryDirectory() as folder:
        async with _wire(url, clients, ca) as transport:
            return await _engine(transport, clients, seconds, Path(folder))


async def unsampled(url: str, clients: int, seconds: float, ca: str | None) -> tuple[int, float, float]:
    """Run the engine on the wire transport, without samples."""
    async with _wire(url, clients, ca) as transport:
        return await _engine(transport, clients, seconds, None)


def boto3(url: str, clients: int, seconds: float, ca: str | None) -> tuple[int, float, float]:
    """Call through boto3 from a thread for each client."""
    config = Config(max_pool_connections=clients, retries={"total_max_attempts": 1}, proxies={})
    client = sdk.client("sagemaker-runtime", endpoint_url=url, verify=ca, config=config, **_CLIENT_OPTIONS)
    counts = [0] * clients
    moment: list[tuple[float, float]] = []

    def begin() -> None:
        moment.append((time.perf_counter(), time.process_time()))

    ready = threading.Barrier(clients, action=begin)

    def work(n: int) -> None:
        def call(k: int) -> None:
            client.invoke_endpoint(EndpointName="bench", **REQUESTS[k & 7].arguments())["Body"].read()

        call(n)
        ready.wait()
        end = moment[0][0] + seconds
        while time.perf_counter() < end:
            call(counts[n])
            counts[n] += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    begun, cpu = moment[0]
    return sum(counts), time.perf_counter() - begun, time.process_time() - cpu


ASYNC_CALLERS = {"engine": engine, "unsampled": unsampled, "wire": wire, "traced": traced, "aiobotocore": aiobotocore}


def main() -> None:
    """Run one caller and print its calls, seconds and CPU seconds."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.callers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=[*ASYNC_CALLERS, "boto3"])
    parser.add_argument("url")
    parser.add_argument("clients", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("ca", nargs="?", help="PEM file with the certificate of the target")
    options = parser.parse_args()
    arguments = (options.url, options.clients, options.seconds, options.ca)
    if options.name == "boto3":
        found = boto3(*arguments)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(ASYNC_CALLERS[options.name](*arguments))
    print(*found)


if __name__ == "__main__":
    main()

"""Peers: what one writes without a load generator, aiobotocore with tasks and boto3 with threads, timed as one would.

Each is given what its manual advises: one shared client, a pool as large as its callers, retries off, the body read
inside the timed part, one call of each caller left out at the start. So what is left is what the client itself adds.
"""

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import Any

import boto3  # type: ignore[import-untyped]  # it ships no types
import uvloop
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config

_INVOKE_ARGUMENTS = {"EndpointName": "oracle", "Body": b"{}", "ContentType": "application/json"}
_CLIENT_OPTIONS = {"region_name": "us-east-1", "aws_access_key_id": "bench", "aws_secret_access_key": "bench"}


@dataclass(slots=True)
class PeerTimings:
    """What a peer timed.

    Args:
        latencies: of the calls that count, seconds.
        calls: all of them, the first of each caller included.
        cpu: seconds this process used for all calls.
    """

    latencies: list[float]
    calls: int
    cpu: float


def _settings(callers: int) -> dict[str, Any]:
    return {"max_pool_connections": callers, "retries": {"total_max_attempts": 1}, "proxies": {}}


def aiobotocore(url: str, callers: int, seconds: float) -> PeerTimings:
    """Let tasks call through one shared aiobotocore client for some seconds."""

    async def all_of_it() -> PeerTimings:
        timed = PeerTimings([], 0, 0.0)
        session = get_session()
        config = AioConfig(**_settings(callers))
        async with session.create_client(
            "sagemaker-runtime", endpoint_url=url, config=config, **_CLIENT_OPTIONS
        ) as client:
            end = time.perf_counter() + seconds

            async def call() -> None:
                found: list[float] = []
                while not found or time.perf_counter() < end:
                    begun = time.perf_counter()
                    answer = await client.invoke_endpoint(**_INVOKE_ARGUMENTS)
                    await answer["Body"].read()
                    found.append(time.perf_counter() - begun)
                timed.calls += len(found)
                timed.latencies += found[1:]

            cpu = time.process_time()
            await asyncio.gather(*(call() for _ in range(callers)))
            timed.cpu = time.process_time() - cpu
        return timed

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(all_of_it())


def boto3_threads(url: str, callers: int, seconds: float) -> PeerTimings:
    """Let threads call through one shared boto3 client for some seconds."""
    timed = PeerTimings([], 0, 0.0)
    client = boto3.Session().client(
        "sagemaker-runtime", endpoint_url=url, config=Config(**_settings(callers)), **_CLIENT_OPTIONS
    )
    lock = threading.Lock()
    end = time.perf_counter() + seconds

    def call() -> None:
        found: list[float] = []
        while not found or time.perf_counter() < end:
            begun = time.perf_counter()
            client.invoke_endpoint(**_INVOKE_ARGUMENTS)["Body"].read()
            found.append(time.perf_counter() - begun)
        with lock:
            timed.calls += len(found)
            timed.latencies += found[1:]

    cpu = time.process_time()
    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    timed.cpu = time.process_time() - cpu
    client.close()
    return timed


PEERS = {"aiobotocore": aiobotocore, "boto3 + threads": boto3_threads}

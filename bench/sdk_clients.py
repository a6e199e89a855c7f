"""SDK clients to compare with: aiobotocore with tasks and boto3 with threads, timed around each call.

Configured as their manuals advise: one shared client, a pool as large as the number of callers, retries off, the body
read inside the timed part. The first call of each caller is not counted.
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
class SdkTimings:
    """The latencies that an SDK client measured.

    Args:
        latencies: float seconds, without the first call of each caller.
        calls: number of calls, the first of each caller included.
        cpu: CPU seconds of this process for all calls.
    """

    latencies: list[float]
    calls: int
    cpu: float


def _settings(callers: int) -> dict[str, Any]:
    return {"max_pool_connections": callers, "retries": {"total_max_attempts": 1}, "proxies": {}}


def aiobotocore(url: str, callers: int, seconds: float) -> SdkTimings:
    """Call from tasks through one shared aiobotocore client."""

    async def work() -> SdkTimings:
        timed = SdkTimings([], 0, 0.0)
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
                    response = await client.invoke_endpoint(**_INVOKE_ARGUMENTS)
                    await response["Body"].read()
                    found.append(time.perf_counter() - begun)
                timed.calls += len(found)
                timed.latencies += found[1:]

            cpu = time.process_time()
            await asyncio.gather(*(call() for _ in range(callers)))
            timed.cpu = time.process_time() - cpu
        return timed

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())


def boto3_threads(url: str, callers: int, seconds: float) -> SdkTimings:
    """Call from threads through one shared boto3 client."""
    timed = SdkTimings([], 0, 0.0)
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


SDK_CLIENTS = {"aiobotocore": aiobotocore, "boto3 + threads": boto3_threads}

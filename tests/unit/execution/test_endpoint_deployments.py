"""An endpoint lease deploys at once, holds the endpoint until it is released, and reports what failed."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from loadgen import ServerlessConfig
from loadgen.errors import UnavailableError
from loadgen.execution.endpoint_deployments import EndpointLease

CONFIG = ServerlessConfig(1024)
ENDPOINT = SimpleNamespace(name="endpoint")


class FakeAccount:
    """An account whose deployments wait for `deployed`, and fail with `error` if there is one."""

    def __init__(self, error=None, close_error=None):
        self.deployed = asyncio.Event()
        self.error = error
        self.close_error = close_error
        self.events = []

    @asynccontextmanager
    async def open(self, config, *, connections, timeout):
        self.events.append(f"open {config.memory_mb}")
        await self.deployed.wait()
        if self.error is not None:
            raise self.error
        try:
            yield ENDPOINT
        finally:
            self.events.append("closed")
            if self.close_error is not None:
                raise self.close_error


def lease_of(group, account):
    return EndpointLease(group, account, CONFIG, connections=1, timeout=1.0, log=account.events.append)


def test_the_endpoint_is_closed_when_it_is_released():
    """The deployment starts at once; the endpoint stays open until `release`."""

    async def main():
        account, stop = FakeAccount(), asyncio.Event()
        account.deployed.set()
        async with asyncio.TaskGroup() as group:
            lease = lease_of(group, account)
            assert await lease.wait_in_service(stop) is ENDPOINT
            assert account.events == [f"deploying {CONFIG}", "open 1024"]
            assert lease.in_service_at > 0
            lease.release()
        assert account.events[-1] == "closed"

    asyncio.run(main())


def test_a_failed_deployment_is_raised_to_the_waiter_only():
    """A failed deployment raises in `wait_in_service`; the group, with the other endpoints, goes on."""

    async def main():
        account = FakeAccount(error=UnavailableError("image too large"))
        account.deployed.set()
        async with asyncio.TaskGroup() as group:
            with pytest.raises(UnavailableError, match="image too large"):
                await lease_of(group, account).wait_in_service(asyncio.Event())

    asyncio.run(main())


def test_a_failed_close_fails_the_group():
    """An error of the deletion ends the whole group, since an endpoint may be left."""

    async def main():
        account = FakeAccount(close_error=UnavailableError("not deleted"))
        account.deployed.set()
        async with asyncio.TaskGroup() as group:
            lease = lease_of(group, account)
            await lease.wait_in_service(asyncio.Event())
            lease.release()

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert "not deleted" in str(caught.value.exceptions[0])


def test_a_stop_cancels_the_deployment():
    """When the stop event comes first, the deployment is cancelled and there is no endpoint."""

    async def main():
        account, stop = FakeAccount(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            lease = lease_of(group, account)
            asyncio.get_running_loop().call_soon(stop.set)
            assert await lease.wait_in_service(stop) is None
        assert account.events == [f"deploying {CONFIG}", "open 1024"]

    asyncio.run(main())

"""The endpoints of one wave: deployed in parallel, each held until its steps are measured, then released.

A released endpoint is deleted; an existing endpoint, which the run did not create, is left alone.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from loadgen.errors import LoadgenError
from loadgen.execution.stop_event import wait_or_stop
from loadgen.interfaces import Account, Endpoint
from loadgen.workload.serverless_config import ServerlessConfig


class EndpointLease:
    """One endpoint from its deployment, which starts at once in a task of its own, to its release.

    Args:
        group: owns the task; it ends when the endpoint was released and closed.
        account: where the endpoint is opened.
        config: what to deploy; None for an existing endpoint.
        connections: how many connections its transport opens at most.
        timeout: seconds that one request may take.
        log: receives a line when the deployment starts.
    """

    def __init__(
        self,
        group: asyncio.TaskGroup,
        account: Account,
        config: ServerlessConfig | None,
        *,
        connections: int,
        timeout: float,
        log: Callable[[str], None],
    ) -> None:
        self.config = config
        self.in_service_at = 0.0  # on the monotonic clock
        self._log = log
        self._ready: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
        self._released = asyncio.Event()
        self._task = group.create_task(self._hold(account.open(config, connections=connections, timeout=timeout)))

    async def wait_in_service(self, stop: asyncio.Event) -> Endpoint | None:
        """Wait until the endpoint is in service.

        Returns:
            The endpoint; None when `stop` was set first, and then the deployment is cancelled.

        Raises:
            LoadgenError: the deployment failed.
        """
        await wait_or_stop(self._ready, stop)
        if self._ready.done():
            return self._ready.result()
        self._task.cancel()
        return None

    def release(self) -> None:
        """Let the endpoint be closed."""
        self._released.set()

    async def _hold(self, opening: AbstractAsyncContextManager[Endpoint]) -> None:
        if self.config is not None:
            self._log(f"deploying {self.config}")
        try:
            async with opening as endpoint:
                self.in_service_at = time.monotonic()
                self._ready.set_result(endpoint)
                await self._released.wait()
        except LoadgenError as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
        finally:
            self._ready.cancel()

"""Opening a target without a run, for code that needs only a transport."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loadgen.errors import ResourceLeakError
from loadgen.interfaces import Account, Target, Transport
from loadgen.workload.serverless_config import ServerlessConfig


@asynccontextmanager
async def open_transport(
    target: Target, config: ServerlessConfig | None, *, connections: int, timeout: float
) -> AsyncIterator[Transport]:
    """Open a target in this configuration and yield its transport; delete what was created on exit.

    Raises:
        ResourceLeakError: resources may still exist; the details contain the commands that delete them.
        LoadgenError: the account or the endpoint cannot be opened.
    """
    async with target.account(run_id=f"open-{secrets.token_hex(4)}") as account:
        try:
            await account.check([config])
            async with account.open(config, connections=connections, timeout=timeout) as endpoint:
                yield endpoint.transport
        except asyncio.CancelledError as error:
            for line in account.leftovers():
                error.add_note(f"may still exist: {line}")
            raise
        except BaseException as error:
            _raise_if_leftovers(account, error)
            raise
        _raise_if_leftovers(account, None)


def _raise_if_leftovers(account: Account, cause: BaseException | None) -> None:
    if lines := account.leftovers():
        details = [str(line) for line in lines]
        raise ResourceLeakError(
            "resources may still exist", hint="delete them with these commands", details=details
        ) from cause

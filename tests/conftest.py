"""What every test shares: how hypothesis draws, and the process that starts the command line quickly."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# The same draws on every machine and in every order; a slow, shared machine is not a failure.
settings.register_profile("loadgen", deadline=None, derandomize=True, database=None)
settings.load_profile("loadgen")

RunInSandbox = Callable[[Callable[..., Awaitable[Any]]], Any]


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the register of unfinished runs out of the user's home, and out of the other workers' way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def zygote() -> Iterator[tuple[asyncio.Runner, Any]]:
    """A process that forks runs of the command line, and the loop on which it is heard; one for each worker."""
    from tests.support.fork_server import fork_server as started

    with asyncio.Runner() as runner:
        context = started()
        mother = runner.run(context.__aenter__())
        try:
            yield runner, mother
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def play(zygote: tuple[asyncio.Runner, Any], tmp_path: Path) -> RunInSandbox:
    """Give a coroutine function an emulated account, a directory and a way to start runs; return what it returns."""
    from tests.support.failpoints import open_sandbox

    runner, mother = zygote

    def played(work: Callable[..., Awaitable[Any]], **settings: Any) -> Any:
        async def on_stage() -> Any:
            async with open_sandbox(tmp_path, mother, **settings) as on:
                return await work(on)

        return runner.run(on_stage())

    return played

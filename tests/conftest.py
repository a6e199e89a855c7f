"""Fixtures and settings that every test shares."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# The same examples on every machine and in every order; a slow, shared machine is not a failure.
settings.register_profile("loadgen", deadline=None, derandomize=True, database=None)
settings.load_profile("loadgen")

RunInSandbox = Callable[..., Any]


@pytest.fixture(scope="session", autouse=True)
def state_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the registry of runs out of the user's home and apart from the registries of other test workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def fork_server() -> Iterator[tuple[asyncio.Runner, Any]]:
    """Start a fork server for each test worker; yield the runner of its event loop, and the server."""
    from tests.support.fork_server import open_fork_server

    with asyncio.Runner() as runner:
        context = open_fork_server()
        server = runner.run(context.__aenter__())
        try:
            yield runner, server
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def run_in_sandbox(fork_server: tuple[asyncio.Runner, Any], tmp_path: Path) -> RunInSandbox:
    """Return a function that runs a coroutine function with a sandbox, and returns its result.

    The function takes settings of the sandbox as keywords: see `open_sandbox`.
    """
    from tests.support.sandbox import Sandbox, open_sandbox

    runner, server = fork_server

    def run(work: Callable[[Sandbox], Awaitable[Any]], **settings: Any) -> Any:
        async def main() -> Any:
            async with open_sandbox(tmp_path, server, **settings) as sandbox:
                return await work(sandbox)

        return runner.run(main())

    return run

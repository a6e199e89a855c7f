"""A pytest plugin for moto's own tests in server mode: each test meets an emulator without state. See moto_suite.py.

`mock_aws` in server mode sends boto3's clients to one URL, and resets the server there before and after each test. The
plugin replaces the reset: a new emulator on a free port takes the place of the one before. The emulators run in a
process of their own (this module's `main`), because some of moto's tests stop the clock of theirs.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

OUTCOMES_VARIABLE = "LOADGEN_MOTO_OUTCOMES"  # file that gets the outcome of each test, as JSON
_outcomes: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Start the process of the emulators, and replace the reset of moto's mocks."""
    from moto.core.models import ServerModeMockAWS  # noqa: PLC0415  the emulators' process does without

    command = [sys.executable, "-m", __name__]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def restart(mock: Any) -> None:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write("next\n")
        server.stdin.flush()
        url = server.stdout.readline().strip()
        mock._test_server_mode_endpoint = os.environ["TEST_SERVER_MODE_ENDPOINT"] = url  # noqa: SLF001  no setter

    def stop() -> None:
        server.communicate()

    setattr(ServerModeMockAWS, "reset", restart)  # noqa: B010  mypy refuses the assignment
    config.add_cleanup(stop)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Record a test's outcome: that of its call, or of a set-up or teardown that did not pass."""
    is_final = report.when == "call" or report.outcome != "passed"
    if is_final and _outcomes.get(report.nodeid) != "failed":
        _outcomes[report.nodeid] = report.outcome


def pytest_sessionfinish() -> None:
    """Write the outcomes."""
    Path(os.environ[OUTCOMES_VARIABLE]).write_text(json.dumps(_outcomes), "utf-8")


async def _serve_in_turn() -> None:
    """For each line of stdin, replace the emulator by a new one and print its URL."""
    from loadgen.emulator.server import serve  # noqa: PLC0415  moto's tests need no emulator in their process
    from loadgen.emulator.settings import Settings  # noqa: PLC0415

    is_wanted = await asyncio.to_thread(sys.stdin.readline)
    while is_wanted:
        # moto's resources are ready and gone at once.
        async with serve(Settings(time_scale=1e9, delete_time=1e-6)) as emulator:
            print(emulator.url, flush=True)
            is_wanted = await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(_serve_in_turn())

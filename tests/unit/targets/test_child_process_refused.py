"""Child processes that the operating system refuses: the status is that of the system, and no user's code is blamed."""

import asyncio
import sys

import pytest

from loadgen.distributed.local_processes import start_process
from loadgen.errors import ExitStatus, ResourceError
from loadgen.event_loop import new_runner, shielded
from loadgen.scenario.user_code import script_error
from loadgen.targets.emulated import Emulated

STARTS = {
    "emulator": lambda: Emulated("instant").account(run_id="r"),
    "worker process 1": lambda: start_process(1),
}
RUNNERS = {"uvloop where installed": new_runner, "asyncio": asyncio.Runner}


@pytest.fixture(params=["not executable", "missing"])
def refused_program(request, tmp_path, monkeypatch):
    """Make the interpreter's path one that execve(2) refuses; return errno's text."""
    program = tmp_path / "python"
    if request.param == "not executable":
        program.write_text("")
        program.chmod(0o600)
    monkeypatch.setattr(sys, "executable", str(program))
    return {"not executable": "Permission denied", "missing": "No such file or directory"}[request.param]


async def enter(context):
    async with context:
        pytest.fail("a process was started")


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)
@pytest.mark.parametrize("child", STARTS)
def test_a_refused_child_process_is_an_error_of_the_system(refused_program, child, runner):
    """Emulator and worker that cannot be started end with OS_RESOURCE, the errno's text and what to check, on each event loop (C104)."""
    with runner() as loop, pytest.raises(ResourceError) as caught:
        loop.run(enter(STARTS[child]()))
    assert caught.value.status is ExitStatus.OS_RESOURCE
    assert child in caught.value.message
    assert refused_program in caught.value.message
    assert sys.executable in caught.value.hint


def test_an_exception_of_a_compiled_library_is_not_the_users():
    """What a library compiled with Cython raises while loadgen calls it is not blamed on the scenario file that called loadgen."""
    uvloop = pytest.importorskip("uvloop")

    async def refused():
        # The innermost Python code apart from libraries is loadgen's `shielded`.
        await shielded(asyncio.create_subprocess_exec("/no/such-program"))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(FileNotFoundError) as caught:
        runner.run(refused())
    assert str(caught.traceback[-1].path).endswith(".pyx")
    assert script_error(caught.value) is None

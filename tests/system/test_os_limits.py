"""Limits of the machine and the service: memory, time, temporary files, home directory, names, sizes."""

import asyncio
import json
import signal

import pytest

from loadgen import ClosedLoop, Emulated, Scenario, ServerlessConfig, Step
from loadgen.aws.session import READ_TIMEOUT
from loadgen.cli import main as command_line
from loadgen.errors import DataError, ExitStatus
from loadgen.execution.step_runner import StepRunner
from loadgen.measurement.outcome import Outcome
from loadgen.results.directory import ResultsDirectory
from loadgen.workload.payload import read_requests
from loadgen.workload.step import ErrorLimit
from tests.support.emulator import emulated, profile_of_latency
from tests.support.sandbox import Sandbox
from tests.support.scenario_runs import REQUESTS, execute, list_resources

RUN = ("--out", "out", "--quiet")
MODEL_TIME_LIMIT = 60.0  # seconds a model may take: SageMaker developer guide, "Serverless Inference"


def test_default_timeouts_exceed_the_time_limit_of_the_model():
    """The timeouts of scenario and client are longer than the minute that SageMaker gives a model (C72)."""
    scenario = Scenario(Emulated(), REQUESTS, [Step(ServerlessConfig(1024), ClosedLoop(1, count=1))])
    assert scenario.timeout >= MODEL_TIME_LIMIT + 10
    assert READ_TIMEOUT >= MODEL_TIME_LIMIT + 10


def test_a_body_that_the_service_refuses_is_a_validation_error(tmp_path):
    """A body above the limit of the service is recorded as a validation error and counts for the error limit (C70)."""
    with emulated(payload_limit=100) as emulator:
        step = Step(ServerlessConfig(1024), ClosedLoop(1, count=50), error_limit=ErrorLimit(count=3))
        finished = execute(Scenario(Emulated(model="quick", url=emulator.url), REQUESTS[2:], [step]), tmp_path / "out")
    (run,) = finished.runs
    assert run.tally.counts == {Outcome.VALIDATION_ERROR: 3}
    assert run.stop_reason == "errors"


def test_out_of_memory_has_its_own_status(tmp_path, monkeypatch, capsys):
    """MemoryError ends with status 71 and one line; under load the endpoints are deleted first (C99)."""

    def exhausted(*_, **__):
        raise MemoryError

    with emulated() as emulator, monkeypatch.context() as patch:
        patch.setattr(StepRunner, "run_step", exhausted)
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url), REQUESTS, [Step(ServerlessConfig(1024), ClosedLoop(1, count=5))]
        )
        finished = execute(scenario, tmp_path / "out")
        assert list_resources(emulator) == []
    assert finished.statuses == (ExitStatus.OS_RESOURCE,)
    monkeypatch.setattr("loadgen.scenario.loader.load_scenario", exhausted)
    assert command_line.main(["x.py"]) == 71
    assert capsys.readouterr().err.count("\n") == 1


def test_a_stopped_generator_is_invalid(run_in_sandbox):
    """A run that SIGSTOP held for a second, as a sleeping laptop does, is INVALID and ends in order (C102, C119)."""

    async def main(sandbox: Sandbox):
        child = sandbox.start(str(sandbox.write_scenario(load="duration=2.5", sizes=[1024])), *RUN)
        await sandbox.wait_until(lambda: sandbox.arrivals() > 20)
        child.signal(signal.SIGSTOP)
        await asyncio.sleep(1.0)  # the time that passes is what is tested
        child.signal(signal.SIGCONT)
        assert await sandbox.finish(child) == 110
        result = sandbox.result()
        assert result["verdict"] == "INVALID"
        assert result["reasons"]
        assert sandbox.existing_resources() == set()
        (run,) = ResultsDirectory.open(sandbox.directory / "out").read_runs()
        assert run.scheduled == len(run.samples)

    run_in_sandbox(main, service=0.005)


def test_a_run_needs_no_temporary_directory(run_in_sandbox):
    """A run works with a TMPDIR that does not exist (C104)."""

    async def main(sandbox: Sandbox):
        assert (await sandbox.run(str(sandbox.write_scenario()), *RUN, TMPDIR="/nonexistent/tmp"))[0] in (0, 110)

    run_in_sandbox(main)


@pytest.mark.parametrize("environment", [{"HOME": "/nonexistent"}, {"HOME": "", "XDG_STATE_HOME": ""}, {"LANG": "C"}])
def test_a_run_needs_no_home(run_in_sandbox, environment):
    """A run works without a usable home directory and with LANG=C (C09)."""

    async def main(sandbox: Sandbox):
        status, _, stderr = await sandbox.run(str(sandbox.write_scenario()), *RUN, **environment)
        assert status in (0, 110), stderr
        assert sandbox.existing_resources() == set()

    run_in_sandbox(main)


@pytest.mark.parametrize("name", ["../../x", "-rf", "a\x1b[2Jb", "😀" * 80, "\u202etxt.exe", "a/b"])
def test_names_never_leave_the_output_directory(tmp_path, name):
    """The directory of a step is an ASCII name inside `runs`, for every name of the step (C06)."""
    with emulated() as emulator:
        step = Step(ServerlessConfig(1024), ClosedLoop(1, count=2), name=name)
        before = set(tmp_path.rglob("*"))
        finished = execute(
            Scenario(Emulated(model="quick", url=emulator.url), REQUESTS, [step]), tmp_path / "a" / "out"
        )
    assert before == set()
    (directory,) = (tmp_path / "a" / "out" / "runs").iterdir()
    assert directory.name.isascii()
    assert directory.name.startswith("01-")
    assert len(directory.name) < 80
    assert finished.runs[0].step.name == name
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


def test_a_missing_model_leaves_no_directory(run_in_sandbox):
    """A model that does not exist ends with 78 and a message with account and region, and writes nothing (C48, C61)."""

    async def main(sandbox: Sandbox):
        path = sandbox.write_scenario()
        path.write_text(path.read_text().replace('Emulated(model="quick", url=', "SageMaker('ranker') if True else ("))
        path.write_text(path.read_text().replace("import ", "import SageMaker, "))
        status, _, stderr = await sandbox.run(str(path), *RUN)
        assert status == 78, stderr
        assert "123456789012" in stderr
        assert "us-east-1" in stderr
        assert not (sandbox.directory / "out").exists()

    run_in_sandbox(main)


def test_an_emulated_run_is_marked_in_every_file(run_in_sandbox):
    """A scenario that names SageMaker, directed to an emulator by the environment, is marked as emulated (C130)."""

    async def main(sandbox: Sandbox):
        path = sandbox.write_scenario(load="count=3", sizes=[1024])
        text = path.read_text().replace(
            'Emulated(model="quick", url=', "SageMaker('quick', metrics_timeout=0) if True else ("
        )
        path.write_text(text.replace("import ", "import SageMaker, "))
        status, out, stderr = await sandbox.run(str(path), *RUN)
        assert status in (0, 110), stderr
        manifest = json.loads((sandbox.directory / "out" / "manifest.json").read_text())
        assert manifest["identity"]["kind"] == "emulator"
        page = (sandbox.directory / "out" / "benchmarking_report" / "benchmarking_report.html").read_text()
        assert "EMULATOR" in page
        assert "emulator" in out.lower()

    run_in_sandbox(main)


def test_a_stop_deletes_endpoints_that_wait_for_their_step(tmp_path):
    """A stop deletes the endpoints that wait for their step, and keeps the measured run (C113)."""
    with emulated(models={"quick": profile_of_latency(0.02)}) as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url),
            REQUESTS,
            [Step(ServerlessConfig(m), ClosedLoop(1, duration=30)) for m in (1024, 2048, 3072)],
        )
        finished = execute(scenario, tmp_path / "out", stop_after=0)
        assert list_resources(emulator) == []
    assert finished.incomplete_reason == "stopped before its end"
    assert len(finished.runs) == 1


def test_a_payload_file_of_ten_gigabytes_is_refused(tmp_path):
    """A payload file of 10 GB is refused by its size, before it is read into memory (C33)."""
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)  # sparse: it takes no room
    with pytest.raises(DataError, match="10,737,418,240 bytes"):
        read_requests(path)

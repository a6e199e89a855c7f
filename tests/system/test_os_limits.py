"""What a machine, a service or a user's terminal does to a run, from the command line."""

import json
import signal

import pytest

from loadgen import ClosedLoop, Emulated, Scenario, ServerlessConfig, Step, cli
from loadgen.aws.session import READ_TIMEOUT
from loadgen.errors import DataError, ExitStatus
from loadgen.execution.plan_executor import PlanExecutor
from loadgen.measurement.outcome import Outcome
from loadgen.results.directory import ResultsDirectory
from loadgen.workload.payload import read_requests
from tests.support.emulator import emulated, profile_of_latency
from tests.system.test_end_to_end import REQUESTS, execute, list_all

RUN = ("--out", "out", "--quiet")
LIMIT = 60.0  # seconds a model may take: SageMaker developer guide, "Serverless Inference"


def test_the_default_deadline_outlasts_the_models_own():
    """C72: a model that uses its whole minute is answered, not timed out: both the scenario's and the client's limit are longer."""
    scenario = Scenario(Emulated(), REQUESTS, [Step(ServerlessConfig(1024), ClosedLoop(1, count=1))])
    assert scenario.timeout >= LIMIT + 10
    assert READ_TIMEOUT >= LIMIT + 10


def test_a_body_that_the_service_refuses_is_a_validation_error(tmp_path):
    """C70: when the service's limit is lower than ours, its refusal is a class of its own and stops the step at its error limit."""
    from loadgen.workload.step import ErrorLimit

    with emulated(payload_limit=100) as emulator:
        step = Step(ServerlessConfig(1024), ClosedLoop(1, count=50), error_limit=ErrorLimit(count=3))
        finished = execute(Scenario(Emulated(model="quick", url=emulator.url), REQUESTS[2:], [step]), tmp_path / "out")
    (run,) = finished.runs
    assert run.tally.counts == {Outcome.VALIDATION_ERROR: 3}
    assert run.stop_reason == "errors"


def test_memory_that_is_used_up_has_a_status_of_its_own(tmp_path, monkeypatch, capsys):
    """C99: 71 and one line at the start; under load the endpoints are removed first."""

    def used_up(*_, **__):
        raise MemoryError

    with emulated() as emulator, monkeypatch.context() as patch:
        patch.setattr(PlanExecutor, "_run_step", used_up)
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url), REQUESTS, [Step(ServerlessConfig(1024), ClosedLoop(1, count=5))]
        )
        finished = execute(scenario, tmp_path / "out")
        assert list_all(emulator) == []
    assert finished.statuses == (ExitStatus.OS_RESOURCE,)
    monkeypatch.setattr("loadgen.scenario.loader.load_scenario", used_up)
    assert cli.main(["x.py"]) == 71
    assert capsys.readouterr().err.count("\n") == 1


def test_a_generator_that_was_stopped_says_so(play):
    """C102, C119: SIGSTOP for a second, as a laptop that sleeps: the gap is found, the run is INVALID, and it ends well."""
    import asyncio

    async def main(on):
        child = on.start(str(on.write(load="duration=2.5", sizes=[1024])), *RUN)
        await on.until(lambda: on.arrivals() > 20)
        child.signal(signal.SIGSTOP)
        await asyncio.sleep(1.0)  # what is tested is that time passes
        child.signal(signal.SIGCONT)
        assert await on.finish(child) == 110
        result = on.result()
        assert result["verdict"] == "INVALID"
        assert result["reasons"]
        assert on.standing() == set()
        (run,) = ResultsDirectory.open(on.directory / "out").read_runs()
        assert run.scheduled == len(run.samples)

    play(main, service=0.005)


def test_no_place_for_temporary_files_is_no_obstacle(play):
    """C104: with a TMPDIR that is not there a run goes on as ever."""

    async def main(on):
        assert (await on.run(str(on.write()), *RUN, TMPDIR="/nonexistent/tmp"))[0] in (0, 110)

    play(main)


@pytest.mark.parametrize("environment", [{"HOME": "/nonexistent"}, {"HOME": "", "XDG_STATE_HOME": ""}, {"LANG": "C"}])
def test_a_run_needs_no_home(play, environment):
    """C09: without a usable home the run goes on; the register of unfinished runs is missed at most."""

    async def main(on):
        status, _, said = await on.run(str(on.write()), *RUN, **environment)
        assert status in (0, 110), said
        assert on.standing() == set()

    play(main)


@pytest.mark.parametrize("name", ["../../x", "-rf", "a\x1b[2Jb", "😀" * 80, "\u202etxt.exe", "a/b"])
def test_names_never_leave_the_output_directory(tmp_path, name):
    """C06: whatever a step is called, its directory is a plain name inside of `runs`."""
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


def test_a_failed_check_of_the_account_leaves_no_directory(play):
    """C48, C61: a model that is not there is 78, saying account and region; nothing was written."""

    async def main(on):
        path = on.write()
        path.write_text(path.read_text().replace('Emulated(model="quick", url=', "SageMaker('ranker') if True else ("))
        path.write_text(path.read_text().replace("import ", "import SageMaker, "))
        status, _, said = await on.run(str(path), *RUN)
        assert status == 78, said
        assert "123456789012" in said
        assert "us-east-1" in said
        assert not (on.directory / "out").exists()

    play(main)


def test_nothing_of_an_emulated_run_can_be_taken_for_aws(play):
    """C130: a scenario that names SageMaker, sent to an emulator by the environment, is marked so in every file."""

    async def main(on):
        path = on.write(load="count=3", sizes=[1024])
        text = path.read_text().replace(
            'Emulated(model="quick", url=', "SageMaker('quick', metrics_timeout=0) if True else ("
        )
        path.write_text(text.replace("import ", "import SageMaker, "))
        status, out, said = await on.run(str(path), *RUN)
        assert status in (0, 110), said
        manifest = json.loads((on.directory / "out" / "manifest.json").read_text())
        assert manifest["identity"]["kind"] == "emulator"
        page = (on.directory / "out" / "benchmarking_report" / "benchmarking_report.html").read_text()
        assert "EMULATOR" in page
        assert "emulator" in out.lower()

    play(main)


def test_a_slow_model_and_a_stop_between_steps(tmp_path):
    """C113: a stop while other endpoints wait for their turn removes them at once; only what was measured is there."""
    with emulated(models={"quick": profile_of_latency(0.02)}) as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url),
            REQUESTS,
            [Step(ServerlessConfig(m), ClosedLoop(1, duration=30)) for m in (1024, 2048, 3072)],
        )
        finished = execute(scenario, tmp_path / "out", stop_after=0)
        assert list_all(emulator) == []
    assert finished.incomplete_reason == "stopped before its end"
    assert len(finished.runs) == 1


def test_a_payload_file_of_ten_gigabytes_is_refused_at_once(tmp_path):
    """C33: examples are kept in memory, so that a file larger than any machine's share is refused by its size alone."""
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)  # sparse: it takes no room
    with pytest.raises(DataError, match="10,737,418,240 bytes"):
        read_requests(path)

"""A signal ends a run with its exit status, the list of what may still exist, and no leftovers."""

import asyncio
import signal
import time
from types import SimpleNamespace

import pytest

from loadgen.cli import scenario_run
from loadgen.cli.signals import Interrupted
from loadgen.errors import ExitStatus
from loadgen.execution.scenario_result import ScenarioResult
from loadgen.measurement.outcome import Outcome
from loadgen.results.directory import ResultsDirectory
from tests.support.random_interrupts import interrupt_runs

STATUS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 143}
RUN = ("--out", "out", "--quiet")
AT_ONCE = 3.0  # seconds; about one on a machine that does not run a whole test suite


def number(name):
    return getattr(signal, name)


def stderr(child):
    return child.stderr.read_text("utf-8", "replace")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_the_scenario_loads_exits_at_once(run_in_sandbox, name):
    """The status is 130 or 143, and no AWS call was made (C110)."""

    async def main(on):
        marker = on.directory / "loading"
        path = on.directory / "endless.py"
        path.write_text(f"import threading\nopen({str(marker)!r}, 'w').close()\nthreading.Event().wait()\n")
        child = on.start(str(path), *RUN)
        on.faults.child = child
        await on.wait_until(marker.exists)
        child.signal(number(name))
        signalled = time.perf_counter()
        assert await on.finish(child) == STATUS[name]
        assert time.perf_counter() - signalled < AT_ONCE
        assert on.faults.calls == []
        assert "Traceback" not in stderr(child)

    run_in_sandbox(main)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_in_the_preflight_exits_at_once(run_in_sandbox, name):
    """While AWS does not answer, the status is 130 or 143 (SIGHUP: 143), and nothing was created (C110, C119)."""

    async def main(on):
        on.fault("DescribeModel", "delay", seconds=30)
        child = on.start(str(on.write_scenario()), *RUN)
        on.faults.child = child
        await on.wait_until(lambda: "DescribeModel" in on.faults.calls)
        child.signal(number(name))
        signalled = time.perf_counter()
        assert await on.finish(child) == STATUS[name]
        assert time.perf_counter() - signalled < AT_ONCE
        assert on.existing_resources() == set()
        assert not (on.directory / "out").exists()

    run_in_sandbox(main)


@pytest.mark.parametrize("operation", ["CreateEndpointConfig", "CreateEndpoint", "DeleteEndpoint"])
def test_a_signal_during_an_aws_call_waits_for_the_call(run_in_sandbox, operation):
    """The call's response is awaited, then all resources are deleted; the status is 143 (C111, C116)."""

    async def main(on):
        on.fault(operation, "delay", seconds=0.4)
        child = on.start(str(on.write_scenario()), *RUN)
        on.faults.child = child
        await on.wait_until(lambda: operation in on.faults.calls)
        child.signal(signal.SIGTERM)
        assert await on.finish(child) == 143
        assert on.existing_resources() == set()
        assert on.result()["exit"]["name"] == "TERMINATED"
        assert on.result()["leftovers"] == []
        assert "deleting" in stderr(child) or operation == "CreateEndpointConfig"

    run_in_sandbox(main)


def test_a_signal_while_an_endpoint_is_creating_repeats_the_deletion(run_in_sandbox):
    """AWS refuses to delete an endpoint that is Creating, so DeleteEndpoint is repeated; the status is 130 (C112)."""

    async def main(on):
        child = on.start(str(on.write_scenario(sizes=[1024])), *RUN)
        on.faults.child = child
        await on.wait_until(lambda: "DescribeEndpoint" in on.faults.calls)
        child.signal(signal.SIGINT)
        assert await on.finish(child) == 130
        assert on.faults.calls.count("DeleteEndpoint") > 1
        assert on.existing_resources() == set()

    run_in_sandbox(main, deploy=0.6, delete_time=0.0)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_under_load_stops_the_load_and_keeps_results(run_in_sandbox, name):
    """No request is sent after it, in-flight ones are cancelled after --grace, and the results are marked partial (C113)."""

    async def main(on):
        path = on.write_scenario(load="duration=60", sizes=[1024, 2048])
        child = on.start(str(path), *RUN, "--grace", "0.1")
        await on.wait_until(lambda: on.arrivals() >= 4)
        child.signal(number(name))
        await on.wait_until(lambda: "load stopped" in stderr(child))
        sent = on.arrivals()
        assert await on.finish(child) == STATUS[name]
        assert on.arrivals() == sent
        assert on.existing_resources() == set()
        (run,) = ResultsDirectory.open(on.directory / "out").read_runs()
        assert run.stop_reason == "stop"
        assert run.scheduled == run.tally.total == len(run.samples)
        assert run.tally.counts[Outcome.CANCELLED_IN_FLIGHT] == 2
        assert on.result()["incomplete_reason"]
        assert [cause["name"] for cause in on.result()["exit"]["causes"]][-1:] == [ExitStatus(STATUS[name]).name]
        page = on.directory / "out" / "benchmarking_report" / "benchmarking_report.html"
        assert "PARTIAL" in page.read_text()

    run_in_sandbox(main, service=0.35)


def test_a_signal_while_requests_drain_limits_the_drain(run_in_sandbox):
    """Requests in flight are awaited for --grace, not until their timeout (C114)."""

    async def main(on):
        path = on.write_scenario(load="duration=0.3", sizes=[1024])
        child = on.start(str(path), *RUN, "--grace", "0.2")
        await on.wait_until(lambda: on.arrivals() == 2)
        await asyncio.sleep(0.5)  # the load is over by the clock alone; nothing outside shows it
        child.signal(signal.SIGINT)
        signalled = time.perf_counter()
        assert await on.finish(child) == 130
        assert time.perf_counter() - signalled < 8
        (run,) = ResultsDirectory.open(on.directory / "out").read_runs()
        assert run.tally.counts[Outcome.CANCELLED_IN_FLIGHT] == 2

    run_in_sandbox(main, service=30.0)


def test_a_signal_while_the_report_is_written_prints_the_report_command(monkeypatch, capsys, tmp_path):
    """The runs are saved, the status is the signal's, and stderr names the command that writes the report (C115)."""
    written = []
    manifest = SimpleNamespace(run_id="r")
    results = SimpleNamespace(path=tmp_path, manifest=manifest, write_result=written.append)

    def interrupt(*_, **__):
        raise Interrupted(ExitStatus.TERMINATED)

    monkeypatch.setattr(scenario_run, "build_report", interrupt)
    result = ScenarioResult(results, runs=(), causes=(), leftovers=(), incomplete_reason="")
    assert scenario_run.finish_run(result, None) is ExitStatus.TERMINATED
    assert written[0]["exit"]["name"] == "TERMINATED"
    assert f"loadgen report {tmp_path}" in capsys.readouterr().err


def test_a_second_signal_exits_at_once_and_lists_what_may_exist(run_in_sandbox):
    """The status is 101, stderr lists the Creates in flight, and `cleanup` deletes them (C117)."""

    async def main(on):
        on.fault("CreateEndpoint", "delay", seconds=1.5)
        child = on.start(str(on.write_scenario(sizes=[1024])), *RUN)
        on.faults.child = child
        await on.wait_until(lambda: "CreateEndpoint" in on.faults.calls)
        child.signal(signal.SIGINT)
        await on.wait_until(lambda: "SIGINT" in stderr(child))
        child.signal(signal.SIGINT)
        signalled = time.perf_counter()
        assert await on.finish(child) == 101
        assert time.perf_counter() - signalled < AT_ONCE
        output, run_id = stderr(child), on.run_id()
        assert f"endpoint loadgen-{run_id}-1024-2-" in output
        assert "its Create may have succeeded" in output
        assert f"endpoint-config loadgen-{run_id}" in output
        assert f"python -m loadgen cleanup {run_id}" in output
        on.faults.child = None
        await on.wait_until(lambda: any(name.startswith("endpoint ") for name in on.existing_resources()))
        status, _, _ = await on.run("cleanup", run_id, "--yes")
        assert (status, on.existing_resources()) == (0, set())

    run_in_sandbox(main)


def test_a_second_signal_without_leftovers_has_the_status_of_the_first(run_in_sandbox):
    """The status is 130 when no resource can remain: here the endpoint existed before the run (C117)."""

    async def main(on):
        on.create_unrelated_endpoint("ranker-prod", {})
        path = on.directory / "existing.py"
        path.write_text(
            "from loadgen import ClosedLoop, Existing, Request, Scenario, Step\n"
            "scenario = Scenario(Existing('ranker-prod'), [Request(b'1')], [Step(None, ClosedLoop(1, duration=60))])\n"
        )
        child = on.start(str(path), *RUN)
        await on.wait_until(lambda: on.arrivals() >= 1)
        child.signal(signal.SIGINT)
        await on.wait_until(lambda: "SIGINT" in stderr(child))
        child.signal(signal.SIGINT)
        assert await on.finish(child) == 130
        assert "no resources remain" in stderr(child)
        assert on.deleted_unrelated_resources() == set()

    run_in_sandbox(main, service=20.0)


def test_a_term_budget_issues_deletions_and_exits_in_time(run_in_sandbox):
    """With --term-budget 2, DeleteEndpoint is sent, and the process exits after 2 s with its list (C118)."""

    async def main(on):
        on.fault("DeleteEndpoint", "status_stuck")
        child = on.start(str(on.write_scenario(load="duration=60", sizes=[1024])), *RUN, "--term-budget", "2")
        on.faults.child = child
        await on.wait_until(lambda: on.arrivals() >= 4)
        child.signal(signal.SIGTERM)
        signalled = time.perf_counter()
        assert await on.finish(child) == 101
        assert 1.5 < time.perf_counter() - signalled < 3.5
        assert "DeleteEndpoint" in on.faults.calls
        assert f"cleanup {on.run_id()}" in stderr(child)

    run_in_sandbox(main)


def test_sigquit_prints_the_stacks_and_the_run_continues(run_in_sandbox):
    """The stacks of all threads are on stderr, and the run ends as usual (C119)."""

    async def main(on):
        child = on.start(str(on.write_scenario(load="count=20", sizes=[1024])), *RUN)
        await on.wait_until(lambda: on.arrivals() >= 2)
        child.signal(signal.SIGQUIT)
        assert await on.finish(child) in (0, 110)
        assert "most recent call first" in stderr(child)

    run_in_sandbox(main, service=0.05)


def test_the_next_start_reports_a_killed_run(run_in_sandbox):
    """The next start prints run, number of endpoints and cleanup command; after the cleanup it does not (C120, C121)."""

    async def main(on):
        child = on.start(str(on.write_scenario(load="duration=60")), *RUN)
        await on.wait_until(lambda: on.arrivals() >= 4)
        child.signal(signal.SIGKILL)
        assert await on.finish(child) == -9
        run_id = on.run_id()
        _, _, output = await on.run(str(on.write_scenario(load="count=2", sizes=[1024])), "--out", "next", "--quiet")
        assert f"run {run_id} left 2 endpoints" in output
        assert f"python -m loadgen cleanup {run_id}" in output
        status, _, output = await on.run("cleanup", "--yes")
        assert (status, on.existing_resources()) == (0, set()), output
        _, _, output = await on.run(str(on.write_scenario(load="count=2", sizes=[1024])), "--out", "after", "--quiet")
        assert run_id not in output

    run_in_sandbox(main)


@pytest.mark.parametrize("seed", range(2))
def test_signals_at_random_times(fork_server, tmp_path, seed):
    """Ten runs with one or two signals have the right status and list, no traceback, and no leftovers (G23)."""
    runner, server = fork_server
    assert runner.run(interrupt_runs(tmp_path, server, count=10, seed=1000 * seed, second_signal_limit=AT_ONCE)) == []

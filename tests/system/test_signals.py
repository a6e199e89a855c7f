"""What signals do to a run of the command line: the right status, the right list, nothing left behind."""

import asyncio
import signal
import time

import pytest

from loadgen.cli import run
from loadgen.cli.signals import Interrupted
from loadgen.errors import ExitStatus
from loadgen.measurement.outcome import Outcome
from loadgen.results.directory import ResultsDirectory
from tests.support.random_interrupts import interrupt_runs

STATUS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 143}
RUN = ("--out", "out", "--quiet")
PROMPT = 3.0  # seconds: a second is promised, of a machine that is not shared by a whole test suite


def number(name):
    return getattr(signal, name)


def stderr(child):
    return child.stderr.read_text("utf-8", "replace")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_the_scenario_loads_ends_it_at_once(run_in_sandbox, name):
    """C110: in S0, 130 or 143 within a second, and no AWS call was made."""

    async def main(on):
        marker = on.directory / "loading"
        path = on.directory / "endless.py"
        path.write_text(f"import threading\nopen({str(marker)!r}, 'w').close()\nthreading.Event().wait()\n")
        child = on.start(str(path), *RUN)
        on.faults.child = child
        await on.wait_until(marker.exists)
        child.signal(number(name))
        told = time.perf_counter()
        assert await on.finish(child) == STATUS[name]
        assert time.perf_counter() - told < PROMPT
        assert on.faults.calls == []
        assert "Traceback" not in stderr(child)

    run_in_sandbox(main)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_in_the_preflight_ends_it_at_once(run_in_sandbox, name):
    """C110, C119: in S1, while AWS does not answer, 130 or 143 within a second; SIGHUP is as SIGTERM; nothing is made."""

    async def main(on):
        on.fault("DescribeModel", "delay", seconds=30)
        child = on.start(str(on.write_scenario()), *RUN)
        on.faults.child = child
        await on.wait_until(lambda: "DescribeModel" in on.faults.calls)
        child.signal(number(name))
        told = time.perf_counter()
        assert await on.finish(child) == STATUS[name]
        assert time.perf_counter() - told < PROMPT
        assert on.existing_resources() == set()
        assert not (on.directory / "out").exists()

    run_in_sandbox(main)


@pytest.mark.parametrize("operation", ["CreateEndpointConfig", "CreateEndpoint", "DeleteEndpoint"])
def test_a_signal_while_a_call_is_in_flight_waits_for_it(run_in_sandbox, operation):
    """C111, C116: the call's effect is awaited, then everything is removed; 143."""

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
        assert "removing" in stderr(child) or operation == "CreateEndpointConfig"

    run_in_sandbox(main)


def test_a_signal_while_an_endpoint_is_creating_waits_until_it_can_be_deleted(run_in_sandbox):
    """C112: AWS refuses the deletion of an endpoint that is Creating; it is repeated until accepted; 130."""

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
def test_a_signal_under_load_stops_sending_and_keeps_what_was_measured(run_in_sandbox, name):
    """C113: nothing is sent after it; in flight beyond the grace is cancelled; report and result.json say partial."""

    async def main(on):
        path = on.write_scenario(load="duration=60", sizes=[1024, 2048])
        child = on.start(str(path), *RUN, "--grace", "0.1")
        await on.wait_until(lambda: on.arrivals() >= 4)
        child.signal(number(name))
        await on.wait_until(lambda: "sending no more" in stderr(child))
        sent = on.arrivals()
        assert await on.finish(child) == STATUS[name]
        assert on.arrivals() == sent
        assert on.existing_resources() == set()
        (run,) = ResultsDirectory.open(on.directory / "out").read_runs()
        assert run.stop_reason == "stop"
        assert run.scheduled == run.tally.total == len(run.samples)
        assert run.tally.counts[Outcome.CANCELLED_IN_FLIGHT] == 2
        assert on.result()["partial"]
        assert [cause["name"] for cause in on.result()["exit"]["causes"]][-1:] == [ExitStatus(STATUS[name]).name]
        page = on.directory / "out" / "benchmarking_report" / "benchmarking_report.html"
        assert "PARTIAL" in page.read_text()

    run_in_sandbox(main, service=0.35)


def test_a_signal_while_requests_drain_cuts_the_drain_short(run_in_sandbox):
    """C114: what would have been waited for until its timeout is given the grace only."""

    async def main(on):
        path = on.write_scenario(load="duration=0.3", sizes=[1024])
        child = on.start(str(path), *RUN, "--grace", "0.2")
        await on.wait_until(lambda: on.arrivals() == 2)
        await asyncio.sleep(0.5)  # the load is over by the clock alone; nothing outside shows it
        child.signal(signal.SIGINT)
        told = time.perf_counter()
        assert await on.finish(child) == 130
        assert time.perf_counter() - told < 8
        (run,) = ResultsDirectory.open(on.directory / "out").read_runs()
        assert run.tally.counts[Outcome.CANCELLED_IN_FLIGHT] == 2

    run_in_sandbox(main, service=30.0)


def test_a_signal_while_the_report_is_written_names_the_command_that_writes_it(monkeypatch, capsys, tmp_path):
    """C115: the runs are safe, the status is the signal's, and stderr says how to make the report."""

    class Finished:
        class results:
            path = tmp_path

            class manifest:
                run_id = "r"

            conclude = staticmethod(lambda result: None)

        causes, leftovers, partial, failure = (), (), "", None

    def interrupted(*_, **__):
        raise Interrupted(ExitStatus.TERMINATED)

    monkeypatch.setattr(run.job, "report", interrupted)
    assert run.finish_run(Finished, None) is ExitStatus.TERMINATED
    assert f"loadgen report {tmp_path}" in capsys.readouterr().err


def test_a_second_signal_leaves_at_once_and_says_what_may_remain(run_in_sandbox):
    """C117: within a second, 101, naming the creates in flight; one cleanup then removes it all."""

    async def main(on):
        on.fault("CreateEndpoint", "delay", seconds=1.5)
        child = on.start(str(on.write_scenario(sizes=[1024])), *RUN)
        on.faults.child = child
        await on.wait_until(lambda: "CreateEndpoint" in on.faults.calls)
        child.signal(signal.SIGINT)
        await on.wait_until(lambda: "SIGINT" in stderr(child))
        child.signal(signal.SIGINT)
        told = time.perf_counter()
        assert await on.finish(child) == 101
        assert time.perf_counter() - told < PROMPT
        said, run_id = stderr(child), on.run_id()
        assert f"endpoint loadgen-{run_id}-1024-2-" in said
        assert "its Create may have succeeded" in said
        assert f"endpoint-config loadgen-{run_id}" in said
        assert f"python -m loadgen cleanup {run_id}" in said
        on.faults.child = None
        status, _, _ = await on.run("cleanup", run_id, "--yes")
        assert (status, on.existing_resources()) == (0, set())

    run_in_sandbox(main)


def test_a_second_signal_with_nothing_left_has_the_first_ones_status(run_in_sandbox):
    """C117: 130 when nothing can remain: here the endpoint stands by itself, and was never ours."""

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
        assert "nothing remains" in stderr(child)
        assert on.deleted_unrelated_resources() == set()

    run_in_sandbox(main, service=20.0)


def test_a_term_budget_sends_the_deletions_and_leaves_in_time(run_in_sandbox):
    """C118: with 2 s from SIGTERM to SIGKILL, DeleteEndpoint has gone out and we are gone before, with the list."""

    async def main(on):
        on.fault("DeleteEndpoint", "status_stuck")
        child = on.start(str(on.write_scenario(load="duration=60", sizes=[1024])), *RUN, "--term-budget", "2")
        on.faults.child = child
        await on.wait_until(lambda: on.arrivals() >= 4)
        child.signal(signal.SIGTERM)
        told = time.perf_counter()
        assert await on.finish(child) == 101
        assert 1.5 < time.perf_counter() - told < 3.5
        assert "DeleteEndpoint" in on.faults.calls
        assert f"cleanup {on.run_id()}" in stderr(child)

    run_in_sandbox(main)


def test_sigquit_shows_the_stacks_and_goes_on(run_in_sandbox):
    """C119: the threads' stacks are on stderr, and the run ends as if nothing had been."""

    async def main(on):
        child = on.start(str(on.write_scenario(load="count=20", sizes=[1024])), *RUN)
        await on.wait_until(lambda: on.arrivals() >= 2)
        child.signal(signal.SIGQUIT)
        assert await on.finish(child) in (0, 110)
        assert "most recent call first" in stderr(child)

    run_in_sandbox(main, service=0.05)


def test_the_next_start_tells_of_a_run_that_was_killed(run_in_sandbox):
    """C120, C121: after SIGKILL the next start names the run, how many endpoints and the command; then it is silent."""

    async def main(on):
        child = on.start(str(on.write_scenario(load="duration=60")), *RUN)
        await on.wait_until(lambda: on.arrivals() >= 4)
        child.signal(signal.SIGKILL)
        assert await on.finish(child) == -9
        run_id = on.run_id()
        _, _, said = await on.run(str(on.write_scenario(load="count=2", sizes=[1024])), "--out", "next", "--quiet")
        assert f"run {run_id} left 2 endpoints" in said
        assert f"python -m loadgen cleanup {run_id}" in said
        status, _, said = await on.run("cleanup", "--yes")
        assert (status, on.existing_resources()) == (0, set()), said
        _, _, said = await on.run(str(on.write_scenario(load="count=2", sizes=[1024])), "--out", "after", "--quiet")
        assert run_id not in said

    run_in_sandbox(main)


@pytest.mark.parametrize("seed", range(2))
def test_interrupts_at_random_instants(fork_server, tmp_path, seed):
    """G23: ten runs each, with one signal or two: right status, right list, no traceback, nothing left behind."""
    runner, server = fork_server
    assert runner.run(interrupt_runs(tmp_path, server, count=10, seed=1000 * seed, second_signal_limit=PROMPT)) == []

"""Options that limit a run, and result.json: the command line in a sandbox, with every AWS call counted."""

import json

import pytest

RUN = ("--out", "out", "--quiet")


def test_a_dry_run_prints_the_forecast_and_creates_nothing(run_in_sandbox):
    """--dry-run prints endpoints, requests and cost, exits with 0, and makes no directory and no changing call (C62)."""

    async def main(sandbox):
        child = sandbox.start(str(sandbox.write_scenario()), *RUN, "--dry-run")
        sandbox.faults.child = child
        assert await sandbox.finish(child) == 0
        stderr = child.stderr.read_text()
        assert "2 endpoints" in stderr
        assert "at most 12 requests" in stderr
        assert "USD" in stderr
        assert not [call for call in sandbox.faults.calls if call.startswith(("CreateEndpoint", "Delete"))]
        assert not (sandbox.directory / "out").exists()

    run_in_sandbox(main)


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["--expect-account", "999999999999"], 77),
        (["--max-endpoints", "1"], 78),
        (["--expect-account", "123456789012", "--max-endpoints", "2"], 0),
        (["--max-endpoints", "1", "--yes"], 78),
        (["--max-spend", "-1"], 2),
        (["--grace", "nan"], 2),
        (["--resume", "nowhere"], 66),
    ],
)
def test_a_run_that_the_policy_forbids_creates_nothing(run_in_sandbox, argv, status):
    """Another account exits with 77, too many endpoints with 78, an invalid limit with 2; no Create call (C05, C11, C62)."""

    async def main(sandbox):
        run = [word for word in RUN if "--resume" not in argv or word == "--quiet"]
        child = sandbox.start(str(sandbox.write_scenario()), *run, *argv)
        sandbox.faults.child = child
        actual = await sandbox.finish(child)
        assert actual == status or (status == 0 and actual == 110), child.stderr.read_text()
        if status:
            assert not [call for call in sandbox.faults.calls if call.startswith("CreateEndpoint")]

    run_in_sandbox(main)


def test_contradicting_options_are_named(run_in_sandbox):
    """--resume with --out is a usage error that names both options (C11)."""

    async def main(sandbox):
        status, _, stderr = await sandbox.run(str(sandbox.write_scenario()), *RUN, "--resume", "out")
        assert status == 2
        assert "--resume" in stderr
        assert "--out" in stderr

    run_in_sandbox(main)


def test_a_spend_limit_on_an_existing_endpoint_is_refused(run_in_sandbox):
    """The price of an existing endpoint is unknown, so that --max-spend exits with 78 and sends nothing."""

    async def main(sandbox):
        sandbox.create_unrelated_endpoint("ranker-prod", {})
        path = sandbox.directory / "existing.py"
        path.write_text(
            "from loadgen import ClosedLoop, Existing, Request, Scenario, Step\n"
            "scenario = Scenario(Existing('ranker-prod'), [Request(b'1')], [Step(None, ClosedLoop(1, count=1))])\n"
        )
        assert (await sandbox.run(str(path), *RUN, "--max-spend", "1"))[0] == 78
        assert sandbox.arrivals() == 0
        assert (await sandbox.run(str(path), *RUN))[0] in (0, 110)

    run_in_sandbox(main)


def test_a_reached_spend_limit_ends_the_run(run_in_sandbox):
    """At the limit no more requests are sent; the run is kept as incomplete, nothing is left, the status is 99."""

    async def main(sandbox):
        path = sandbox.write_scenario(load="duration=60", sizes=[1024])
        status, _, stderr = await sandbox.run(str(path), *RUN, "--max-spend", "0.000002")
        assert status in {99, 110}, stderr
        assert "spend limit reached" in stderr
        assert sandbox.existing_resources() == set()
        result = sandbox.result()
        assert "THRESHOLD" in [cause["name"] for cause in result["exit"]["causes"]]
        assert "spend limit reached" in result["incomplete_reason"]
        # The limit is 0.1 s of 1 GB; it is checked at the end of a window of one second.
        assert sandbox.arrivals() * 0.01 < 2 * 3.0

    run_in_sandbox(main, service=0.01)


def test_result_json_has_the_exit_causes_and_leftovers(run_in_sandbox):
    """result.json has code, name, verdict and leftovers of a clean run, and of one whose endpoints stay (C126)."""

    async def main(sandbox):
        assert (await sandbox.run(str(sandbox.write_scenario()), *RUN))[0] in (0, 110)
        result = sandbox.result()
        assert result["exit"]["code"] in (0, 110)
        assert (result["leftovers"], result["incomplete_reason"]) == ([], "")
        denied = {"status": 400, "code": "AccessDeniedException", "message": "not authorized to DeleteEndpoint"}
        sandbox.fault("DeleteEndpoint", "error_before", times=0, **denied)
        status, _, stderr = await sandbox.run(str(sandbox.write_scenario()), "--out", "second", "--quiet")
        assert status == 101
        result = json.loads((sandbox.directory / "second" / "result.json").read_text())
        assert (result["exit"]["code"], result["exit"]["name"]) == (101, "RESOURCE_LEAK")
        assert len(result["leftovers"]) == 4
        for leftover in result["leftovers"]:
            assert leftover["name"] in stderr
            assert leftover["billable"] == (leftover["kind"] == "endpoint")
            assert leftover["cleanup_command"] == f"python -m loadgen cleanup {result['run_id']}"
        assert "not authorized" in result["leftovers"][0]["reason"]
        sandbox.faults.clear()
        assert (await sandbox.run("cleanup", result["run_id"], "--yes"))[0] == 0
        assert sandbox.existing_resources() == set()

    run_in_sandbox(main)

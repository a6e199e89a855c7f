"""A run whose endpoint is deleted by another process states that as its cause."""

import pytest


def delete_endpoints(sandbox):
    """Delete every endpoint of the account, as another process would."""
    now, operations = sandbox.emulator.clock(), sandbox.emulator.control.operations
    for endpoint in (operations["ListEndpoints"]({"MaxResults": 100}, now) or {})["Endpoints"]:
        operations["DeleteEndpoint"]({"EndpointName": endpoint["EndpointName"]}, now)


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_a_deleted_endpoint_is_the_cause(run_in_sandbox, workers):
    """The error line, result.json and report name the deleted endpoint; status 69; the configuration is deleted, no leftovers."""

    async def main(sandbox):
        path = sandbox.write_scenario(load="duration=2", sizes=(1024,))
        child = sandbox.start(str(path), "--out", "out", "--quiet", *workers)
        await sandbox.wait_until(lambda: sandbox.arrivals() > 4)
        delete_endpoints(sandbox)
        status = await sandbox.finish(child)
        out, err = child.stdout.read_text(), child.stderr.read_text()
        assert status == 69, err
        (line,) = [line for line in err.splitlines() if "error[" in line]
        assert line.startswith("loadgen: error[UNAVAILABLE]: endpoint loadgen-"), err
        assert "no longer exists: it was deleted during the run, by another process" in line
        result = sandbox.result()
        assert (result["verdict"], result["leftovers"]) == ("INVALID", [])
        assert "no longer exists" in result["exit"]["causes"][0]["message"]
        assert "endpoint lost" in result["reasons"][0]
        assert "endpoint lost" in out
        assert sandbox.existing_resources() == set()
        # The run's step is not complete: it is repeated.
        status, _, err = await sandbox.run(str(path), "--resume", "out", "--quiet")
        assert status in (0, 110), err  # a busy machine makes a run INVALID
        assert "0 completed steps kept" in err or not err

    run_in_sandbox(main)


def test_failed_calls_of_an_endpoint_in_service_are_results(run_in_sandbox):
    """Errors of the model do not make a lost endpoint."""

    async def main(sandbox):
        sandbox.fault("InvokeEndpoint", "error_before", times=2, status=424, code="ModelError", message="died")
        status, _, err = await sandbox.run(
            str(sandbox.write_scenario(load="count=400", sizes=(1024,))), "--out", "out", "--quiet"
        )
        assert "no longer" not in err
        assert status in (0, 110)
        assert "endpoint lost" not in str(sandbox.result())

    run_in_sandbox(main)

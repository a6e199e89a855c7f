"""Runs in which no call is ok: status, first line and result.json name the cause."""

import pytest

RUN = ("--out", "out", "--quiet")
DENIED = {"status": 403, "code": "AccessDeniedException", "message": "not authorized to perform InvokeEndpoint"}
DIED = {"status": 424, "code": "ModelError", "message": "worker died"}


@pytest.mark.parametrize(
    ("operation", "fault", "status", "name", "message"),
    [
        ("InvokeEndpoint", DENIED, 77, "NO_PERMISSION", "no call was ok: 12 of 12 calls auth: AccessDeniedException"),
        ("InvokeEndpoint", DIED, 69, "UNAVAILABLE", "no call was ok: 12 of 12 calls model_error: ModelError HTTP 424"),
        ("CreateEndpoint", DENIED, 77, "NO_PERMISSION", "not authorized"),
    ],
)
def test_a_run_without_an_ok_call_names_its_cause(run_in_sandbox, operation, fault, status, name, message):
    """The status is that of the cause; the cause is the first line of stderr after the steps (case 02)."""

    async def main(sandbox):
        sandbox.fault(operation, "error_before", times=0, **fault)
        actual, out, err = await sandbox.run(str(sandbox.write_scenario()), *RUN)
        assert actual == status, err
        result = sandbox.result()
        assert (result["exit"]["code"], result["verdict"]) == (status, "INVALID")
        assert message in result["exit"]["causes"][0]["message"]
        (line,) = [line for line in err.splitlines() if "error[" in line]
        assert line.startswith(f"loadgen: error[{name}]: ")
        assert message in line
        assert "INVALID: no call was ok: " in out

    run_in_sandbox(main)

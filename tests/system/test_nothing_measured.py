"""Runs in which no call, or not every call, is ok: status, first line and result.json name the cause."""

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
    """The status is that of the cause; the cause is the first line of stderr after the steps."""

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


CLASS_SCENARIO = """
from loadgen import ClosedLoop, Emulated, Request, ServerlessConfig, Step

class Own:
    target = Emulated(model="quick", url="{url}")
    requests = (Request(b"1", content_type="text/csv"),)
    seed, timeout, together, objective, instance, slos = 0, 60.0, False, "balanced", None, ()
    {extra}
    def steps(self):
        return [Step(ServerlessConfig(2048, 1), ClosedLoop(1, count=20), name="own")]
    def plan(self):
        yield self.steps()
    def configs(self):
        return [step.config for step in self.steps()]
    def possible_steps(self):
        return self.steps()

scenario = Own()
"""


@pytest.mark.parametrize(
    ("extra", "options", "status", "headline"),
    [
        (None, (), 99, "VALID, but"),
        (None, ("--set", "failure_share_limit=0.5"), 0, "VALID"),
        ("", (), 99, "VALID, but own: 10.00 % of 20 calls failed (limit 1 %)"),
        ("failure_share_limit = 0.5", (), 0, "VALID"),
    ],
)
def test_failures_above_the_limit_are_the_headline(run_in_sandbox, extra, options, status, headline):
    """A scenario file of any kind with more failures than its limit says so first, and exits with 99."""

    async def main(sandbox):
        sandbox.fault("InvokeEndpoint", "error_before", times=2, **DIED)
        path = sandbox.write_scenario()
        if extra is not None:
            path.write_text(CLASS_SCENARIO.format(extra=extra, url=sandbox.emulator.url))
        actual, out, err = await sandbox.run(str(path), *RUN, *options)
        result = sandbox.result()
        # A busy machine makes the run INVALID, and 110 is more severe than 99.
        assert actual == (status if result["verdict"] == "VALID" else 110), err
        assert headline.removeprefix("VALID").removeprefix(", but ") in result["headline"]
        assert (status == 99) == (99 in [cause["code"] for cause in result["exit"]["causes"]])
        assert (status == 99) == ("error[THRESHOLD]: " in err)
        assert result["headline"].split("%")[0] in out

    run_in_sandbox(main)

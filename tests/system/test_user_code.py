"""What the user's code in a scenario raises is reported as the user's, wherever loadgen calls it."""

import pytest

SCENARIO = """
import math
from loadgen import ClosedLoop, Emulated, Request, ServerlessConfig, Step

class OwnBase(BaseException):
    pass

class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no text")

def fail():
    {body}

class Own:
    target = Emulated(model="quick", url="{url}")
    requests = (Request(b"1"),)
    seed, timeout, together, objective, instance, slos = 0, 60.0, False, "balanced", None, ()
    {fields}

    def steps(self):
        return [Step(ServerlessConfig(2048, 1), ClosedLoop(1, count=2), name="own")]
    def plan(self):
        {plan}
    def configs(self):
        return [step.config for step in self.steps()]
    def possible_steps(self):
        return self.steps()
    {methods}

scenario = Own()
"""
RUN = "yield self.steps()"
# What is raised -> exit status.
RAISED = {
    "raise ValueError('mine')": 107,
    "raise OwnBase('mine')": 107,
    "raise Unprintable": 107,
    "raise StopIteration": 107,
    "raise SystemExit(3)": 108,
    "raise AssertionError": 107,
    "fail()": 107,  # RecursionError
    "math.sqrt('x')": 107,
    "raise MemoryError": 71,
}
_EVERYWHERE = ["raise ValueError('mine')", "raise OwnBase('mine')", "raise StopIteration", "raise SystemExit(3)"]
PLACES = {
    "the plan, before its first batch": {"plan": f"fail(); {RUN}"},
    "the plan, after a batch": {"plan": f"{RUN}; fail()"},
    "the plan, when it is closed": {"plan": f"\n        try:\n            {RUN}\n        finally:\n            fail()"},
    "configs": {"methods": "def configs(self): fail()"},
    "possible_steps": {"methods": "def possible_steps(self): fail()"},
    "a property": {"methods": "objective = property(lambda self: fail())", "fields": "del objective"},
    "the file": {"methods": "fail()"},
}


def text_of(sandbox, body="pass", plan=RUN, fields="", methods=""):
    return SCENARIO.format(url=sandbox.emulator.url, body=body, plan=plan, fields=fields, methods=methods)


@pytest.mark.parametrize("place", PLACES)
def test_an_exception_of_the_users_code_is_the_users(run_in_sandbox, place):
    """One line with status 107 (108 for sys.exit, 71 for memory), the user's line below; nothing is left behind."""

    async def main(sandbox):
        path = sandbox.write_scenario()
        bodies = RAISED if place == "the plan, after a batch" else _EVERYWHERE
        for number, body in enumerate(bodies):
            status = RAISED[body]
            path.write_text(text_of(sandbox, body, **PLACES[place]))
            actual, _, err = await sandbox.run(str(path), "--quiet", "--out", f"out{number}")
            assert actual == status, (body, err)
            assert "bug in loadgen" not in err
            assert "Traceback" not in err
            assert status == 71 or "scenario.py" in err, err

    run_in_sandbox(main)


WRONG = {
    "no seed": ({"fields": "del seed"}, 78, "has no seed"),
    "no plan": ({"methods": "plan = None"}, 78, ""),
    "no configs": ({"methods": "configs = None"}, 78, "has no configs()"),
    "payloads of another type": ({"fields": "requests = [b'1']"}, 2, "requests must contain Request values"),
    "a timeout of another type": ({"fields": "timeout = '3'"}, 2, "timeout must be finite"),
    "a seed of another type": ({"fields": "seed = 1.5"}, 2, "seed is 1.5"),
    "SLOs of another type": ({"fields": "slos = ['p99']"}, 2, "slos must contain Slo values"),
    "a limit out of range": ({"fields": "failure_share_limit = 2"}, 2, "failure_share_limit is 2"),
    "a plan that is a list": ({"plan": "return [self.steps()]"}, 107, "plan() returned a list"),
    "a plan of other values": ({"plan": "yield ['own']"}, 107, "plan() yielded a str"),
    "a plan of single steps": ({"plan": "yield self.steps()[0]"}, 107, "plan() yielded a Step"),
}


def test_a_class_that_validates_nothing_is_checked_before_anything_is_created(run_in_sandbox):
    """Missing and wrong fields of a user's own class are one line with status 2, 78 or 107."""

    async def main(sandbox):
        path = sandbox.write_scenario()
        for number, (name, (parts, status, text)) in enumerate(WRONG.items()):
            path.write_text(text_of(sandbox, **parts))
            actual, _, err = await sandbox.run(str(path), "--quiet", "--out", f"out{number}")
            assert (actual, text in err) == (status, True), (name, err)
            assert "bug in loadgen" not in err

    run_in_sandbox(main)


def test_numbers_of_numpy_and_generators_in_an_own_class_are_taken(run_in_sandbox):
    """A generator of payloads and numbers of numpy in a class of the user's own are as in Scenario."""
    fields = (
        "import numpy; requests = (Request(b'1') for _ in range(3)); seed = numpy.int64(7); timeout = numpy.float64(60)"
    )

    async def main(sandbox):
        path = sandbox.write_scenario()
        path.write_text(text_of(sandbox, fields=fields))
        actual, _, err = await sandbox.run(str(path), "--quiet", "--out", "out")
        assert actual in (0, 110), err  # 110: a busy machine

    run_in_sandbox(main)


def test_a_payload_generator_that_raises_is_the_users(run_in_sandbox):
    """A generator of payloads that fails half-way is reported with the user's line."""
    generator = "\n    def payloads():\n        yield Request(b'1')\n        fail()\n    requests = payloads()"

    async def main(sandbox):
        path = sandbox.write_scenario()
        path.write_text(text_of(sandbox, "raise ValueError('mine')", fields=generator))
        actual, _, err = await sandbox.run(str(path), "--quiet", "--out", "out")
        assert actual == 107, err
        assert "ValueError: mine" in err

    run_in_sandbox(main)

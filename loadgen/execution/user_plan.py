"""UserPlan: the plan of a scenario, which may be the user's own code, as a sequence of checked batches."""

import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, TypeVar

from loadgen.errors import ScriptError
from loadgen.measurement.run import Run
from loadgen.scenario.rounds import Rounds
from loadgen.scenario.scenario import ScenarioProtocol
from loadgen.scenario.user_code import describe, script_error
from loadgen.workload.step import Step

_T = TypeVar("_T")


class UserPlan:
    """The plan of one scenario.

    Args:
        scenario: whose plan it is.

    Raises:
        ScriptError: the scenario's `plan()` does not return a generator.
    """

    def __init__(self, scenario: ScenarioProtocol) -> None:
        plan: Any = _call_user_code(scenario.plan)
        if not isinstance(plan, Generator):
            hint = "write it as a generator: yield [Step(...)]"
            raise ScriptError(f"plan() returned a {type(plan).__name__}", hint=hint)
        self._plan: Any = plan

    def next_batch(self, runs: Sequence[Run] | None) -> list[Step] | Rounds | None:
        """Send the plan the runs of the previous batch, None before the first; return the next one, None at its end.

        Raises:
            ScriptError: the plan yielded something else than steps.
        """
        try:
            batch = _call_user_code(lambda: self._plan.send(runs))
        except StopIteration:
            return None
        if isinstance(batch, Rounds):
            return batch
        steps: list[Any] = list(batch) if isinstance(batch, Iterable) else []
        wrong: list[Any] = [step for step in steps if not isinstance(step, Step)]
        if wrong or not isinstance(batch, Iterable):
            given = type(wrong[0] if wrong else batch).__name__
            raise ScriptError(f"plan() yielded a {given}", hint="yield a list of Step values")
        return steps

    def close(self) -> None:
        """End the plan."""
        _call_user_code(self._plan.close)


def _call_user_code(function: Callable[[], _T]) -> _T:
    """Call a function of the scenario.

    Raises:
        ScriptError: it raised an exception that is not derived from Exception, other than an interrupt.
    """
    try:
        return function()
    except (Exception, KeyboardInterrupt, asyncio.CancelledError):
        raise
    except BaseException as error:
        raise script_error(error) or ScriptError(describe(error)) from error

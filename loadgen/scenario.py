"""Scenario: a target, requests and a plan of steps; and loading the Python file that defines one.

A scenario file defines a module-level `scenario`. Its values validate themselves, and nothing is sent while it loads.
"""

import ast
import difflib
import hashlib
import linecache
import math
import sys
import traceback
import types
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from loadgen.checks import check_whole
from loadgen.errors import ConfigError, InputError, LoadgenError, ScriptError, ScriptStopError, UsageError
from loadgen.recommend import OBJECTIVES
from loadgen.request import Request
from loadgen.runs import Run
from loadgen.slo import Slo
from loadgen.step import Step
from loadgen.target import ServerlessConfig, Target

Plan = Generator[Sequence[Step], Sequence[Run], None]


class Runnable(Protocol):
    """What a scenario file's `scenario` must offer; a frozen dataclass, so that `--set` can change a field."""

    @property
    def target(self) -> Target:
        """The place to measure."""
        ...

    @property
    def requests(self) -> Sequence[Request]:
        """What to send."""
        ...

    @property
    def seed(self) -> int:
        """Of the choice of payloads."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds that one request may take, cold start included."""
        ...

    @property
    def together(self) -> bool:
        """True to measure the endpoints of a batch at once: faster, and they may disturb each other."""
        ...

    @property
    def objective(self) -> str:
        """What the recommended memory size is best at: `cost`, `speed` or `balanced`."""
        ...

    @property
    def instance(self) -> str | None:
        """The real-time instance to compare with; None for the usual one of each size."""
        ...

    @property
    def slos(self) -> Sequence[Slo]:
        """The promises that decide the exit status."""
        ...

    def plan(self) -> Plan:
        """Yield batches of steps and be sent their runs."""
        ...

    def configs(self) -> Sequence[ServerlessConfig | None]:
        """Return every configuration that the plan may ask for, so that quotas are checked before anything is made."""
        ...

    def foreseen(self) -> Sequence[Step]:
        """Return every step that the plan may yield, at its dearest, so that the cost is bounded before."""
        ...


def check_settings(scenario: Runnable) -> None:
    """Refuse what no scenario can mean, whatever its plan: before anything is deployed.

    Raises:
        UsageError: with what to do.
    """
    _check_requests(scenario.requests)
    if not hasattr(scenario.target, "account"):
        raise UsageError(
            f"a target of type {type(scenario.target).__name__}", hint="give Emulated, SageMaker or Existing"
        )
    if not 0 < scenario.timeout < math.inf:
        raise UsageError(f"a timeout of {scenario.timeout!r} seconds", hint="finite and above 0")
    if scenario.objective not in OBJECTIVES:
        raise UsageError(f"objective {scenario.objective!r}", hint=f"one of {', '.join(OBJECTIVES)}")
    if not all(isinstance(slo, Slo) for slo in scenario.slos):
        raise UsageError("a promise that is no Slo", hint='give Slo("response_p99", at_most=0.8)')
    check_whole(scenario.seed, 0, "seed")


def _check_requests(requests: Sequence[Request]) -> None:
    if not requests:
        raise UsageError("a scenario without requests", hint="give requests=read_requests(...) or [Request(b'...')]")
    for request in requests:
        if not isinstance(request, Request):
            raise UsageError(f"a request of type {type(request).__name__}", hint="give Request values")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps of your own: configurations under loads, with promises to keep.

    Args:
        target: the place to measure: Emulated, SageMaker, Existing.
        requests: what to send.
        steps: executed in order; steps with the same configuration share an endpoint.
        slos: promises; a broken one makes the exit status 99.
        seed: of the choice of payloads.
        timeout: seconds that one request may take, cold start included.
        together: True to measure all endpoints at once.
        objective: what the recommended memory size is best at: `cost`, `speed` or `balanced`.
        instance: the real-time instance to compare with; None for the usual one of each size.

    Raises:
        UsageError: a value of another type, or out of its range.
    """

    target: Target
    requests: Sequence[Request]
    steps: Sequence[Step]
    slos: Sequence[Slo] = ()
    seed: int = 0
    timeout: float = 300.0
    together: bool = False
    objective: str = "balanced"
    instance: str | None = None

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.steps or not all(isinstance(step, Step) for step in self.steps):
            raise UsageError("a scenario without steps", hint="give steps=[Step(...)]")

    def plan(self) -> Plan:
        """Yield all steps as one batch."""
        yield self.steps

    def configs(self) -> Sequence[ServerlessConfig | None]:
        """Return the configurations of the steps."""
        return [step.config for step in self.steps]

    def foreseen(self) -> Sequence[Step]:
        """Return the steps."""
        return self.steps


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A scenario with the file it came from."""

    scenario: Runnable
    name: str
    question: str
    sha256: str
    path: Path


def load_scenario(path: Path) -> LoadedScenario:
    """Execute a scenario file and return its `scenario`.

    The file's directory comes first on `sys.path`, as it does when Python runs a file.

    Raises:
        InputError: the file cannot be read.
        ScriptError: it raised, or does not parse; only the user's own lines are shown.
        ScriptStopError: it called sys.exit().
        ConfigError: it defines no `scenario`.
    """
    try:
        # Whoever reads a pipe waits until somebody writes, and a device may never end.
        if "\0" in str(path) or (path.exists() and not (path.is_file() or path.is_dir())):
            raise InputError(f"cannot read {str(path)!r}: not a file", hint="give the path of a scenario file")
        source = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="give the path of a scenario file") from error
    except UnicodeEncodeError as error:
        hint = "give the path of a scenario file"
        raise InputError(f"cannot read {str(path)!a}: no file can be called so", hint=hint) from error
    module = types.ModuleType("scenario_file")
    module.__file__ = str(path)
    if str(path.parent.resolve()) not in sys.path:
        sys.path.insert(0, str(path.parent.resolve()))
    # Dataclasses and pickling look a module up by its name.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - running the user's file is the point
    except SyntaxError as error:
        place = ":".join(str(part) for part in (error.filename, error.lineno, error.offset) if part is not None)
        raise ScriptError(
            f"{path}: {error.msg}" if error.filename is None else f"{place}: {error.msg}",
            details=[(error.text or "").rstrip()],
        ) from error
    except SystemExit as error:
        raise ScriptStopError(f"{path} called sys.exit({error.code!r})") from error
    except LoadgenError as error:
        error.details = (*error.details, *_user_lines(error, path))
        raise
    except ModuleNotFoundError as error:
        raise ScriptError(
            f"{path}: {error}",
            hint=f"install it for {sys.executable}, or put it beside the scenario file",
            details=_user_lines(error, path),
        ) from error
    except Exception as error:
        text = " ".join(str(error).split())  # one line
        raise ScriptError(f"{path}: {type(error).__name__}: {text}", details=_user_lines(error, path)) from error
    scenario = module.__dict__.get("scenario")
    if scenario is None or isinstance(scenario, type) or not callable(getattr(scenario, "plan", None)):
        found = [name for name, value in vars(module).items() if callable(getattr(type(value), "plan", None))]
        hint = f"rename {' or '.join(found)} to scenario" if found else "define scenario = ServerlessBenchmark(...)"
        raise ConfigError(f"{path} defines no scenario", hint=hint)
    question = (module.__doc__ or "").strip().split("\n", 1)[0]
    return LoadedScenario(scenario, path.stem, question, hashlib.sha256(source).hexdigest(), path)


def _user_lines(error: BaseException, path: Path) -> list[str]:
    """Return the lines of the user's own files that led to an error; none of ours."""
    ours = str(Path(__file__).parent)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((ours, "<frozen"))]
    linecache.checkcache(str(path))
    return [f"{f.filename}:{f.lineno}: {f.line}" for f in frames][-5:]


def change(scenario: Runnable, settings: Mapping[str, str]) -> Runnable:
    """Return the scenario with fields set from text, as `--set name=value` does; values are Python literals or text.

    Raises:
        UsageError: there is no such field; the nearest is named.
    """
    if not settings:
        return scenario
    known = [f.name for f in fields(_as_dataclass(scenario))]
    values: dict[str, Any] = {}
    for name, text in settings.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
            raise UsageError(f"--set {name}: the scenario has no such field", hint=hint)
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two: thousands of brackets
            values[name] = text
    try:
        changed: Runnable = replace(_as_dataclass(scenario), **values)
    except (TypeError, ValueError, AttributeError) as error:
        given = ", ".join(f"{name}={value!r:.60}" for name, value in values.items())
        raise UsageError(f"--set {given} is of the wrong type", hint=str(error)) from error
    return changed


def _as_dataclass(scenario: Any) -> Any:
    if not is_dataclass(scenario):
        raise UsageError("this scenario is no dataclass, so that its fields cannot be changed from outside")
    return scenario

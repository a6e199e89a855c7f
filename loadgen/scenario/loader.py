"""Loading a scenario file: execute it and take its `scenario`."""

import hashlib
import linecache
import sys
import traceback
import types
from dataclasses import dataclass
from pathlib import Path

from loadgen.errors import ConfigError, InputError, LoadgenError, ScriptError, ScriptExitError
from loadgen.scenario.scenario import ScenarioProtocol


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A scenario with the file it came from."""

    scenario: ScenarioProtocol
    name: str
    title: str
    sha256: str
    path: Path


def load_scenario(path: Path) -> LoadedScenario:
    """Execute a scenario file and return its `scenario`.

    The file's directory comes first on `sys.path`, as it does when Python runs a file.

    Raises:
        InputError: the file cannot be read.
        ScriptError: it raised, or does not parse; only the user's own lines are shown.
        ScriptExitError: it called sys.exit().
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
        raise ScriptExitError(f"{path} called sys.exit({error.code!r})") from error
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
    ours = str(Path(__file__).parents[1])
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((ours, "<frozen"))]
    linecache.checkcache(str(path))
    return [f"{f.filename}:{f.lineno}: {f.line}" for f in frames][-5:]

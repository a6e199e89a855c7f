"""The scenario loader: executes a scenario file and returns its `scenario`."""

import hashlib
import linecache
import sys
import traceback
import types
from dataclasses import dataclass
from pathlib import Path

from loadgen.errors import ConfigError, InputError, LoadgenError, ScriptError, ScriptExitError
from loadgen.scenario.scenario import ScenarioProtocol
from loadgen.scenario.user_code import describe


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A scenario with the file that defines it.

    Args:
        scenario: the file's `scenario`.
        name: the file's name without its suffix.
        title: the first line of the file's docstring.
        sha256: hash of the file; empty when there is no file.
        path: the file.
    """

    scenario: ScenarioProtocol
    name: str
    title: str
    sha256: str
    path: Path


def load_scenario(path: Path) -> LoadedScenario:
    """Execute a scenario file and return its `scenario`.

    The file's directory is put last on `sys.path`, so that a file beside it never replaces a module that Python or
    loadgen imports later.

    Raises:
        InputError: the file cannot be read.
        ScriptError: the file does not parse, or raised; the details list the user's own lines only.
        ScriptExitError: the file called sys.exit().
        ConfigError: the file defines no `scenario`.
    """
    try:
        # Reading a pipe blocks until it has a writer, and reading a device may never end.
        if "\0" in str(path) or (path.exists() and not (path.is_file() or path.is_dir())):
            raise InputError(f"cannot read {str(path)!r}: not a regular file", hint="give the path of a scenario file")
        source = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="give the path of a scenario file") from error
    except UnicodeEncodeError as error:
        hint = "give the path of a scenario file"
        raise InputError(f"cannot read {str(path)!a}: not a valid file name", hint=hint) from error
    module = types.ModuleType("scenario_file")
    module.__file__ = str(path)
    directory = str(path.parent.resolve())
    sys.path[:] = [*(entry for entry in sys.path if entry != directory), directory]  # `python -m` puts it first
    # dataclasses and pickle look a module up by its name.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - a scenario file is Python code
    except SyntaxError as error:
        location = ":".join(str(part) for part in (error.filename, error.lineno, error.offset) if part is not None)
        raise ScriptError(
            f"{path}: {error.msg}" if error.filename is None else f"{location}: {error.msg}",
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
    except ImportError as error:
        raise ScriptError(
            f"{path}: {error}", hint=_hidden_neighbour(error.name, path), details=_user_lines(error, path)
        ) from error
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # a class of the user's own may be derived from BaseException
        raise ScriptError(f"{path}: {describe(error)}", details=_user_lines(error, path)) from error
    scenario = module.__dict__.get("scenario")
    if scenario is None or isinstance(scenario, type) or not callable(getattr(scenario, "plan", None)):
        candidates = [name for name, value in vars(module).items() if callable(getattr(type(value), "plan", None))]
        hint = (
            f"rename {' or '.join(candidates)} to scenario"
            if candidates
            else "define scenario = ServerlessBenchmark(...)"
        )
        raise ConfigError(f"{path} defines no scenario", hint=hint)
    title = (module.__doc__ or "").strip().split("\n", 1)[0]
    return LoadedScenario(scenario, path.stem, title, hashlib.sha256(source).hexdigest(), path)


def _hidden_neighbour(name: str | None, path: Path) -> str:
    """Return what to do when a module was imported instead of the file of that name beside the scenario."""
    neighbour = path.parent / f"{name}.py"
    imported = getattr(sys.modules.get(name or ""), "__file__", None)
    if not neighbour.exists() or imported is None or Path(imported).resolve() == neighbour.resolve():
        return ""
    return f"{neighbour.name} beside the scenario has the name of an installed module, {imported}: rename it"


def _user_lines(error: BaseException, path: Path) -> list[str]:
    """Return the last five traceback lines in the user's own files."""
    package = str(Path(__file__).parents[1])
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((package, "<frozen"))]
    linecache.checkcache(str(path))
    return [f"{f.filename}:{f.lineno}: {f.line}" for f in frames][-5:]

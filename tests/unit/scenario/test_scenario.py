"""Scenario files: what a user writes, every way in which it can be wrong, and `--set`."""

import math
import os
import sys
import textwrap
from dataclasses import dataclass

import pytest

from loadgen.errors import (
    ConfigError,
    DataError,
    ExitStatus,
    InputError,
    LoadgenError,
    ScriptError,
    ScriptExitError,
    UsageError,
)
from loadgen.scenario.loader import load_scenario
from loadgen.scenario.overrides import apply_overrides
from loadgen.scenario.scenario import Scenario
from loadgen.scenario.serverless_benchmark import ServerlessBenchmark
from loadgen.workload.load import ClosedLoop
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import ErrorLimit, Step

ONE = [Request(b"{}")]
LOAD = ClosedLoop(1, count=1)
SOUND = '''\
"""How fast is it?

More words.
"""
from loadgen import ClosedLoop, Emulated, Request, Scenario, Step
scenario = Scenario(Emulated("mobilenet-v2"), [Request(b"{}")], [Step(None, ClosedLoop(1, count=1))])
'''


@pytest.fixture(autouse=True)
def _keep_the_interpreter(monkeypatch):
    """Loading a file puts its folder on sys.path and itself into sys.modules: taken back after each test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def load(tmp_path):
    def loaded(source, name="my scenario.py"):
        path = tmp_path / name
        path.write_bytes(source if isinstance(source, bytes) else textwrap.dedent(source).encode())
        return load_scenario(path)

    return loaded


def test_a_scenario_file_is_loaded_with_its_question(load, tmp_path):
    """The scenario, the first line of the docstring, the name and the hash of the file."""
    loaded = load(SOUND)
    assert isinstance(loaded.scenario, Scenario)
    assert (loaded.title, loaded.name, loaded.path) == (
        "How fast is it?",
        "my scenario",
        tmp_path / "my scenario.py",
    )
    assert len(loaded.sha256) == 64


def test_a_scenario_may_use_files_beside_it(load, tmp_path):
    """Its own folder comes first when it imports, as when Python runs a file; `__file__` is its path."""
    (tmp_path / "my_neighbour.py").write_text("QUESTION = 'x'")
    loaded = load("from my_neighbour import QUESTION\nassert __file__.endswith('.py')\n" + SOUND.split('"""\n')[1])
    assert loaded.title == ""


@pytest.mark.parametrize(
    "source",
    [
        b"\xef\xbb\xbf" + SOUND.encode(),
        SOUND.replace("\n", "\r\n").encode(),
        b"# -*- coding: latin-1 -*-\nx = '\xe9'\n" + SOUND.encode(),
        b"if True:\n\tx = 1\n" + SOUND.encode(),
    ],
    ids=["BOM", "CRLF", "latin-1 cookie", "tabs"],
)
def test_a_file_is_parsed_as_python_would(load, source):
    """C23: byte order mark, CRLF, encoding cookie, tabs."""
    assert isinstance(load(source).scenario, Scenario)


def test_what_cannot_be_read_is_an_input_error(tmp_path):
    """C14: missing, a folder, a pipe that nobody writes to, unreadable names: path and reason, at once."""
    os.mkfifo(tmp_path / "pipe.py")
    for name in ("missing.py", ".", "pipe.py", "x" * 300, "a\0b"):
        with pytest.raises(InputError) as caught:
            load_scenario(tmp_path / name)
        assert caught.value.status == 66


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("x = (\n", ":1:"),
        ("a = 1\nb = = 2\n", ":2:5:"),
        (b"x = '\xff'\n", "utf-8"),
        (b"a = 1\0\n", "null byte"),
        ("if 1:\nx = 1", ":2:"),
    ],
)
def test_a_syntax_error_is_located(load, source, place):
    """C15: file, line and column, and the line itself; none of our own frames."""
    with pytest.raises(ScriptError) as caught:
        load(source)
    assert place in str(caught.value)
    assert "my scenario.py" in str(caught.value)
    assert not any("loadgen/scenario" in line for line in caught.value.details)


def test_a_missing_module_names_the_interpreter(load):
    """C16: which module, which Python, and what to do."""
    with pytest.raises(ScriptError) as caught:
        load("import no_such_module_anywhere")
    assert "no_such_module_anywhere" in str(caught.value)
    assert sys.executable in str(caught.value)


def test_an_exception_shows_the_users_lines_only(load, tmp_path):
    """C17: the exception and the lines of the user's own files that led to it, deepest last."""
    (tmp_path / "deep_neighbour.py").write_text("def f():\n    return 1 / 0\n")
    with pytest.raises(ScriptError) as caught:
        load("from deep_neighbour import f\nf()\n")
    assert "ZeroDivisionError: division by zero" in str(caught.value)
    assert [line.removeprefix(f"{tmp_path}/") for line in caught.value.details] == [
        "my scenario.py:2: f()",
        "deep_neighbour.py:2: return 1 / 0",
    ]


@pytest.mark.parametrize("call", ["import sys; sys.exit(3)", "raise SystemExit", "exit()", "quit(0)"])
def test_a_scenario_that_exits_is_a_stop(load, call):
    """C20: sys.exit in a file is status 108, whatever number it asked for."""
    with pytest.raises(ScriptExitError) as caught:
        load(call)
    assert caught.value.status == 108


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("from loadgen import ServerlessConfig\nServerlessConfig(1500)", UsageError),
        ("from loadgen import ServerlessConfig\nServerlessConfig(1024, 201)", UsageError),
        ("from loadgen import constant\nconstant(-1)", UsageError),
        ("from loadgen import read_requests\nread_requests('no such file')", InputError),
        ("from loadgen import Request\nRequest(b'', content_type='a\\nb')", DataError),
    ],
)
def test_our_own_refusals_keep_their_status(load, source, kind):
    """C04: a wrong value in a file has the status of the value, and the user's line beside it."""
    with pytest.raises(kind) as caught:
        load(source)
    assert any("my scenario.py:2" in line for line in caught.value.details)


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("x = 1", "define scenario"),
        ("", "define scenario"),
        ("scenario = 5", "define scenario"),
        ("scenario = None", "define scenario"),
        ("from loadgen import Scenario as scenario", "define scenario"),
        (SOUND.replace("scenario = ", "first = "), "first"),
        (SOUND.replace("scenario = ", "first = second = "), "first or second"),
    ],
)
def test_a_file_without_a_scenario_lists_what_it_has(load, source, hint):
    """C22: none, or none of that name: the candidates are named."""
    with pytest.raises(ConfigError, match=hint) as caught:
        load(source)
    assert caught.value.status == 78


def test_every_error_of_a_file_is_one_line(load):
    """An exception's text may have many lines, the error's has one."""
    with pytest.raises(ScriptError) as caught:
        load("raise ValueError('a\\nb\\nc')")
    assert "\n" not in str(caught.value)


# -- --set ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    name: str = "here"

    def account(self, *, run_id):
        raise NotImplementedError


def benchmark(**more) -> ServerlessBenchmark:
    return ServerlessBenchmark(Place(), ONE, **more)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("250", "invocations", 250),
        ("[1024, 2048]", "memory_sizes", [1024, 2048]),
        ("False", "include_concurrency", False),
        ("0.25", "backoff", 0.25),
        ("cost", "objective", "cost"),
        ("'cost'", "objective", "cost"),
        ("None", "instance", None),
        ("ml.m5.large", "instance", "ml.m5.large"),
    ],
)
def test_set_changes_a_field(text, name, value):
    """Python literals are values, everything else is text; nothing else changes."""
    changed = apply_overrides(benchmark(), {name: text})
    assert getattr(changed, name) == value
    assert apply_overrides(benchmark(), {}) == benchmark()


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"invocation": "5"}, "invocations"),
        ({"nothing_like_it": "5"}, "it has"),
        ({"invocations": "0"}, "at least 1"),
        ({"invocations": "many"}, "."),
        ({"invocations": "1.5"}, "."),
        ({"memory_sizes": "2048"}, "."),
        ({"memory_sizes": "[1500]"}, "1024"),
        ({"multipliers": "x"}, "."),
        ({"max_concurrency": "[201]"}, "200"),
        ({"timeout": "nan"}, "."),
        ({"timeout": "0"}, "."),
        ({"seed": "x"}, "."),
        ({"seed": "-1"}, "."),
        ({"cold_start_delay": "-1"}, "."),
        ({"error_limit": "0"}, "."),
        ({"objective": "best"}, "balanced"),
        ({"target": "somewhere"}, "."),
        ({"requests": "none"}, "."),
        ({"slos": "fast"}, "."),
        ({"think": "'x'"}, "."),
        ({"invocations": "(" * 300}, "."),
    ],
)
def test_set_refuses_what_cannot_be_meant(settings, hint):
    """Any wrong name or value of `--set` is a UsageError with a hint: status 2, never a bug of ours."""
    with pytest.raises(UsageError, match=hint):
        apply_overrides(benchmark(), settings)


@pytest.mark.parametrize("steps", ["abc", [5], [], 5])
@pytest.mark.parametrize("field", ["steps", "requests"])
def test_a_scenario_holds_steps_and_requests(field, steps):
    """Anything else is refused when it is built."""
    values = {"requests": ONE, "steps": [Step(None, LOAD)], field: steps}
    with pytest.raises((UsageError, TypeError)):
        Scenario(Place(), **values)


@pytest.mark.parametrize(
    "more",
    [
        {"timeout": math.nan},
        {"timeout": -1},
        {"timeout": math.inf},
        {"seed": -1},
        {"seed": 1.5},
        {"objective": "best"},
        {"slos": ["x"]},
    ],
)
@pytest.mark.parametrize("kind", ["Scenario", "ServerlessBenchmark"])
def test_both_kinds_of_scenario_refuse_the_same(kind, more):
    """Timeout, seed, objective and promises mean the same in both."""
    with pytest.raises(UsageError):
        benchmark(**more) if kind == "ServerlessBenchmark" else Scenario(Place(), ONE, [Step(None, LOAD)], **more)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Step(None, None),
        lambda: Step(1024, LOAD),
        lambda: Step(None, LOAD, warmup=-1),
        lambda: Step(None, LOAD, warmup=math.nan),
        lambda: Step(None, LOAD, warmup=math.inf),
        lambda: Step(None, LOAD, delay=math.nan),
        lambda: Step(None, LOAD, warmup_calls=-1),
        lambda: Step(None, LOAD, warmup_calls=1.5),
        lambda: ErrorLimit(count=0),
        lambda: ErrorLimit(share=1),
        lambda: ErrorLimit(share=-0.1),
        lambda: ErrorLimit(share=math.nan),
        lambda: ServerlessConfig(1500),
        lambda: ServerlessConfig(1024, 0),
        lambda: ServerlessConfig(1024, 201),
        lambda: ServerlessConfig(1024, 1.0),
        lambda: ServerlessConfig(1024, 2, 3),
    ],
)
def test_a_step_that_cannot_be_is_refused(build):
    """C04: memory, concurrency, limits and times outside what can be meant."""
    with pytest.raises(UsageError):
        build()


def test_every_error_here_has_a_status():
    """What a scenario file can end in is told apart by its exit status."""
    kinds = (InputError, ScriptError, ScriptExitError, ConfigError, UsageError)
    assert [kind.status for kind in kinds] == [66, 107, 108, 78, 2]
    assert all(issubclass(kind, LoadgenError) for kind in kinds)
    assert ExitStatus(107) is ScriptError.status

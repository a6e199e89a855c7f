"""The scenario loader: what it returns for a file, and the error of each invalid file."""

import importlib.util
import os
import sys
import textwrap

import pytest

from loadgen.errors import ConfigError, DataError, InputError, ScriptError, ScriptExitError, UsageError
from loadgen.scenario.loader import load_scenario
from loadgen.scenario.scenario import Scenario

VALID_FILE = '''\
"""How fast is it?

More words.
"""
from loadgen import ClosedLoop, Emulated, Request, Scenario, Step
scenario = Scenario(Emulated("mobilenet-v2"), [Request(b"{}")], [Step(None, ClosedLoop(1, count=1))])
'''


@pytest.fixture(autouse=True)
def _restore_imports(monkeypatch):
    """Undo the changes of sys.path and sys.modules that loading a file makes."""
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


def test_a_scenario_file_is_loaded_with_its_title(load, tmp_path):
    """The loaded scenario has the first line of the file's docstring, its name, its path and its hash."""
    loaded = load(VALID_FILE)
    assert isinstance(loaded.scenario, Scenario)
    assert (loaded.title, loaded.name, loaded.path) == (
        "How fast is it?",
        "my scenario",
        tmp_path / "my scenario.py",
    )
    assert len(loaded.sha256) == 64


def test_a_scenario_file_imports_modules_beside_it(load, tmp_path):
    """The file's directory is on sys.path; `__file__` is its path."""
    (tmp_path / "my_neighbour.py").write_text("VALUE = 'x'")
    loaded = load("from my_neighbour import VALUE\nassert __file__.endswith('.py')\n" + VALID_FILE.split('"""\n')[1])
    assert loaded.title == ""


@pytest.mark.parametrize(
    "source",
    [
        b"\xef\xbb\xbf" + VALID_FILE.encode(),
        VALID_FILE.replace("\n", "\r\n").encode(),
        b"# -*- coding: latin-1 -*-\nx = '\xe9'\n" + VALID_FILE.encode(),
        b"if True:\n\tx = 1\n" + VALID_FILE.encode(),
    ],
    ids=["BOM", "CRLF", "latin-1 cookie", "tabs"],
)
def test_a_file_is_parsed_as_python_does(load, source):
    """A file with a byte order mark, CRLF, an encoding cookie or tabs is loaded (C23)."""
    assert isinstance(load(source).scenario, Scenario)


def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path):
    """A missing file, a directory, a pipe without a writer and an invalid name are refused at once, with 66 (C14)."""
    os.mkfifo(tmp_path / "pipe.py")
    for name in ("missing.py", ".", "pipe.py", "x" * 300, "a\0b"):
        with pytest.raises(InputError) as caught:
            load_scenario(tmp_path / name)
        assert caught.value.status == 66


@pytest.mark.parametrize(
    ("source", "location"),
    [
        ("x = (\n", ":1:"),
        ("a = 1\nb = = 2\n", ":2:5:"),
        (b"x = '\xff'\n", "utf-8"),
        (b"a = 1\0\n", "null byte"),
        ("if 1:\nx = 1", ":2:"),
    ],
)
def test_a_syntax_error_is_located(load, source, location):
    """The message of a syntax error has file, line and column, and no frame of loadgen (C15)."""
    with pytest.raises(ScriptError) as caught:
        load(source)
    assert location in str(caught.value)
    assert "my scenario.py" in str(caught.value)
    assert not any("loadgen/scenario" in line for line in caught.value.details)
    assert caught.value.status == 107


def test_a_missing_module_names_the_interpreter(load):
    """The error of a missing module names the module and the Python to install it for (C16)."""
    with pytest.raises(ScriptError) as caught:
        load("import no_such_module_anywhere")
    assert "no_such_module_anywhere" in str(caught.value)
    assert sys.executable in str(caught.value)


def test_an_exception_shows_only_lines_of_the_user(load, tmp_path):
    """The details of an exception are the lines of the user's files that led to it, deepest last (C17)."""
    (tmp_path / "deep_neighbour.py").write_text("def f():\n    return 1 / 0\n")
    with pytest.raises(ScriptError) as caught:
        load("from deep_neighbour import f\nf()\n")
    assert "ZeroDivisionError: division by zero" in str(caught.value)
    assert [line.removeprefix(f"{tmp_path}/") for line in caught.value.details] == [
        "my scenario.py:2: f()",
        "deep_neighbour.py:2: return 1 / 0",
    ]


@pytest.mark.parametrize("call", ["import sys; sys.exit(3)", "raise SystemExit", "exit()", "quit(0)"])
def test_a_file_that_calls_exit_has_its_own_status(load, call):
    """A file that calls sys.exit() ends with 108, whatever its argument (C20)."""
    with pytest.raises(ScriptExitError) as caught:
        load(call)
    assert caught.value.status == 108


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("from loadgen import ServerlessConfig\nServerlessConfig(1500)", UsageError),
        ("from loadgen import ServerlessConfig\nServerlessConfig(1024, 201)", UsageError),
        ("from loadgen import constant\nconstant(-1)", UsageError),
        ("from loadgen import read_requests\nread_requests('no such file')", InputError),
        ("from loadgen import Request\nRequest(b'', content_type='a\\nb')", DataError),
    ],
)
def test_an_invalid_value_in_a_file_keeps_its_error(load, source, error):
    """An invalid value in a file raises the value's own error, with the user's line in the details (C04)."""
    with pytest.raises(error) as caught:
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
        (VALID_FILE.replace("scenario = ", "first = "), "first"),
        (VALID_FILE.replace("scenario = ", "first = second = "), "first or second"),
    ],
)
def test_a_file_without_a_scenario_is_a_config_error(load, source, hint):
    """A file without `scenario` is refused with 78; objects that have a plan are named in the hint (C22)."""
    with pytest.raises(ConfigError, match=hint) as caught:
        load(source)
    assert caught.value.status == 78


def test_the_message_of_an_exception_is_one_line(load):
    """The line breaks of an exception's text are removed from the message."""
    with pytest.raises(ScriptError) as caught:
        load("raise ValueError('a\\nb\\nc')")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["this", "rich", "antigravity"])
def test_a_file_beside_the_scenario_does_not_replace_an_installed_module(load, tmp_path, monkeypatch, name):
    """The directory is searched last, also if it was first: a later import of a module meets that module."""
    (tmp_path / f"{name}.py").write_text("TEAM = 'ranking'")
    monkeypatch.syspath_prepend(tmp_path)
    load(VALID_FILE)
    assert sys.path[-1] == str(tmp_path.resolve())
    assert sys.path.count(str(tmp_path.resolve())) == 1
    found = importlib.util.find_spec(name)
    assert not found.origin.startswith(str(tmp_path))


def test_a_hidden_file_beside_the_scenario_is_named(load, tmp_path):
    """A scenario that imports from a file with the name of a module of Python's is told to rename the file."""
    (tmp_path / "secrets.py").write_text("TEAM = 'ranking'")
    with pytest.raises(ScriptError, match="TEAM") as caught:
        load("from secrets import TEAM")
    assert "secrets.py beside the scenario has the name of an installed module" in caught.value.hint
    assert "rename it" in caught.value.hint

"""House rules that no linter checks: tests state their promise, files and functions are short, no machine is named."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70
FOLDERS = ("loadgen", "tests", "bench", "scenarios")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
TESTS = [path for path in SOURCES if path.name.startswith("test_")]


@cache
def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return every function of a file, nested ones included."""
    tree = ast.parse(path.read_text("utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_test_states_its_promise(path):
    """Each test function has a docstring that begins with a sentence, not with the id of a failure case."""
    tests = [function for function in functions(path) if function.name.startswith("test_")]
    assert tests
    docstrings = {function.name: ast.get_docstring(function) or "" for function in tests}
    silent = [name for name, text in docstrings.items() if not re.match(r".+[.!?:]", text, re.DOTALL)]
    assert silent == []


def test_tests_do_not_import_tests_or_benches():
    """Tests import from loadgen and tests.support only; only the tests of the benches import from bench."""
    found = []
    for path in SOURCES:
        place = path.relative_to(ROOT).as_posix()
        if place.startswith(("loadgen/", "scenarios/")):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                is_test = name.startswith("tests.") and not name.startswith("tests.support")
                is_bench = re.match(r"bench\b", name) and not place.startswith("bench/")
                if is_test or is_bench:
                    found.append(f"{place}: {name}")
    assert found == []


def test_files_and_functions_are_short():
    """No file is longer than 400 lines and no function longer than 70."""
    long = []
    for path in SOURCES:
        place = path.relative_to(ROOT).as_posix()
        if (lines := len(path.read_text("utf-8").splitlines())) > MAX_FILE_LINES:
            long.append(f"{place}: {lines} lines")
        for function in functions(path):
            if (lines := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION_LINES:
                long.append(f"{place}: {function.name}: {lines} lines")
    assert long == []


def published() -> list[Path]:
    """Return the files in the repository, or the sources where there is none."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False)
    if listed.returncode != 0:
        return SOURCES
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_no_file_names_a_path_of_one_machine():
    """No published file contains an absolute path of a user's home or a work directory."""
    path_of_a_machine = re.compile(rb"(?<![\w./~:-])/(?:home|root|work|Users|tmp/v)/[\w.]")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()[:80]!r}"
        for path in published()
        for line in path.read_bytes().splitlines()
        if b"\0" not in line and path_of_a_machine.search(line)
    ]
    assert found == []

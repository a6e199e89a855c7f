"""The rules of the house: what may import what, that importing does nothing, and that style is kept."""

import ast
import doctest
import importlib
import inspect
import itertools
import json
import re
import subprocess
import sys
import textwrap
import tomllib
from functools import cache
from pathlib import Path

import pytest

import loadgen

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "loadgen"

# Which package may import which, in the order in which data flows: a unit imports only what its line lists, and every
# line lists only units above it. A unit is a package of loadgen/ or a module on its top level.
ALLOWED = """
errors
redaction
event_loop
process_identity
validation:       errors
atomic_file:      errors
workload:         errors validation
measurement:      errors redaction workload
interfaces:       workload measurement
engine:           errors validation workload measurement interfaces
analysis:         errors workload measurement
transport:        errors workload measurement interfaces
results:          errors atomic_file process_identity workload measurement interfaces analysis
aws:              errors redaction event_loop process_identity workload measurement interfaces
scenario:         errors validation workload measurement interfaces analysis
emulator:         errors workload
targets:          errors event_loop workload interfaces transport aws emulator
execution:        errors workload measurement interfaces engine analysis results aws scenario
report:           errors workload measurement interfaces analysis results
distributed:      errors event_loop workload measurement interfaces engine results execution
processing_job:   errors workload interfaces analysis results aws execution distributed
compat:           errors event_loop workload interfaces aws scenario targets execution report processing_job
cli:              errors redaction event_loop workload interfaces analysis results aws scenario targets emulator execution report distributed processing_job compat
__main__:         cli
"""
EDGES = {
    unit.strip(): names.split() for unit, _, names in (line.partition(":") for line in ALLOWED.split("\n") if line)
}

# Third-party package -> the packages or modules that may import it.
FENCES = {
    "aioboto3": {"aws.session"},
    "aiobotocore": {"aws.session", "transport.botocore"},
    "aiohttp": {"emulator", "transport.botocore"},
    "altair": {"report.charts"},
    "botocore": {"aws", "transport.botocore", "transport.wire.sdk_probe"},
    "distributed": {"distributed.dask"},
    "hdrh": {"measurement.histogram"},
    "httptools": {"transport.wire.http1"},
    "jinja2": {"report.formats.html_page"},
    "markupsafe": {"report.formats.html_page"},
    "orjson": {"emulator", "workload.payload", "atomic_file", "results"},
    "rich": {"cli.guide", "report.console", "report.formats.terminal"},
    "uvloop": {"event_loop"},
    "vl_convert": {"report.charts"},
}
EVERYWHERE = {"numpy"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imports(module: str) -> set[str]:
    """Every module that a file imports when it runs, wherever in the file; what only the type checker sees left out."""
    nodes = list(ast.walk(tree(MODULES[module])))
    unseen = {
        inner
        for node in nodes
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found = set()
    for node in nodes:
        if node in unseen:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            found |= {
                full if (full := f"{node.module}.{alias.name}") in MODULES else str(node.module) for alias in node.names
            }
    return found


def unit_of(module: str) -> str:
    return module.removeprefix("loadgen").strip(".").partition(".")[0]


def own_imports(module: str) -> set[str]:
    return {name for name in imports(module) if name.partition(".")[0] == "loadgen"}


@pytest.mark.parametrize("module", [m for m in MODULES if unit_of(m)])
def test_imports_are_allowed(module):
    """A module imports only the packages that the list allows its own package."""
    unit = unit_of(module)
    assert unit in EDGES, f"add {unit} to ALLOWED"
    imported = {unit_of(name) for name in own_imports(module)} - {"", unit}
    assert imported <= set(EDGES[unit]), f"{module} imports {sorted(imported - set(EDGES[unit]))}"


def test_the_list_of_imports_points_one_way():
    """Each unit of the list imports only units above it, so that no import circle is possible."""
    above: set[str] = set()
    for unit, names in EDGES.items():
        assert set(names) <= above, f"{unit}: {sorted(set(names) - above)} is not above it"
        above.add(unit)


def test_the_list_of_imports_is_exact():
    """The list names every unit that exists, and no import that nothing uses."""
    units = {unit_of(module) for module in MODULES} - {""}
    assert set(EDGES) == units
    used = {
        unit: {unit_of(n) for m in MODULES if unit_of(m) == unit for n in own_imports(m)} - {"", unit} for unit in units
    }
    assert {unit: sorted(set(EDGES[unit]) - used[unit]) for unit in units if set(EDGES[unit]) - used[unit]} == {}


def test_the_engine_cannot_know_that_aws_exists():
    """Nothing that the engine leads to is about AWS, sockets, files or reports."""
    reached, waiting = set(), ["loadgen.engine.engine"]
    while waiting:
        module = waiting.pop()
        if module not in reached and module in MODULES:
            reached.add(module)
            waiting += own_imports(module)
    units = {unit_of(module) for module in reached}
    assert not units & {
        "aws",
        "transport",
        "targets",
        "emulator",
        "report",
        "execution",
        "distributed",
        "results",
        "cli",
    }
    outside = {name.partition(".")[0] for module in reached for name in imports(module)} - {"loadgen"}
    assert outside - sys.stdlib_module_names == {"numpy", "hdrh"}
    assert not outside & {"socket", "ssl", "http", "urllib", "signal", "logging", "subprocess", "argparse"}


@pytest.mark.parametrize("module", MODULES)
def test_third_party_packages_stay_in_their_files(module):
    """Each package is imported by the file that wraps it, and by no other."""
    parts = module.removeprefix("loadgen.").split(".")
    places = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    for package in {name.partition(".")[0] for name in imports(module)} - sys.stdlib_module_names - {"loadgen"}:
        allowed = package in EVERYWHERE or places & FENCES.get(package, set())
        assert allowed, f"{module} imports {package}"


def test_what_is_required_is_used():
    """Every dependency of the project is imported somewhere, so that nobody installs what nothing needs."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    names = {re.split(r"[>=<;\[ ]", text)[0] for text in declared}
    imported = {name.partition(".")[0].replace("_", "-") for module in MODULES for name in imports(module)}
    other_names = {"hdrhistogram": "hdrh", "vl-convert-python": "vl-convert"}
    assert {name for name in names if other_names.get(name, name) not in imported} == set()


def test_only_the_command_line_touches_the_process():
    """Signals, the loop's policy, logging set-up and exits are in the files that run a process, nowhere else."""
    process = {"cli", "__main__", "emulator", "distributed", "processing_job"}
    words = {"signal.signal", "asyncio.set_event_loop_policy", "logging.basicConfig", "sys.exit", "os._exit"}
    found = {
        f"{module}: {ast.unparse(node)}"
        for module, path in MODULES.items()
        if unit_of(module) not in process
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and (ast.unparse(node) in words or node.attr == "add_signal_handler")
    }
    assert found == set()


# -- importing does nothing -------------------------------------------------------------------------------------------

_WATCH = """
import asyncio, json, logging, os, signal, sys, threading
def house():
    return [
        threading.active_count(),
        [str(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        type(asyncio.get_event_loop_policy()).__name__,
        [logging.root.level, len(logging.root.handlers), logging.root.manager.disable],
        os.getcwd(), dict(os.environ), os.umask(0o22),
    ]
os.umask(0o22)
events = []
def hook(event, arguments):
    # Not socket.bind: urllib3 looks that way whether this machine has IPv6.
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.fork", "os.mkdir"):
        events.append(event)
    elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        events.append(f"writes {arguments[0]}")
sys.dont_write_bytecode = True
sys.addaudithook(hook)
"""


def in_a_new_process(code: str, *, environment: dict[str, str] | None = None) -> object:
    """Run code in a fresh interpreter and return the JSON that it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("module", [m for m in MODULES if not m.endswith("__main__")])
def test_importing_does_nothing(module):
    """No thread, signal handler, policy, log handler, socket, process, file or printed word comes of an import."""
    if module == "loadgen.distributed.dask":
        pytest.importorskip("distributed")
    before, after, events, printed = in_a_new_process(
        _WATCH
        + f"""
import io
before, out = house(), sys.stdout
sys.stdout = sys.stderr = io.StringIO()
import {module}
printed, sys.stdout, sys.stderr = sys.stdout.getvalue(), out, sys.__stderr__
print(json.dumps([before, house(), events, printed]))
"""
    )
    assert (after, events, printed) == (before, [], "")


def test_importing_loadgen_is_light():
    """`import loadgen` and its errors load neither AWS's packages nor numpy: the names are fetched when first used."""
    loaded = in_a_new_process("import json, sys, loadgen, loadgen.errors; print(json.dumps(sorted(sys.modules)))")
    heavy = {"numpy", "aiohttp", "rich", "jinja2", "hdrh", "orjson", "uvloop", "asyncio", *FENCES}
    assert {name.partition(".")[0] for name in loaded} & heavy == set()


# -- public names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", loadgen.__all__)
def test_every_public_name_is_documented(name):
    """It resolves, from its own module, and its docstring opens with a sentence."""
    value = getattr(loadgen, name)
    assert name in dir(loadgen)
    documented = inspect.getdoc(value) or ""
    assert documented.split("\n\n")[0].rstrip().endswith("."), documented


def test_an_unknown_name_is_an_attribute_error():
    """What is not public is not there."""
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = loadgen.Nothing


@pytest.mark.parametrize("module", [m for m in MODULES if not m.endswith("__main__")])
def test_examples_in_docstrings_are_true(module):
    """Every example of every docstring prints what it says."""
    if module == "loadgen.distributed.dask":
        pytest.importorskip("distributed")
    results = doctest.testmod(importlib.import_module(module), verbose=False)
    assert results.failed == 0


def test_there_are_examples():
    """The tests above have something to run."""
    finder = doctest.DocTestFinder()
    names = [name for name in MODULES if not name.endswith("__main__") and name != "loadgen.distributed.dask"]
    found = (finder.find(importlib.import_module(name)) for name in names)
    assert sum(len(test.examples) for test in itertools.chain(*found)) > 20


# -- style ------------------------------------------------------------------------------------------------------------

SOURCES = [
    path for folder in ("loadgen", "tests", "bench", "scenarios") for path in sorted((ROOT / folder).rglob("*.py"))
]


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.name)
def test_every_test_states_its_promise(path):
    """Each test function opens with a sentence."""
    functions = [n for n in ast.walk(tree(path)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    tests = [function for function in functions if function.name.startswith("test_")]
    assert tests
    silent = [f.name for f in tests if not re.match(r".+[.!?:]", ast.get_docstring(f) or "", re.DOTALL)]
    assert silent == []


def test_files_and_functions_are_short():
    """No file is above 400 lines and no function above 70."""
    long = [f"{path.name}: {n}" for path in SOURCES if (n := len(path.read_text("utf-8").splitlines())) > 400]
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > 70:
                    long.append(f"{path.name}: {node.name} {length}")
    assert long == []


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False)
    if listed.returncode != 0:
        return SOURCES
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_no_file_names_a_place_on_one_machine():
    """No absolute path of somebody's home or workplace is in what is published."""
    place = re.compile(rb"(?<![\w./~:-])/(?:home|root|work|Users|tmp/v)/[\w.]")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()[:80]!r}"
        for path in tracked()
        for line in path.read_bytes().splitlines()
        if b"\0" not in line and place.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "loadgen", "tests", "bench", "scenarios"], ["mypy"]],
    ids=["ruff check", "ruff format", "mypy"],
)
def test_the_tools_have_nothing_to_say(command, tmp_path):
    """Linter, formatter and the strict type checker pass."""
    extra = ["--cache-dir", str(tmp_path)] if command[0] == "mypy" else ["--no-cache"]
    done = subprocess.run(
        [sys.executable, "-m", *command, *extra], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""Architecture: which package imports which, where third-party packages may appear, and that importing does nothing.

Style rules are in test_house_rules.py; linter and type checker are `python -m tests.lint`.
"""

import ast
import doctest
import importlib
import importlib.util
import inspect
import itertools
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import TopologicalSorter
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
open_files
process_exit
process_identity
standard_streams
statistics
liveness:         process_identity
validation:       errors
atomic_file:      errors
workload:         errors validation statistics
measurement:      errors redaction workload statistics
interfaces:       errors workload measurement
engine:           errors validation workload measurement interfaces
analysis:         errors workload statistics measurement
transport:        errors open_files workload measurement interfaces
results:          errors atomic_file process_identity liveness workload measurement interfaces analysis
aws:              errors redaction event_loop process_identity liveness atomic_file workload measurement interfaces
scenario:         errors validation workload measurement interfaces analysis
emulator:         errors open_files workload transport
targets:          errors process_exit event_loop validation workload interfaces transport aws emulator
execution:        errors liveness workload measurement interfaces engine analysis results aws scenario
comparison:       errors workload statistics measurement analysis results
report:           errors workload statistics measurement interfaces analysis results comparison
distributed:      errors process_exit event_loop workload measurement interfaces engine results execution
processing_job:   errors event_loop validation workload interfaces analysis results aws execution distributed
compat:           errors event_loop standard_streams validation workload interfaces aws scenario targets execution report results processing_job
cli:              errors process_exit redaction event_loop liveness open_files standard_streams results aws scenario targets emulator execution comparison report distributed processing_job compat
__main__:         cli
"""
EDGES = {
    unit.strip(): names.split() for unit, _, names in (line.partition(":") for line in ALLOWED.split("\n") if line)
}

# Third-party package -> the packages or modules that may import it.
FENCES = {
    "aioboto3": {"aws.session"},
    "aiobotocore": {"aws.session", "aws.http_session", "transport.botocore"},
    "aiohttp": {"emulator", "aws.errors", "aws.http_session", "transport.botocore"},
    "altair": {"report.charts"},
    "botocore": {
        "aws",
        "emulator.protocol.service_models",
        "transport.botocore",
        "transport.credential_refresh",
        "transport.wire.sdk_probe",
    },
    "cryptography": {"distributed.dask_cluster"},
    "distributed": {"distributed.dask"},
    "hdrh": {"measurement.histogram"},
    "httptools": {"transport.wire.http1"},
    "jinja2": {"report.formats.html_template"},
    "markupsafe": {"report.formats.comparison_page", "report.formats.html_page", "report.formats.html_template"},
    "orjson": {"emulator", "workload.payload", "atomic_file", "results"},
    "rich": {"cli.guide", "report.comparison_writer", "report.console", "report.formats"},
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


@cache
def imports(module: str) -> set[str]:
    """Return every module that a file imports at run time, in functions too; imports under TYPE_CHECKING are left out."""
    nodes = list(ast.walk(tree(MODULES[module])))
    type_checking = {
        inner
        for node in nodes
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found = set()
    for node in nodes:
        if node in type_checking:
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
    """A module imports only packages that ALLOWED lists for its own package."""
    unit = unit_of(module)
    assert unit in EDGES, f"add {unit} to ALLOWED"
    imported = {unit_of(name) for name in own_imports(module)} - {"", unit}
    assert imported <= set(EDGES[unit]), f"{module} imports {sorted(imported - set(EDGES[unit]))}"


def test_allowed_imports_point_one_way():
    """Each line of ALLOWED lists only units of the lines above it, so that imports cannot be circular."""
    above: set[str] = set()
    for unit, names in EDGES.items():
        assert set(names) <= above, f"{unit}: {sorted(set(names) - above)} must be above it"
        above.add(unit)


def test_no_modules_import_each_other():
    """No module imports itself through others, wherever the imports are in the file."""
    graph = {module: own_imports(module) & set(MODULES) - {module, "loadgen"} for module in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_allowed_imports_are_exact():
    """ALLOWED has every package and top-level module, and no import that does not exist."""
    units = {unit_of(module) for module in MODULES} - {""}
    assert set(EDGES) == units
    used = {
        unit: {unit_of(n) for m in MODULES if unit_of(m) == unit for n in own_imports(m)} - {"", unit} for unit in units
    }
    assert {unit: sorted(set(EDGES[unit]) - used[unit]) for unit in units if set(EDGES[unit]) - used[unit]} == {}


def test_the_engine_is_independent_of_aws():
    """The engine imports, directly or not, nothing about AWS, sockets, processes, files or reports."""
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
def test_third_party_packages_are_fenced(module):
    """A third-party package is imported only by the package or file that wraps it."""
    parts = module.removeprefix("loadgen.").split(".")
    prefixes = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    for package in {name.partition(".")[0] for name in imports(module)} - sys.stdlib_module_names - {"loadgen"}:
        allowed = package in EVERYWHERE or prefixes & FENCES.get(package, set())
        assert allowed, f"{module} imports {package}"


def test_every_dependency_is_used():
    """Every dependency in pyproject.toml is imported by some module."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    names = {re.split(r"[>=<;\[ ]", text)[0] for text in declared}
    imported = {name.partition(".")[0].replace("_", "-") for module in MODULES for name in imports(module)}
    other_names = {"hdrhistogram": "hdrh", "vl-convert-python": "vl-convert"}
    assert {name for name in names if other_names.get(name, name) not in imported} == set()


def test_only_process_entry_points_change_the_process():
    """Signal handlers, loop policy, logging set-up and exits appear only in packages that run a process."""
    entry_points = {"cli", "__main__", "emulator", "distributed", "processing_job"}
    calls = {"signal.signal", "asyncio.set_event_loop_policy", "logging.basicConfig", "sys.exit", "os._exit"}
    found = {
        f"{module}: {ast.unparse(node)}"
        for module, path in MODULES.items()
        if unit_of(module) not in entry_points
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and (ast.unparse(node) in calls or node.attr == "add_signal_handler")
    }
    assert found == set()


# -- importing does nothing -------------------------------------------------------------------------------------------

# Imports modules one after the other in a fresh interpreter and prints, for each, what its import changed, did or
# printed. Each module's own code is executed once, when it is first imported, so a change is attributed to the module
# that is being imported or to one that it imports.
_IMPORT_AND_COMPARE = """
import asyncio, importlib, io, json, logging, os, signal, sys, threading

def process_state():
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
    # Not socket.bind: urllib3 uses it to find out whether this machine has IPv6.
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.fork", "os.mkdir"):
        events.append(event)
    elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        events.append(f"writes {arguments[0]}")

sys.dont_write_bytecode = True
sys.addaudithook(hook)
found, stdout = {}, sys.stdout
for module in json.loads(sys.stdin.read()):
    before, sys.stdout, sys.stderr = process_state(), io.StringIO(), io.StringIO()
    events.clear()
    try:
        importlib.import_module(module)
    finally:
        printed = sys.stdout.getvalue() + sys.stderr.getvalue()
        sys.stdout, sys.stderr = stdout, sys.__stderr__
    changed = [pair for pair in zip(before, process_state()) if pair[0] != pair[1]]
    if changed or events or printed:
        found[module] = [changed, list(events), printed]
print(json.dumps(found))
"""


def run_python(code: str, text: str = "") -> object:
    """Run code in a fresh interpreter with this standard input, and return the JSON that it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", code], input=text, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_does_nothing():
    """The import of any module starts no thread, process or connection, writes and prints nothing, and sets no handler."""
    modules = [name for name in MODULES if not name.endswith("__main__")]
    if importlib.util.find_spec("distributed") is None:
        modules.remove("loadgen.distributed.dask")
    assert run_python(_IMPORT_AND_COMPARE, json.dumps(modules)) == {}


@pytest.mark.parametrize(
    "code", ["print(1)", "import os; os.environ['X'] = '1'", "open('x', 'w')", "import os; os.fork() or os._exit(0)"]
)
def test_what_an_import_does_is_noticed(tmp_path, code):
    """A module that prints, changes the environment, writes a file or forks is reported by the test above."""
    (tmp_path / "module_with_effects.py").write_text(code)
    start = f"import os, sys; sys.path.insert(0, {str(tmp_path)!r}); os.chdir({str(tmp_path)!r})\n"
    found = run_python(start + _IMPORT_AND_COMPARE, '["json", "module_with_effects"]')
    assert list(found) == ["module_with_effects"]


def test_importing_loadgen_is_light():
    """`import loadgen` loads no third-party package and no asyncio: public names are imported when first used."""
    loaded = run_python("import json, sys, loadgen, loadgen.errors; print(json.dumps(sorted(sys.modules)))")
    heavy = {"numpy", "aiohttp", "rich", "jinja2", "hdrh", "orjson", "uvloop", "asyncio", *FENCES}
    assert {name.partition(".")[0] for name in loaded} & heavy == set()


# -- public names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", loadgen.__all__)
def test_every_public_name_is_documented(name):
    """Every name in `loadgen.__all__` exists, is in dir(), and has a docstring that begins with a sentence."""
    value = getattr(loadgen, name)
    assert name in dir(loadgen)
    documented = inspect.getdoc(value) or ""
    assert documented.split("\n\n")[0].rstrip().endswith("."), documented


def test_an_unknown_name_is_an_attribute_error():
    """A name that is not public raises AttributeError."""
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = loadgen.Nothing


@pytest.mark.parametrize("module", [m for m in MODULES if not m.endswith("__main__")])
def test_examples_in_docstrings(module):
    """The examples in the docstrings of a module print what they show."""
    if module == "loadgen.distributed.dask":
        pytest.importorskip("distributed")
    results = doctest.testmod(importlib.import_module(module), verbose=False)
    assert results.failed == 0


def test_there_are_examples():
    """The docstrings contain more than 20 examples."""
    finder = doctest.DocTestFinder()
    names = [name for name in MODULES if not name.endswith("__main__") and name != "loadgen.distributed.dask"]
    found = (finder.find(importlib.import_module(name)) for name in names)
    assert sum(len(test.examples) for test in itertools.chain(*found)) > 20

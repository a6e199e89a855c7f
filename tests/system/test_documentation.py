"""README, guide pages and READMEs: every code block does what the page says, and what they name exists.

Rules for shell commands, by their first words:

- `python -m loadgen emulate ...` is started on a free port and ended.
- `python -m loadgen ...` is run in a directory with the repository's scenarios, the commands of a block one after the
  other. A scenario that takes more than some seconds is run with fewer requests (FEWER_REQUESTS).
- `python -m bench.catalogue` is run. Other benches take minutes: their options are looked up in `--help`.
- `python -m pytest ...`: the paths and the expression are looked up. CI runs the test command word for word.
- `python -m pdoc ...` is run if pdoc is installed.
- `pip install` and `python -m venv`: the extras are looked up in pyproject.toml; CI runs both commands of the README.
"""

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib

import botocore.session
import pytest

from tests.support.documents import PAGES, ROOT, blocks, prose
from tests.support.emulator import QUICK, emulated

PACKAGE = ROOT / "loadgen"
PYTHON, SHELL = blocks("python"), blocks("sh")
COMMANDS = [(block, argv) for block in SHELL for argv in block.commands()]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
# Added to scenarios that would take more than some seconds.
FEWER_REQUESTS = {
    "scenarios/quickstart.py": (
        "invocations=5",
        "memory_sizes=[1024]",
        "max_concurrency=[2]",
        "concurrency_invocations=12",
    ),
    "scenarios/tabular.py": ("invocations=20",),
    "scenarios/text.py": ("invocations=4", "concurrency_invocations=4"),
    "ranker.py": ("invocations=8", "memory_sizes=[1024, 2048]", "concurrency_invocations=16"),
}
# SageMaker and other services -> the prefix of their actions in a policy.
SERVICES = {
    "sagemaker": "sagemaker",
    "sagemaker-runtime": "sagemaker",
    "cloudwatch": "cloudwatch",
    "service-quotas": "servicequotas",
    "sts": "sts",
}


@pytest.fixture(scope="module")
def aws():
    """The environment of an emulated account that has the models of the pages."""
    with emulated(models={"ranker": QUICK, "my-model": QUICK}) as emulator:
        yield {
            "AWS_ENDPOINT_URL": emulator.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }


def run(argv, directory, env):
    """Run a command; its status is 0, or 110, since a busy machine makes runs INVALID."""
    done = subprocess.run(
        argv,
        check=False,
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(directory / "state")} | env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode in {0, 110}, f"{argv}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done


def extra_settings(argv):
    """Return options that make a scenario short, except fields that the command sets itself."""
    given = {value.partition("=")[0] for value in argv}
    settings = next((FEWER_REQUESTS[word] for word in argv if word in FEWER_REQUESTS), ())
    if "include_concurrency=False" in argv:
        given.add("concurrency_invocations")
    return [part for text in settings if text.partition("=")[0] not in given for part in ("--set", text)]


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_a_python_block_runs(block, tmp_path, aws):
    """A Python block runs in an empty directory, and as a scenario file if it defines one."""
    (tmp_path / "snippet.py").write_text(block.text)
    run([sys.executable, "snippet.py"], tmp_path, aws)
    if defines_scenario(block.text):
        argv = ["snippet.py", "--out", "out", "--quiet"]
        short = ["--set", "invocations=8", "--set", "concurrency_invocations=8", "--set", "memory_sizes=[1024]"]
        argv += short if "ServerlessBenchmark(" in block.text else []
        run([sys.executable, "-m", "loadgen", *argv], tmp_path, aws)
        assert (tmp_path / "out/benchmarking_report/benchmarking_report.html").stat().st_size > 10_000


def defines_scenario(text):
    """Return whether code assigns `scenario` at module level."""
    assigned = [node.targets for node in ast.parse(text).body if isinstance(node, ast.Assign)]
    return "scenario" in {ast.unparse(target) for targets in assigned for target in targets}


@pytest.mark.parametrize(
    "block", [b for b in SHELL if any(argv[:3] == ["python", "-m", "loadgen"] for argv in b.commands())], ids=str
)
def test_loadgen_commands_run(block, tmp_path, aws):
    """The loadgen commands of a block run one after the other, with the files that the page speaks of."""
    shutil.copytree(ROOT / "scenarios", tmp_path / "scenarios")
    ranker = next(b.text for b in PYTHON if b.page == "README.md" and 'model="ranker"' in b.text)
    (tmp_path / "ranker.py").write_text(ranker)
    for argv in block.commands():
        if "loadgen" not in argv or "pip" in argv:
            continue
        arguments = argv[argv.index("loadgen") + 1 :]
        if arguments[0] == "emulate":
            assert_emulator_starts(arguments, tmp_path)
        else:
            run([sys.executable, "-m", "loadgen", *arguments, *extra_settings(arguments)], tmp_path, aws)


def assert_emulator_starts(arguments, directory):
    """Start the emulator on a free port; its first line is its URL."""
    argv = list(arguments)
    argv[argv.index("--port") + 1] = "0"
    with subprocess.Popen(
        [sys.executable, "-m", "loadgen", *argv],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as emulator:
        line = emulator.stdout.readline()
        emulator.terminate()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+\n", line)


@pytest.mark.parametrize(
    "argv",
    sorted({tuple(argv) for _, argv in COMMANDS if argv[:2] == ["python", "-m"] and argv[2].startswith("bench.")}),
    ids=" ".join,
)
def test_a_bench_has_the_options_of_its_command(argv, tmp_path):
    """A bench starts with --help and knows every option that a page gives it."""
    done = run([sys.executable, *argv[1:3], "--help"], tmp_path, {})
    for option in argv[3:]:
        assert not option.startswith("--") or option in done.stdout


def test_every_bench_is_in_the_table():
    """The table of bench/README.md has every bench that can be run by command, and no other."""
    named = set(
        re.findall(r"^\| `python -m (bench\.\w+)` \|", (ROOT / "bench" / "README.md").read_text(), re.MULTILINE)
    )
    benches = {f"bench.{path.stem}" for path in (ROOT / "bench").glob("*.py") if "__main__" in path.read_text()}
    assert named == benches - {
        "bench.callers",
        "bench.disturbances",
        "bench.moto_plugin",
        "bench.responder",
    }  # started by other benches


def test_the_catalogue_command_runs(tmp_path):
    """`python -m bench.catalogue` prints every case and ends with status 0."""
    done = run([sys.executable, "-m", "bench.catalogue"], tmp_path, {})
    assert done.stdout.splitlines()[-1].startswith("130 cases")


@pytest.mark.parametrize(
    "argv", sorted({tuple(argv[3:]) for _, argv in COMMANDS if argv[:3] == ["python", "-m", "pytest"]}), ids=" ".join
)
def test_a_pytest_command_selects_tests(argv):
    """The paths of a pytest command exist, and its expression matches the name of a test."""
    paths = [ROOT / word for word in argv if word.startswith(("tests/", "bench/"))]
    assert paths
    assert [path for path in paths if not path.exists()] == []
    if "-k" in argv:
        names = "\n".join(path.read_text() for path in paths[0].rglob("test_*.py"))
        assert re.search(rf"def test_\w*{argv[argv.index('-k') + 1]}", names)


def test_the_api_reference_is_built(tmp_path):
    """The command of CONTRIBUTING.md writes a page for every package."""
    pytest.importorskip("pdoc", reason="needs loadgen[docs]")
    (command,) = [argv for _, argv in COMMANDS if argv[:3] == ["python", "-m", "pdoc"]]
    run([sys.executable, *command[1:]], tmp_path, {})
    assert (tmp_path / command[-1] / "loadgen.html").stat().st_size > 10_000


def test_ci_runs_the_commands_of_the_readme():
    """CI runs both installing commands of the README word for word; others name extras that exist."""
    script = (ROOT / ".ci" / "run").read_text()
    installing = [text for b in SHELL for text in b.text.splitlines() if "pip install" in text]
    readme = [text for b in SHELL if b.page == "README.md" for text in b.text.splitlines() if "pip install" in text]
    assert len(readme) == 2
    assert [text for text in readme if text not in script] == []
    extras = {name for text in installing for found in re.findall(r"\[([\w,]+)\]", text) for name in found.split(",")}
    assert extras <= set(EXTRAS)


def test_every_command_has_a_rule():
    """Every shell command of the pages is covered by one of the rules above."""
    rules = ("python -m loadgen ", "python -m bench.", "python -m pytest", "python -m pdoc ", "python -m venv ",
             "pip install ", ".venv/bin/pip install ")  # fmt: skip
    assert [" ".join(argv) for _, argv in COMMANDS if not " ".join(argv).startswith(rules)] == []


def test_the_policy_allows_what_the_code_calls():
    """The README's policy has every AWS action that a run of a scenario calls, and no other."""
    (policy,) = [json.loads(block.text) for block in blocks("json") if block.page == "README.md"]
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    files = [path for folder in ("aws", "transport") for path in (ROOT / "loadgen" / folder).rglob("*.py")]
    words = set(re.findall(r"\b[a-z]+_[a-z_]+\b", "\n".join(path.read_text() for path in files)))
    called = {
        f"{prefix}:{operation}"
        for service, prefix in SERVICES.items()
        for operation in botocore.session.get_session().get_service_model(service).operation_names
        if botocore.xform_name(operation) in words
    }
    # GetCallerIdentity needs no permission, models are created in the emulator only, tags are set by Create calls.
    without_grant = {"sts:GetCallerIdentity", "sagemaker:CreateModel", "sagemaker:DeleteModel", "sagemaker:AddTags"}
    assert called - without_grant == allowed - without_grant


def test_every_scenario_is_in_the_table_with_its_question():
    """The table of scenarios/README.md has each scenario file with the first line of its docstring."""
    text = (ROOT / "scenarios" / "README.md").read_text()
    rows = dict(re.findall(r"^\| `(scenarios/\w+\.py)` \| (.+?) \|$", text, re.MULTILINE))
    files = {
        f"scenarios/{path.name}": ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]
        for path in (ROOT / "scenarios").glob("*.py")
    }
    assert rows == files


def test_every_guide_page_is_in_the_readme():
    """The README links every page of the guide with its title."""
    links = dict(re.findall(r"\[([^\]]+)\]\(loadgen/guide/([\w-]+\.md)\)", (ROOT / "README.md").read_text()))
    titles = {page.read_text().splitlines()[0].removeprefix("# "): page.name for page in PAGES if "guide" in page.parts}
    assert set(titles.values()) <= set(links.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_names_exists(page):
    """Links and paths on a page exist, and modules too, except former ones in the changelog."""
    text = prose(page)
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if not link.startswith("https:")]
    missing = [link for link in links if not (page.parent / link).exists()]
    for path in re.findall(r"`((?:[a-z_.]+/)+[\w.-]*)`", text):
        folders = [folder for folder in (ROOT, PACKAGE, page.parent) if (folder / path.split("/")[0]).is_dir()]
        missing += [path] if folders and not any((folder / path).exists() for folder in folders) else []
    modules = re.findall(r"`((?:loadgen|bench|tests)(?:\.[a-z_0-9]+)+)(?<!\.lock)`", text)
    if page.name != "13-changelog.md":
        missing += [name for name in modules if not exists(name)]
    assert missing == []


def exists(name):
    """Return whether a dotted name is a module or an attribute of one."""
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists() or has_attribute(*name.rpartition(".")[::2])


def has_attribute(module, name):
    """Return whether a module exists and has this attribute."""
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def test_options_that_pages_name_exist():
    """Every --option in the pages is an option of loadgen, a bench or pytest."""
    sources = "\n".join(path.read_text() for folder in ("loadgen", "bench") for path in (ROOT / folder).rglob("*.py"))
    known = set(re.findall(r"\"(--[a-z][\w-]*)\"", sources)) | {"--help", "--version"}
    named = {
        option for page in PAGES for option in re.findall(r"(?<![\w-])(--[a-z][a-z-]+)(?![\w-])", page.read_text())
    }
    assert named - known == set()

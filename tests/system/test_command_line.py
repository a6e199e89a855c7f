"""The command line: one line and one status for everything that is wrong, before anything is sent."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadgen.cli.main import main
from loadgen.errors import ExitStatus

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"loadgen: error\[([A-Z_]+)\]: [^\n]+")
SCENARIO = """
from loadgen import ClosedLoop, Emulated, Request, Scenario, Step
scenario = Scenario(Emulated("mobilenet-v2"), [Request(b"{}")], [Step(None, ClosedLoop(1, count=1))])
"""


@pytest.fixture(autouse=True)
def _keep_the_interpreter(monkeypatch, tmp_path):
    """A scenario file changes sys.path, and results go under the current directory: both are taken back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    sys.modules.pop("scenario_file", None) if "scenario_file" not in before else None


def refusal(capsys, *words) -> tuple[int, str]:
    """Run the command line; return its status and its error line, and see that there is one and no traceback."""
    status = main(list(words))
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("  ")]
    assert out == ""
    assert len(lines) == 1, err
    found = LINE.fullmatch(lines[0])
    assert found, err
    assert ExitStatus[found[1]] == status
    assert "Traceback" not in err
    return status, err


def in_a_new_process(*words, **more):
    return subprocess.run(
        [sys.executable, "-m", "loadgen", *words], capture_output=True, text=True, check=False, **more
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--no-such-flag"],
        ["scenario.py", "--no-such-flag"],
        ["scenario.py", "--out"],
        ["scenario.py", "--transport", "pigeon"],
        ["scenario.py", "--workers", "x"],
        ["scenario.py", "another.py"],
        ["explain"],
        ["explain", "x"],
        ["explain", "1"],
        ["report"],
        ["report", "a", "b"],
        ["benchmark"],
        ["benchmark", "model"],
        ["emulate", "--no-such-flag"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_a_usage_error(capsys, words):
    """C01: unknown flags, missing and impossible values end in one line and status 2."""
    assert refusal(capsys, *words)[0] == 2


def test_no_arguments_show_the_help(capsys):
    """C02: short help on stderr, nothing on stdout, status 2."""
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: python -m loadgen" in err


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (None, 66),
        ("x = (", 107),
        ("1 / 0", 107),
        ("import no_such_module_anywhere", 107),
        ("raise SystemExit(3)", 108),
        ("x = 1", 78),
        ("from loadgen import ServerlessConfig\nServerlessConfig(1500)", 2),
        ("from loadgen import constant\nconstant(1e309)", 2),
        ("from loadgen import read_requests\nread_requests('missing.jsonl')", 66),
        ("from loadgen import read_requests\nread_requests(__file__)", 65),
        ("raise ValueError('two\\nlines')", 107),
        ("raise ValueError('\\x1b[31mred\\x07')", 107),
    ],
)
def test_a_wrong_scenario_file_has_its_status(capsys, tmp_path, content, status):
    """C14 to C22, C26 to C41: each class of mistake in or around a file has a status of its own, and leaves no output."""
    path = tmp_path / "scenario.py"
    if content is not None:
        path.write_text(content)
    found, err = refusal(capsys, str(path))
    assert found == status
    assert not set(err) & set(map(chr, [*range(9), *range(11, 32), 127]))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "setting", ["steps", "stepz=1", "=", "seed=x", "timeout=0", "steps=abc", "target=x", "requests=x", "timeout=None"]
)
def test_a_wrong_set_is_a_usage_error(capsys, tmp_path, setting):
    """`--set` without a value, of an unknown field or of an impossible value: status 2, and nothing was begun."""
    (tmp_path / "scenario.py").write_text(SCENARIO)
    assert refusal(capsys, "scenario.py", "--set", setting)[0] == 2
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["file", "file/below", "n" * 300])
def test_a_place_that_cannot_be_written_is_refused_first(capsys, tmp_path, name):
    """C93: status 73 before anything is opened."""
    (tmp_path / "scenario.py").write_text(SCENARIO)
    (tmp_path / "file").write_text("")
    status = main(["scenario.py", "--quiet", "--out", name])
    assert status == 73
    assert "Traceback" not in capsys.readouterr().err


def test_a_directory_that_holds_a_run_is_refused(capsys, tmp_path):
    """C94: status 73, and what is there stays as it was."""
    (tmp_path / "scenario.py").write_text(SCENARIO)
    (tmp_path / "out" / "runs").mkdir(parents=True)
    (tmp_path / "out" / "manifest.json").write_text("{}")
    assert main(["scenario.py", "--quiet", "--out", "out"]) == 73
    assert "already holds a run" in capsys.readouterr().err
    assert (tmp_path / "out" / "manifest.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("content", "status"), [(None, 66), ("{", 65), ("{}", 65), ('{"type": "Manifest", "format": 99}', 65)]
)
def test_a_report_of_nothing_is_refused(capsys, tmp_path, content, status):
    """`report` of a directory without a run is 66, of a damaged or later one 65."""
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    assert refusal(capsys, "report", str(tmp_path))[0] == status


@pytest.mark.parametrize("status", [s for s in ExitStatus if s is not ExitStatus.USAGE])
def test_every_status_is_explained(capsys, status):
    """`to_loadgen_error` has a line for each, with its number and name."""
    assert main(["explain", str(int(status))]) == 0
    out = capsys.readouterr().out
    assert re.fullmatch(rf"{int(status)} {status.name}: \w.+\.\n", out)


def test_debug_shows_the_traceback(capsys, tmp_path):
    """`--debug` adds what a programmer needs."""
    assert main([str(tmp_path / "missing.py"), "--debug"]) == 66
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["report", "--help"], ["benchmark", "--help"], ["emulate", "--help"]]
)
def test_help_needs_nothing(tmp_path, words):
    """C03: text and status 0 with no home, no network and a broken AWS configuration; nothing on stderr."""
    (tmp_path / "config").write_text("[broken")
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "LANG": "C",
        "PYTHONWARNINGS": "error",
    }
    done = in_a_new_process(*words, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "loadgen" in done.stdout


def test_help_imports_no_aws_package():
    """`--help` loads neither AWS's packages nor numpy nor charts, and answers at once."""
    code = """
import contextlib, io, json, sys, time
began = time.perf_counter()
from loadgen.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["--help"])
print(json.dumps([sorted({name.partition(".")[0] for name in sys.modules}), time.perf_counter() - began]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded, took = json.loads(done.stdout)
    heavy = {
        "aioboto3",
        "aiobotocore",
        "botocore",
        "boto3",
        "aiohttp",
        "numpy",
        "hdrh",
        "rich",
        "jinja2",
        "altair",
        "vl_convert",
    }
    assert set(loaded) & heavy == set()
    assert took < 3  # a bound that only something heavy breaks, on any machine


def test_a_closed_pipe_is_no_fault():
    """C08: `loadgen --help | head -1` ends without a complaint."""
    done = subprocess.run(
        f"{sys.executable} -m loadgen explain 0 | true",
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.stderr == ""


def test_an_error_survives_a_terminal_of_another_encoding(tmp_path):
    """C09: LANG=C, and a path that ASCII cannot say: still one line."""
    environment = {**os.environ, "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = in_a_new_process("größe.py", env=environment, cwd=tmp_path)
    assert done.returncode == 66
    assert done.stderr.startswith("loadgen: error[NO_INPUT]: cannot read gr")
    assert done.stderr.count("\n") == 1


def test_the_module_and_the_script_are_the_same(tmp_path):
    """`python -m loadgen` exits with what main returns, never with 1."""
    began = time.monotonic()
    assert in_a_new_process("missing.py", cwd=tmp_path).returncode == 66
    assert time.monotonic() - began < 60

"""The command line: each mistake gives one line on stderr and its exit status, before anything is sent."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from loadgen.cli.main import main
from loadgen.errors import ExitStatus

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"loadgen: error\[([A-Z_]+)\]: [^\n]+")
SCENARIO = """
from loadgen import ClosedLoop, Emulated, Request, Scenario, ServerlessConfig, Step
scenario = Scenario(Emulated("mobilenet-v2"), [Request(b"{}")], [Step(None, ClosedLoop(1, count=1))])
"""


@pytest.fixture(autouse=True)
def _restore_interpreter(monkeypatch, tmp_path):
    """Restore sys.path and sys.modules, which a scenario file changes, and the working directory."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    sys.modules.pop("scenario_file", None) if "scenario_file" not in before else None


def assert_refused(capsys, *argv) -> tuple[int, str]:
    """Run a command line that must print one error line and no traceback; return its status and stderr."""
    status = main(list(argv))
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("  ")]
    assert out == ""
    assert len(lines) == 1, err
    match = LINE.fullmatch(lines[0])
    assert match, err
    assert ExitStatus[match[1]] == status
    assert "Traceback" not in err
    return status, err


def run_process(*argv, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "loadgen", *argv], capture_output=True, text=True, check=False, **kwargs
    )


@pytest.mark.parametrize(
    "argv",
    [
        ["--no-such-flag"],
        ["scenario.py", "--no-such-flag"],
        ["scenario.py", "--out"],
        ["scenario.py", "--transport", "pigeon"],
        ["scenario.py", "--workers", "x"],
        ["scenario.py", "another.py"],
        ["run"],
        ["run", "scenario.py", "--no-such-flag"],
        ["guide", "a", "b"],
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
def test_an_invalid_command_line_is_a_usage_error(capsys, argv):
    """Unknown options, missing and invalid values give one line and status 2 (C01)."""
    assert assert_refused(capsys, *argv)[0] == 2


@pytest.mark.parametrize(
    ("argv", "help_command"),
    [
        (["x.py", "--bad"], "python -m loadgen run --help"),
        (["--bad", "x.py"], "python -m loadgen run --help"),
        (["run", "x.py", "--bad"], "python -m loadgen run --help"),
        (["report", "x", "--bad"], "python -m loadgen report --help"),
    ],
)
def test_a_usage_error_names_the_help_of_its_command(capsys, argv, help_command):
    """The hint is the command whose --help lists the valid options; for a scenario file, that of `run`."""
    assert assert_refused(capsys, *argv)[1].endswith(f"; {help_command}\n")


def test_no_arguments_print_the_help(capsys):
    """The help goes to stderr, nothing to stdout, and the status is 2 (C02)."""
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: python -m loadgen" in err
    for name in ("run", "benchmark", "emulate", "fetch", "cleanup", "report", "explain", "guide"):
        assert re.search(rf"^    {name} ", err, re.MULTILINE), name
    assert "_worker" not in err
    assert "_processing-instance" not in err


@pytest.mark.parametrize(
    ("argv", "repeated"),
    [
        (["scenario.py", "--set", "seed=7"], ["scenario.py", "--set", "seed=7"]),
        (["run", "scenario.py", "--yes"], ["scenario.py", "--yes"]),
        (["--quiet", "scenario.py", "--out", "x"], ["scenario.py"]),
        (
            ["benchmark", "m", "examples.jsonl", "--memory_sizes", "1024", "--emulate", "--result_save_path", "x"],
            ["benchmark", "m", "examples.jsonl", "--memory_sizes", "1024", "--emulate"],
        ),
    ],
)
def test_a_scenario_file_is_the_default_command(monkeypatch, tmp_path, argv, repeated):
    """An argv whose first word is not a command is that of `run`; the run gets the arguments that repeat it."""
    (tmp_path / "scenario.py").write_text(SCENARIO)
    (tmp_path / "examples.jsonl").write_text('{"Body": "1"}\n')
    calls = []
    monkeypatch.setattr(
        "loadgen.cli.scenario_run.run_and_report", lambda *_, argv, **__: calls.append(argv) or ExitStatus.OK
    )
    assert main(argv) == 0
    assert calls == [repeated]


def test_the_command_to_run_again_is_recorded(tmp_path):
    """The manifest and the page hold the command line without --out and --quiet."""
    (tmp_path / "scenario.py").write_text(SCENARIO.replace("None", "ServerlessConfig(1024)"))
    assert main(["scenario.py", "--quiet", "--out", "out", "--set", "seed=7"]) in (0, 110)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["command"] == "python -m loadgen scenario.py --set seed=7"
    assert "python -m loadgen scenario.py --set seed=7" in next((tmp_path / "out").rglob("*.html")).read_text()


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
def test_an_invalid_scenario_file_has_its_status(capsys, tmp_path, content, status):
    """Each class of mistake in or around a scenario file has its own status and creates no output (C14 to C22, C26 to C41)."""
    path = tmp_path / "scenario.py"
    if content is not None:
        path.write_text(content)
    actual, err = assert_refused(capsys, str(path))
    assert actual == status
    assert not set(err) & set(map(chr, [*range(9), *range(11, 32), 127]))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "setting", ["steps", "stepz=1", "=", "seed=x", "timeout=0", "steps=abc", "target=x", "requests=x", "timeout=None"]
)
def test_an_invalid_set_is_a_usage_error(capsys, tmp_path, setting):
    """`--set` without a value, of an unknown field or with an invalid value gives status 2 and creates no output."""
    (tmp_path / "scenario.py").write_text(SCENARIO)
    assert assert_refused(capsys, "scenario.py", "--set", setting)[0] == 2
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["file", "file/below", "n" * 300])
def test_an_output_directory_that_cannot_be_created_is_refused_first(capsys, tmp_path, name):
    """An --out below a file or with a name too long gives status 73 before a target is opened (C93)."""
    (tmp_path / "scenario.py").write_text(SCENARIO)
    (tmp_path / "file").write_text("")
    status = main(["scenario.py", "--quiet", "--out", name])
    assert status == 73
    assert "Traceback" not in capsys.readouterr().err


def test_a_directory_that_holds_a_run_is_refused(capsys, tmp_path):
    """An --out that holds a run gives status 73, and its files are not changed (C94)."""
    (tmp_path / "scenario.py").write_text(SCENARIO)
    (tmp_path / "out" / "runs").mkdir(parents=True)
    (tmp_path / "out" / "manifest.json").write_text("{}")
    assert main(["scenario.py", "--quiet", "--out", "out"]) == 73
    assert "already holds a run" in capsys.readouterr().err
    assert (tmp_path / "out" / "manifest.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("content", "status"), [(None, 66), ("{", 65), ("{}", 65), ('{"type": "Manifest", "format": 99}', 65)]
)
def test_report_refuses_a_directory_without_a_valid_run(capsys, tmp_path, content, status):
    """`report` gives 66 for a directory without a run, 65 for a damaged one or one of a later format."""
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    assert assert_refused(capsys, "report", str(tmp_path))[0] == status


@pytest.mark.parametrize("status", ExitStatus)
def test_every_status_is_explained(capsys, status):
    """`explain` prints number, name and meaning of each status, and what to do on a second line."""
    assert main(["explain", str(int(status))]) == 0
    meaning, *action = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"{int(status)} {status.name}: \w.+\.", meaning)
    assert status is ExitStatus.OK or re.fullmatch(r"What to do: \w.+\.", *action)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        *[(text, "143 TERMINATED: ") for text in ("143", "-15", "SIGTERM", "term", "SIGHUP")],
        *[(text, "130 INTERRUPTED: ") for text in ("130", "-2", "SIGINT")],
        *[(text, "137 SIGKILL: The process was killed by SIGKILL.") for text in ("137", "-9", "SIGKILL", "kill")],
        ("139", "139 SIGSEGV: "),
        ("-50", "178 signal 50: "),
    ],
)
def test_a_signal_is_explained_by_its_name(capsys, text, line):
    """`explain` takes 128 + n, -n and the name of a signal, and names the signal."""
    assert main(["explain", text]) == 0
    out = capsys.readouterr().out
    assert out.startswith(line)
    assert "What to do: " in out


@pytest.mark.parametrize("text", ["128", "1", "0x2", "SIGNOTHING", "999", "-999", "", "9" * 5000])
def test_what_is_no_status_is_refused(capsys, text):
    """A number or a name that is neither a status nor a signal is refused with the allowed ones."""
    assert "SIGTERM" in assert_refused(capsys, "explain", text)[1]


def test_debug_prints_the_traceback(capsys, tmp_path):
    """`--debug` adds the traceback of an error to its line."""
    assert main([str(tmp_path / "missing.py"), "--debug"]) == 66
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [["--help"], ["--version"], *([name, "--help"] for name in ("run", "report", "benchmark", "emulate", "cleanup"))],
)
def test_help_needs_no_home_and_no_aws_configuration(tmp_path, argv):
    """--help and --version give status 0 and an empty stderr without HOME and with a broken AWS configuration (C03)."""
    (tmp_path / "config").write_text("[broken")
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "LANG": "C",
        "PYTHONWARNINGS": "error",
    }
    done = run_process(*argv, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "loadgen" in done.stdout


def test_help_imports_no_aws_package():
    """The help of every command loads neither the AWS SDK nor numpy, charts or rich, and takes under 3 s."""
    code = """
import contextlib, io, json, sys, time
began = time.perf_counter()
from loadgen.cli.main import build_parser, main
for argv in ([], *([name] for name in build_parser()[1])):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main([*argv, "--help"])
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
    assert took < 3  # far above what it takes (0.3 s), so that only a heavy import exceeds it


def test_a_closed_pipe_is_not_an_error():
    """`loadgen explain 0 | true` leaves stderr empty (C08)."""
    done = subprocess.run(
        f"{sys.executable} -m loadgen explain 0 | true",
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.stderr == ""


def test_an_error_is_one_line_in_an_ascii_terminal(tmp_path):
    """With LANG=C, characters that ASCII lacks are escaped (C09)."""
    environment = {**os.environ, "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = run_process("größe.py", env=environment, cwd=tmp_path)
    assert done.returncode == 66
    assert done.stderr.startswith("loadgen: error[NO_INPUT]: cannot read gr")
    assert done.stderr.count("\n") == 1


def test_the_process_exits_with_the_status_of_main(tmp_path):
    """`python -m loadgen` exits with what main returns."""
    assert run_process("missing.py", cwd=tmp_path).returncode == 66

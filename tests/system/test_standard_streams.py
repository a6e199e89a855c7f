"""stdout and stderr that are closed, full, unread or too narrow: results, report and exit status are unaffected."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from loadgen.standard_streams import lossy_output

ROOT = Path(__file__).parents[2]
SCENARIO = """
from loadgen import ClosedLoop, Emulated, Request, Scenario, ServerlessConfig, Step
scenario = Scenario(
    Emulated("xgboost"), [Request(b"1")], [Step(ServerlessConfig(2048, 2), ClosedLoop(2, count=20), name="1 \\u2192 2")]
)
"""
COMPAT = """
import loadgen
loadgen.run_serverless_benchmarks(
    "m", "examples.jsonl", memory_sizes=[2048], stability_benchmark_invocations=5, include_concurrency_benchmark=False,
    result_save_path="out", target=loadgen.Emulated("xgboost"),
)
"""


@pytest.fixture
def shell(tmp_path):
    """Run a line of shell in a directory with a scenario; $PYTHON is this interpreter."""
    (tmp_path / "scenario.py").write_text(SCENARIO)
    (tmp_path / "benchmark.py").write_text(COMPAT)
    (tmp_path / "examples.jsonl").write_text('{"Body": "1"}\n')
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}

    def run(line: str, **changes: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            ["bash", "-c", line], capture_output=True, check=False, cwd=tmp_path, env=environment | changes
        )

    return run


def assert_saved(directory: Path) -> None:
    """The directory holds a report, and a result.json with status 0 and a VALID or INVALID verdict."""
    result = json.loads((directory / "result.json").read_bytes())
    assert result["verdict"] in {"VALID", "INVALID"}
    assert [cause["name"] for cause in result["exit"]["causes"]] in ([], ["INVALID"])
    assert (directory / "benchmarking_report" / "benchmarking_report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    "redirection",
    [
        "<&-",
        "<&- >&- 2>&-",
        "2>&-",
        "> /dev/full 2> /dev/full",
        "1< /dev/null 2< /dev/null",
        "2>&1 | head -1",
        "> >(exit) 2> >(exit)",
        "--workers 2 2>&-",
    ],
)
def test_an_output_device_does_not_decide_the_result(shell, tmp_path, redirection):
    """Descriptors that are closed, full, not writable or unread change neither files nor status."""
    done = shell(f"set -o pipefail; $PYTHON -m loadgen scenario.py --out out {redirection}")
    assert_saved(tmp_path / "out")
    assert done.returncode == json.loads((tmp_path / "out" / "result.json").read_bytes())["exit"]["code"], done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-16", "latin-1:strict"])
def test_a_character_that_the_encoding_lacks_is_escaped(shell, tmp_path, encoding):
    """A step name with an arrow is printed with an escape, and everything is saved."""
    done = shell("$PYTHON -m loadgen scenario.py --out out", PYTHONIOENCODING=encoding)
    assert_saved(tmp_path / "out")
    assert done.returncode in {0, 110}
    shown = done.stdout.decode(encoding.partition(":")[0])
    assert ("1 \u2192 2" if encoding == "utf-16" else r"1 \u2192 2") in shown


def test_a_closed_terminal_ends_the_run_as_a_signal_does(shell, tmp_path):
    """A terminal that is closed in mid-run: the bars end, the status is 143, and results and report are saved."""
    (tmp_path / "long.py").write_text(SCENARIO.replace("count=20", "duration=600"))
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "160"}
        os.execve(sys.executable, [sys.executable, "-m", "loadgen", "long.py", "--out", "out"], environment)
    shown = b""
    while b"TPS" not in shown:  # the bars of the step, which has no planned number of calls
        shown += os.read(terminal, 1 << 16)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 143
    assert b"Traceback" not in shown
    result = json.loads((tmp_path / "out" / "result.json").read_bytes())
    assert (result["exit"]["name"], result["leftovers"]) == ("TERMINATED", [])
    assert (tmp_path / "out" / "benchmarking_report" / "benchmarking_report.html").stat().st_size > 10_000


def test_a_program_under_nohup_outlives_its_terminal(shell, tmp_path):
    """SIGHUP that was ignored at the start stays ignored: the run ends as without it."""
    done = shell(
        "trap '' HUP; $PYTHON -m loadgen scenario.py --out out 2> err & child=$!; "
        "while ! grep -q deploying err; do kill -0 $child && sleep 0.02 || exit 1; done; kill -HUP $child; wait $child"
    )
    assert done.returncode in {0, 110}
    assert_saved(tmp_path / "out")


def test_lost_output_of_a_full_device_is_reported(shell):
    """A command that only prints says on stderr that its output is incomplete; a reader that goes is no loss."""
    full = shell("$PYTHON -m loadgen explain 110 > /dev/full")
    assert full.stderr == b"loadgen: stdout lost: No space left on device; what was printed is incomplete\n"
    assert shell("$PYTHON -m loadgen guide 3 | head -1").stderr == b""


def test_the_two_calls_have_streams_that_cannot_fail_too(shell, tmp_path):
    """run_serverless_benchmarks() in a script whose stderr is full returns its report."""
    done = shell("$PYTHON benchmark.py 2> /dev/full")
    assert done.returncode == 0
    assert_saved(tmp_path / "out")


def test_streams_in_place_of_the_process_s_own_are_left_alone(capsys):
    """A captured stdout stays the same object."""
    before = sys.stdout, sys.stderr
    with lossy_output():
        assert (sys.stdout, sys.stderr) == before

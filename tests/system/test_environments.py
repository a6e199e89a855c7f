"""Surroundings that a user may have: another user than root, read-only or missing directories, a strict umask, odd paths."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = 65534
SCENARIO = """
from loadgen import ClosedLoop, Emulated, Request, Scenario, ServerlessConfig, Step
scenario = Scenario(Emulated("xgboost"), [Request(b"1")], [Step(ServerlessConfig(2048, 2), ClosedLoop(2, count=20))])
"""


def run(directory, *argv, wrapper=(), environment=None, **options):
    """Run the command line in a directory, in an environment with only what Python needs."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return subprocess.run(
        [*wrapper, sys.executable, "-m", "loadgen", *argv],
        cwd=directory,
        env=kept | {"PYTHONPATH": str(ROOT), "HOME": str(directory)} | (environment or {}),
        capture_output=True,
        check=False,
        **options,
    )


def assert_complete(done, out):
    """The run ended as usual, with a result and a report."""
    assert done.returncode in {0, 110}, done.stderr
    assert b"Traceback" not in done.stderr
    result = json.loads((out / "result.json").read_bytes())
    assert result["exit"]["code"] == done.returncode
    assert (out / "benchmarking_report" / "benchmarking_report.html").stat().st_size > 10_000


def allowed(*command):
    """Return a command that a run is started with; skip the test where this user may not use it."""
    if not shutil.which(command[0]) or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"this machine does not allow: {' '.join(command[:2])}")
    return command


@pytest.fixture
def temporary():
    """An exit stack for what a test creates outside of its directory."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def directory(tmp_path):
    """A directory with a scenario that everybody can read."""
    (tmp_path / "scenario.py").write_text(SCENARIO)
    return tmp_path


def test_another_user_than_root_can_run(temporary):
    """A user without rights, who has no home directory and may write only into the output directory."""
    directory = Path(temporary.enter_context(tempfile.TemporaryDirectory()))  # pytest's is for its own user only
    as_nobody = allowed("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    started = [
        *as_nobody,
        sys.executable,
        "-c",
        "import subprocess, sys; subprocess.run([sys.executable, '-V'], check=True)",
    ]
    if subprocess.run(started, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=False).returncode:
        pytest.skip("another user cannot run this interpreter")
    directory.chmod(0o755)
    (directory / "scenario.py").write_text(SCENARIO)
    out = directory / "out"
    out.mkdir()
    os.chown(out, NOBODY, NOBODY)
    done = run(
        directory,
        "scenario.py",
        "--out",
        "out",
        "--workers",
        "2",
        wrapper=as_nobody,
        environment={"HOME": "/nonexistent"},
    )
    assert_complete(done, out)


def test_a_read_only_home(directory):
    """A home directory on a read-only file system, as in many containers, changes nothing."""
    in_namespace = allowed("unshare", "--mount", "sh", "-c")
    home = directory / "home"
    home.mkdir()
    script = 'mount -t tmpfs -o ro none "$HOME" && ! touch "$HOME/x" 2> /dev/null && exec "$@"'
    if subprocess.run(
        [*in_namespace, script, "sh", "true"], env=os.environ | {"HOME": str(home)}, check=False
    ).returncode:
        pytest.skip("this user may not mount a file system")
    done = run(
        directory, "scenario.py", "--out", "out", wrapper=(*in_namespace, script, "sh"), environment={"HOME": str(home)}
    )
    assert_complete(done, directory / "out")


def test_no_shared_memory(directory):
    """Without space in /dev/shm, as in AWS Lambda and small containers, two processes work."""
    in_namespace = allowed("unshare", "--mount", "sh", "-c")
    script = 'mount -t tmpfs -o ro none /dev/shm && exec "$@"'
    if subprocess.run([*in_namespace, script, "sh", "true"], check=False).returncode:
        pytest.skip("this user may not mount a file system")
    done = run(directory, "scenario.py", "--out", "out", "--workers", "2", wrapper=(*in_namespace, script, "sh"))
    assert_complete(done, directory / "out")


def test_a_strict_umask(directory):
    """A run and a second command work, and nobody else gets rights on what is written."""
    umask = 0o077
    done = run(directory, "scenario.py", "--out", "out", umask=umask)
    assert_complete(done, directory / "out")
    assert not [path for path in (directory / "out").rglob("*") if path.stat().st_mode & umask]
    assert run(directory, "report", "out", umask=umask).returncode == 0


@pytest.mark.parametrize("name", [b"caf\xe9", "日本".encode(), b"a\nb\x1b[2J"])
def test_a_path_that_is_no_text(directory, name):
    """Scenario, working and output directory may have any bytes in their names, also with LANG=C."""
    environment = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    place = os.fsencode(directory) + b"/" + name
    os.mkdir(place)
    with open(place + b"/" + name + b".py", "w") as file:
        file.write(SCENARIO)
    path = os.fsdecode(place)
    done = run(path, os.fsdecode(name) + ".py", "--out", os.fsdecode(name) + ".out", environment=environment)
    assert_complete(done, Path(path) / (os.fsdecode(name) + ".out"))
    assert b"\x1b[2J" not in done.stdout + done.stderr
    assert run(path, "report", os.fsdecode(name) + ".out", environment=environment).returncode == 0

"""The command `compare`: saved directories in, status and files out."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from loadgen.cli.main import main
from tests.support.compared_runs import run_of_latencies, save
from tests.support.documents import ROOT

SLOWER = 1.1


def latencies(count, seed, factor=1.0):
    """Return independent latencies with a median of 100 ms times a factor."""
    return 0.1 * factor * np.exp(0.1 * np.random.default_rng(seed).standard_normal(count))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Output directories: base, another run of the same, a slower model, an INVALID run, other payloads, interleaved."""
    path = tmp_path_factory.mktemp("saved")
    save(path / "base", run_of_latencies(latencies(1500, 1)))
    save(path / "same", run_of_latencies(latencies(1500, 2)))
    save(path / "slower", run_of_latencies(latencies(1500, 3, SLOWER)))
    save(path / "invalid", run_of_latencies(latencies(1500, 4), failed=np.ones(1500, bool)))
    save(path / "payloads", run_of_latencies(latencies(1500, 2)), payloads={"sha256": "cd" * 32})
    save(path / "aws", run_of_latencies(latencies(1500, 2)), kind="aws")
    sides = (("base", 1, 1.0), ("new", 2, SLOWER))
    save(
        path / "interleaved",
        *(run_of_latencies(latencies(1200, seed, factor), name, rounds=12) for name, seed, factor in sides),
    )
    return path


def run(saved, capsys, *arguments):
    """Run `compare` in this process; return its status, stdout and stderr."""
    status = main(["compare", *(str(saved / a) if (saved / a).exists() else a for a in arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_same_passes(saved, capsys, tmp_path):
    """Two runs of one model: status 0; the answer, the hint that they were not interleaved, and the page are printed."""
    status, out, err = run(saved, capsys, "base", "same", "--out", str(tmp_path))

    assert (status, err) == (0, "")
    assert "not interleaved: a difference may be the day's" in out
    assert f"Comparison: {tmp_path / 'comparison.html'}" in out


def test_slower_fails(saved, capsys, tmp_path):
    """10 % slower: status 99 without a rule and with 'p95 > 5 %'; 0 with 'p95 > 20 %'."""
    statuses = [
        run(saved, capsys, "base", "slower", "--out", str(tmp_path), *rule)[0]
        for rule in ((), ("--fail-if", "p95 > 5 %"), ("--fail-if", "p95 > 20 %"))
    ]

    assert statuses == [99, 99, 0]
    assert json.loads((tmp_path / "comparison.json").read_text())["answer"] == "within the limits"


def test_the_files_are_beside_new(saved, capsys):
    """Without --out the four files are in NEW's directory; BASE is not changed."""
    before = sorted(path.name for path in (saved / "base").iterdir())
    run(saved, capsys, "base", "same")

    assert {"comparison.html", "comparison.json", "comparison.md", "junit.xml"} <= {
        path.name for path in (saved / "same").iterdir()
    }
    assert sorted(path.name for path in (saved / "base").iterdir()) == before


@pytest.mark.parametrize(
    ("new", "status", "message"),
    [
        ("payloads", 78, "are not comparable: payloads: sha256 BASE abababababab, NEW cdcdcdcdcdcd"),
        ("aws", 78, "are not comparable: target: BASE was measured on emulator, NEW on aws"),
        ("invalid", 110, "NEW is INVALID: "),
    ],
)
def test_what_is_not_comparable_is_refused_in_one_line(saved, capsys, tmp_path, new, status, message):
    """The status and one line on stderr name the difference; with --anyway both are compared and it is stated."""
    found, _, err = run(saved, capsys, "base", new, "--out", str(tmp_path))
    lines = err.strip().splitlines()
    again, out, _ = run(saved, capsys, "base", new, "--out", str(tmp_path), "--anyway")

    assert (found, len(lines)) == (status, 1)
    assert message in lines[0]
    assert "--anyway" in lines[0]
    assert again in {0, 99}
    assert "compared although" in out


def test_an_interleaved_directory_is_compared_with_itself(saved, capsys, tmp_path):
    """One directory with the steps `base` and `new` in blocks: 12 pairs, interleaved, and 10 % slower is worse."""
    status, out, _ = run(saved, capsys, "interleaved", "--out", str(tmp_path))
    found = json.loads((tmp_path / "comparison.json").read_text())
    p50 = next(one for one in found["steps"][0]["metrics"] if one["metric"] == "p50")

    assert status == 99
    assert "Interleaved: both were called in alternating blocks" in out
    assert (found["is_interleaved"], p50["blocks"], p50["verdict"]) == (True, 12, "worse")


def test_a_summary_file_stands_for_its_directory(saved, capsys, tmp_path):
    """summary.json of a whole directory is read with the calls; a copy alone by its intervals, which is said."""
    assert main(["report", str(saved / "base")]) == 0
    summary = saved / "base/benchmarking_report/summary.json"
    whole = run(saved, capsys, str(summary), "same", "--out", str(tmp_path))
    copy = tmp_path / "alone/summary.json"
    copy.parent.mkdir()
    copy.write_bytes(summary.read_bytes())
    alone = run(saved, capsys, str(copy), "same", "--out", str(tmp_path))

    assert (whole[0], alone[0]) == (0, 0)
    assert "has no calls" not in whole[1]
    assert "has no calls" in alone[1]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("base", "same", "--fail-if", "p95 > 5"), 2, "p95 has no unit"),
        (("base", "same", "--margin", "five"), 2, "--margin is 'five'"),
        (("base", "same", "--margin", "0"), 2, "margin of 0 %"),
        (("base", "same", "--between-runs", "-1"), 2, "--between-runs"),
        (("base", "new.py"), 2, "only new.py is a scenario file"),
        (("ask.py",), 2, "only ask.py is a scenario file"),
        (("base", "same", "--pairs", "12"), 2, "--pairs has no effect on saved runs"),
        (("base", "same", "--emulate"), 2, "--emulate has no effect on saved runs"),
        (("a.py", "b.py", "--resume", "x"), 2, "compare --resume"),
        (("base",), 78, "no step 'base'"),
        (("base", "nowhere"), 66, "holds no run"),
        (("base", "base/manifest.json"), 65, "is not a summary.json"),
    ],
)
def test_what_cannot_be_read_is_named(saved, capsys, arguments, status, message):
    """A wrong rule or option is refused with 2, a directory without a run with 66, another file with 65."""
    found, _, err = run(saved, capsys, *arguments)

    assert found == status
    assert message in err


SCENARIO = """
from loadgen import ClosedLoop, Emulated, Request, Scenario, ServerlessConfig, Step

scenario = Scenario(
    target=Emulated("instant"),
    requests=[Request(b"1")],
    steps=[Step(ServerlessConfig(MEMORY), ClosedLoop(1, count=CALLS), name="one client")],
)
"""


def run_scenarios(directory, calls, *arguments):
    """Run `compare base.py new.py` in a process; `calls` are those of base and new."""
    for name, memory, count in (("base", 1024, calls[0]), ("new", 2048, calls[1])):
        text = SCENARIO.replace("MEMORY", str(memory)).replace("CALLS", str(count))
        (directory / f"{name}.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "loadgen", "compare", "base.py", "new.py", "--quiet", *arguments],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(directory / "state")},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_two_scenarios_are_measured_in_alternating_blocks(tmp_path):
    """`compare A.py B.py` measures both in one run, and compares 10 pairs of blocks of 100 calls."""
    done = run_scenarios(tmp_path, (1000, 1000), "--pairs", "10", "--anyway", "--out", "both")
    found = json.loads((tmp_path / "both/comparison.json").read_text())
    blocks = {one["metric"]: one["blocks"] for one in found["steps"][0]["metrics"]}

    # A busy machine can make the run INVALID, or one side slower.
    assert done.returncode in {0, 99, 110}, done.stderr
    assert found["is_interleaved"]
    assert blocks["failed"] == 10
    assert "Interleaved: both were called in alternating blocks" in done.stdout
    assert (tmp_path / "both/benchmarking_report/benchmarking_report.html").exists()


def test_scenarios_that_differ_in_their_load_are_refused(tmp_path):
    """Two scenarios with different loads end with 78 before anything is measured."""
    done = run_scenarios(tmp_path, (1200, 2400))

    assert done.returncode == 78
    assert "different load" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_dry_run_of_two_scenarios_sends_nothing(tmp_path):
    """--dry-run prints the plan of both and ends with 0, without a comparison."""
    done = run_scenarios(tmp_path, (1200, 1200), "--dry-run")

    assert done.returncode == 0, done.stderr
    assert "2,400 requests" in done.stderr + done.stdout
    assert list(tmp_path.glob("results/*")) == []

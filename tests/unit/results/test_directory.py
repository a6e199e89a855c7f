"""The output directory: what is accepted and rejected as one, and the order of its runs."""

from pathlib import Path

import pytest

from loadgen.errors import DataError, InputError, OutputError
from loadgen.results.directory import ResultsDirectory, free_directory, prepare_directory
from loadgen.results.manifest import FORMAT
from loadgen.workload.load import ClosedLoop
from loadgen.workload.step import Step
from tests.support.report_examples import manifest
from tests.support.saved_runs import execute_and_save


def test_runs_are_read_in_order_of_execution(results):
    """Run 100 comes after run 11, not before it."""
    for number in (1, 2, 11, 100, 101):
        execute_and_save(results, number, Step(None, ClosedLoop(1, count=number)))
    assert [run.scheduled for run in ResultsDirectory.open(results.path).read_runs()] == [1, 2, 11, 100, 101]


def test_a_directory_that_holds_a_run_is_rejected(results):
    """Nothing is overwritten, whether the manifest or only the runs are there (C94)."""
    before = sorted(path.name for path in results.path.rglob("*"))
    with pytest.raises(OutputError, match="already holds"):
        ResultsDirectory.create(results.path, manifest("null"))
    (results.path / "manifest.json").unlink()
    with pytest.raises(OutputError, match="already holds"):
        prepare_directory(results.path)
    assert sorted([path.name for path in results.path.rglob("*")] + ["manifest.json"]) == before


def test_an_existing_directory_without_a_run_is_used(tmp_path):
    """A directory with other files is accepted, and its files are kept."""
    (tmp_path / "notes.txt").write_text("mine")
    ResultsDirectory.create(tmp_path, manifest("null"))
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["file", "file/below", "n" * 300, "a\0b"])
def test_a_directory_that_cannot_be_created_is_rejected(tmp_path, name):
    """A file at the path, or a name that no file system accepts, is an OutputError (C93)."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        prepare_directory(tmp_path / name)


def test_a_directory_without_a_run_cannot_be_opened(tmp_path):
    """Opening an empty directory is an InputError; a damaged or foreign manifest is a DataError."""
    with pytest.raises(InputError):
        ResultsDirectory.open(tmp_path)
    incomplete = f'{{"type": "Manifest", "format": {FORMAT}}}'
    for content in ("{", "[]", "5", "{}", '{"type": "Step"}', '{"type": "Manifest"}', incomplete, "\xff"):
        (tmp_path / "manifest.json").write_text(content, encoding="latin-1")
        with pytest.raises(DataError):
            ResultsDirectory.open(tmp_path)


def test_another_format_is_rejected(results):
    """A directory of another format is a DataError that names both formats (C128)."""
    path = results.path / "manifest.json"
    path.write_text(path.read_text().replace(f'"format": {FORMAT}', f'"format": {FORMAT + 1}'))
    with pytest.raises(DataError, match=rf"format {FORMAT + 1}; this version reads {FORMAT}"):
        ResultsDirectory.open(results.path)


def test_a_directory_without_steps_has_no_runs(results):
    """A benchmark that ended before its first step has no runs."""
    assert ResultsDirectory.open(results.path).read_runs() == ()
    (results.path / "runs").rmdir()
    assert ResultsDirectory.open(results.path).read_runs() == ()


def test_incomplete_runs_are_archived(results):
    """A run that was killed moves to interrupted/ under a free name; a completed run is kept."""
    execute_and_save(results, 1, Step(None, ClosedLoop(1, count=3), name="kept"))
    for _ in range(2):
        _, _, directory = execute_and_save(results, 2, Step(None, ClosedLoop(1, count=3), name="killed"))
        (directory / "run.json").unlink()
        completed = results.read_completed_runs()
        assert list(completed) == [1]
        assert results.archive_incomplete(completed) == 1
    assert sorted(path.name for path in (results.path / "interrupted").iterdir()) == ["02-killed.1", "02-killed.2"]
    assert [run.step.name for run in results.read_runs()] == ["kept"]


@pytest.mark.parametrize(
    ("given", "taken", "free"),
    [
        ("out", [], "out"),
        ("out", ["out"], "out-2"),
        ("out", ["out", "out-2", "out-3"], "out-4"),
        ("out", ["out", "out-3"], "out-2"),
        (".", ["."], "run-2"),
        (".", [".", "run-2"], "run-3"),
        ("a/..", ["a/.."], "a/../run-2"),
        ("results of May", ["results of May"], "results of May-2"),
        ("v1.5", ["v1.5"], "v1.5-2"),
    ],
)
def test_a_free_directory_is_numbered(tmp_path, monkeypatch, given, taken, free):
    """The first directory without a run is taken: the given one, numbered ones beside it, or inside one without name."""
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    for name in taken:
        (Path(name) / "runs").mkdir(parents=True)
    assert free_directory(Path(given)) == Path(free)

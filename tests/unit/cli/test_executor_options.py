"""Which executor the options select."""

import os

import pytest

from loadgen.cli.options import Parser, add_run_options, executor
from loadgen.distributed.local_processes import ProcessExecutor
from loadgen.errors import UsageError


def parse(*argv):
    parser = Parser()
    add_run_options(parser)
    return parser.parse_args(list(argv))


@pytest.mark.parametrize(("cores", "workers"), [(1, None), (2, None), (3, 2), (16, 15)])
def test_auto_leaves_one_core(monkeypatch, cores, workers):
    """--workers auto starts one process per core that this process may use less one; one is this process itself."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert executor(parse("--workers", "auto")) == (ProcessExecutor(workers) if workers else None)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--workers", "many"), "'many' is neither a number nor auto"),
        (("--workers", "0"), "workers must be 1 to 512"),
        (("--workers-per-node", "2"), "without --dask or --processing-job"),
        (("--workers-per-node", "2", "--workers", "4"), "without --dask or --processing-job"),
        (("--dask", "tcp://127.0.0.1:1", "--workers", "auto"), "all Dask workers are used"),
        (("--dask", "tcp://127.0.0.1:1", "--workers-per-node", "0"), "workers_per_node must be at least 1"),
    ],
)
def test_contradicting_numbers_are_refused(argv, message):
    """A number out of range, or one that does not fit the executor, is a usage error that says what is allowed."""
    pytest.importorskip("distributed", reason="needs loadgen[dask]")
    with pytest.raises(UsageError, match=message):
        executor(parse(*argv))


def test_a_job_of_one_instance_uses_its_cores(tmp_path, monkeypatch):
    """A job with one instance of 4 cores runs 3 processes, or as many as --workers-per-node says."""
    resources, config = tmp_path / "resourceconfig.json", tmp_path / "job_config.json"
    resources.write_text('{"current_host": "algo-1", "hosts": ["algo-1"]}')
    config.write_text("{}")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    files = ("--job-files", str(resources), str(config))
    assert executor(parse(*files)) == ProcessExecutor(3)
    assert executor(parse(*files, "--workers-per-node", "1")) is None

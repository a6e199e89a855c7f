"""Fixtures of the results tests: an output directory, and a run saved in it."""

import pytest

from loadgen.results.directory import ResultsDirectory
from loadgen.workload.load import ClosedLoop
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support.report_examples import manifest
from tests.support.saved_runs import execute_and_save


@pytest.fixture
def results(tmp_path):
    return ResultsDirectory.create(tmp_path / "out", manifest("null"))


@pytest.fixture
def saved_run(results):
    """A run of 255 records: 16 KB of samples with their header."""
    step = Step(ServerlessConfig(1024), ClosedLoop(3, count=255))
    executed, _, directory = execute_and_save(results, 1, step)
    return executed, directory, (directory / "samples.bin").read_bytes()

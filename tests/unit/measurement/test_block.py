"""The blocks of a run: real time from the run's clock, saved as they start and read back."""

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from loadgen.analysis.analysis import analyze
from loadgen.analysis.cold_start import StartLabel, label_cold_starts
from loadgen.analysis.prices import PriceBook
from loadgen.measurement.block import Block
from loadgen.measurement.sample import SAMPLE
from loadgen.report.formats.csv_requests import write_requests
from loadgen.results.directory import ResultsDirectory
from loadgen.results.reader import read_run
from loadgen.workload.load import ClosedLoop
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support.example_runs import run_of_samples
from tests.support.fleet_samples import sample_record
from tests.support.report_examples import manifest

STEP = Step(ServerlessConfig(2048), ClosedLoop(1, count=60), name="2048 MB")
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
# 20 calls of a tenth of a second in each block; the blocks begin at noon, after one minute and after ten.
BLOCKS = (Block(1, 0, NOON, 0.0, 20), Block(2, 20, NOON + 60, 2.0, 20), Block(3, 40, NOON + 600, 4.0, 20))


def run_in_blocks(latency=lambda _seq: 0.1, count=60):
    samples = np.zeros(count, SAMPLE)
    for n in range(count):
        samples[n] = sample_record(n, n / 10, n / 10, n / 10 + latency(n))
    return replace(run_of_samples(STEP, samples, started=NOON), blocks=BLOCKS)


def saved_in_blocks(tmp_path):
    """Save the run as its blocks are executed, and return the results directory and the run's directory."""
    results = ResultsDirectory.create(tmp_path / "out", manifest("null"))
    run = run_in_blocks()
    writer = results.create_run(1, STEP, {"started": run.started})
    for block in BLOCKS:
        writer.write_block(block)
        writer.sink.write_samples(run.samples[block.first_seq : block.first_seq + 20])
    writer.close()
    return run, writer


def test_instants_map_to_real_time():
    """The third call of each block was sent 0.2 s after the block started on the wall clock."""
    run = run_in_blocks()
    seqs = np.array([2, 22, 42])

    assert run.real_elapsed(run.samples["sent"][seqs], seqs).tolist() == pytest.approx([0.2, 60.2, 600.2])


def test_a_run_without_blocks_has_one_clock():
    """Without blocks real time is the run's clock, and the run ends `duration` after its start."""
    run = replace(run_in_blocks(), blocks=())

    assert run.real_elapsed(run.samples["done"], run.samples["seq"]).tolist() == run.samples["done"].tolist()
    assert run.ended == NOON + run.duration


def test_the_end_includes_the_time_between_blocks():
    """A run of 6 s of calls whose last block starts after ten minutes ends two seconds after that."""
    run = run_in_blocks()

    assert run.duration == pytest.approx(6.0)
    assert run.ended - NOON == pytest.approx(602.0)


def test_an_instance_is_idle_between_blocks():
    """A slow first call after ten minutes without calls is cold, although the run's clock saw no pause."""
    run = run_in_blocks(lambda seq: 3.0 if seq in (0, 40) else 0.1)

    labels = label_cold_starts(run).labels

    assert np.flatnonzero(labels == StartLabel.COLD).tolist() == [0, 40]
    assert label_cold_starts(replace(run, blocks=())).labels[40] == StartLabel.WARM


def test_the_list_of_requests_shows_the_wall_clock():
    """Each block's first call has the block's own time of day in the CSV of all requests."""
    analysis = analyze([run_in_blocks()], region="us-east-1", prices=PriceBook.builtin())
    out = io.BytesIO()
    write_requests(out, analysis.runs, measured_on="", include_concurrency=False)
    rows = list(csv.DictReader(io.TextIOWrapper(io.BytesIO(out.getvalue()))))

    assert [float(rows[seq]["start_time"]) - NOON for seq in (0, 20, 40)] == [0, 60, 600]


def test_blocks_are_saved_as_they_start(tmp_path):
    """A saved run has its blocks with the number of requests of each."""
    run, writer = saved_in_blocks(tmp_path)
    writer.write_metadata(run)

    assert read_run(writer.directory).blocks == BLOCKS


def test_a_killed_run_keeps_its_blocks(tmp_path):
    """Without run.json, and with the last block cut off after 5 requests, the other blocks are complete."""
    _, writer = saved_in_blocks(tmp_path)
    path = writer.directory / "samples.bin"
    path.write_bytes(path.read_bytes()[: 64 + 45 * 64])

    read = read_run(writer.directory)

    assert [block.count for block in read.blocks] == [20, 20, 5]
    assert read.ended - NOON == pytest.approx(600.5)


@pytest.mark.parametrize(
    "line", [b'{"round": 2', b'{"round": 2}', b'{"round":2,"first_seq":20,"started":"x","offset":2}']
)
def test_a_damaged_table_of_blocks_is_reported(tmp_path, line):
    """An unreadable line of blocks.jsonl is named in the run's data errors."""
    run, writer = saved_in_blocks(tmp_path)
    writer.write_metadata(run)
    path = writer.directory / "blocks.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], line, lines[2]]))

    assert read_run(writer.directory).data_errors == ("blocks.jsonl: unreadable from line 2 on",)

"""The report's tables of load-generator health: what was moved, by how much, and what is not valid."""

from dataclasses import replace

from loadgen.analysis.prices import PriceBook
from loadgen.analysis.run_analysis import analyze_run
from loadgen.measurement.stalls import Stalls
from loadgen.report.content.generator import figure_validity_table, generator_health_table
from tests.support import example_runs as made


def analyzed(run):
    return analyze_run(run, region="us-east-1", prices=PriceBook.builtin())


def cells_of(table):
    return {column.name: (cell.text, cell.detail) for column, cell in zip(table.columns, table.rows[0], strict=True)}


def test_a_figure_that_the_generator_moved_is_marked():
    """A run in which the loop was always late by 61 ms is marked in each column; one with a lag of 1 ms is not."""
    late, clean = (
        cells_of(figure_validity_table([analyzed(made.starved())])),
        cells_of(figure_validity_table([analyzed(made.stability_run())])),
    )

    assert late["p50"][1] == late["p95"][1] == "NOT VALID"
    assert all(float(clean[name][0]) < 1.1 and not clean[name][1] for name in ("Mean", "p50", "p95"))


def test_stalls_and_the_wait_for_a_core_are_shown():
    """Count of stalls, and the shares of the run in which the loop stood still and another process had the core."""
    run = made.stability_run()
    stats = replace(run.generator_stats, stalls=Stalls(12, run.duration / 10, 0.2), runqueue_wait=run.duration / 4)
    cells = cells_of(generator_health_table([analyzed(replace(run, generator_stats=stats))]))

    assert (cells["Stalls"][0], cells["Stalled"][0], cells["Core wait"][0]) == ("12", "10.0", "25.0")


def test_a_run_without_ok_calls_has_no_figures():
    """A run that measured nothing has no row."""
    assert figure_validity_table([analyzed(made.all_failed())]).rows == ()

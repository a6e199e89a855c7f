"""CloudWatch's figures of an endpoint that several steps share."""

from dataclasses import replace

from loadgen.report.content.cloudwatch import metrics_table
from loadgen.report.formats.csv_summary import metrics_summary_csv
from tests.support import example_runs
from tests.support.report_examples import analyze_runs


def test_steps_that_share_an_endpoint_are_one_row():
    """CloudWatch does not separate 2, 3 and 4 clients of one endpoint: one row names all of them; the CSV keeps its rows."""
    first = example_runs.concurrency_run(2, 2)
    shared = [first, *(replace(example_runs.concurrency_run(2, n), metrics=first.metrics) for n in (3, 4))]
    rows = analyze_runs(*shared, example_runs.concurrency_run(4, 4)).runs

    table = metrics_table(rows)

    assert [row[0].text for row in table.rows] == ["2 x 2; 2 x 3; 2 x 4", "4 x 4"]
    assert (
        sum("2 x 2; 2 x 3; 2 x 4: figures of the endpoint over all of these steps" in note for note in table.notes) == 1
    )
    assert len(metrics_summary_csv(rows, include_concurrency=True).splitlines()) == 1 + 4


def test_rows_without_figures_are_not_merged():
    """Endpoints without a name or without figures, and equal figures of two endpoints, keep their rows."""
    run = example_runs.stability_run(1024)
    runs = [replace(run, endpoint=name) for name in ("a", "b")]
    runs += [replace(run, endpoint="")] * 2 + [replace(run, endpoint="c", metrics=example_runs.NO_METRICS)] * 2

    assert len(metrics_table(analyze_runs(*runs).runs).rows) == 6

"""The coverage bench: a small, seeded part of it, and its table."""

import pytest

from bench import coverage


@pytest.mark.parametrize("kind", ["independent", "correlation 0.5", "correlation 0.9", "drift of 20 %"])
def test_intervals_contain_the_truth(kind):
    """Of 120 series of 1,000 calls, 88 to 100 % of the intervals of each figure contain the true value."""
    found = coverage.measure(kind, 0.3, 1000, series=120, seed=7)

    assert found["mean"].percent is not None
    for figure, result in found.items():
        assert result.percent is None or 88 <= result.percent <= 100, f"{figure}: {result}"


def test_a_series_that_carries_nothing_has_no_interval():
    """100 calls with a correlation of 0.9 are 5 independent ones: no figure has an interval, instead of a wrong one."""
    found = coverage.measure("correlation 0.9", 0.3, 100, series=60, seed=7)

    assert [str(result) for result in found.values()] == ["-"] * len(coverage.FIGURES)


def test_the_table_has_a_row_per_series(capsys):
    """The command prints one row per kind of series, spread and number of calls, and the lowest coverage."""
    status = coverage.main(["--repetitions", "2", "--count", "40"])

    lines = capsys.readouterr().out.splitlines()
    assert status in (0, 1)
    assert sum(line.startswith("| ") for line in lines) == 1 + len(coverage.KINDS) * len(coverage.SPREADS)
    assert lines[-1].startswith("Lowest coverage: ")

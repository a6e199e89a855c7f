"""The bench of disturbed runs counts figures as its description says."""

from bench.disturbances import DISTURBANCES, DisturbedRun, FigureError, count_figures, tabulate


def figure(reported, *, is_valid):
    return FigureError("service_p95", 0.1, reported, is_valid)


def test_a_figure_is_wrong_above_ten_percent_and_two_milliseconds():
    """Off by 11 % is wrong, by 9 % neither, by 4 % right; 1.9 ms are never wrong, 0.9 ms always right."""
    assert figure(0.111, is_valid=True).is_wrong
    assert not figure(0.109, is_valid=True).is_wrong
    assert not figure(0.109, is_valid=True).is_right
    assert figure(0.104, is_valid=True).is_right
    assert not FigureError("service_p50", 0.008, 0.0099, True).is_wrong
    assert FigureError("service_p50", 0.008, 0.0089, True).is_right


def test_figures_are_counted_by_kind_and_in_total():
    """Runs of one kind share a line: how many were INVALID, then wrong VALID, wrong INVALID, right VALID and INVALID."""
    runs = [
        DisturbedRun("stop90", 0.1, "VALID", (), (figure(0.2, is_valid=True), figure(0.1, is_valid=True))),
        DisturbedRun(
            "stop90",
            0.1,
            "INVALID",
            (),
            (figure(0.2, is_valid=False), figure(0.1, is_valid=False), figure(0.107, is_valid=False)),
        ),
        DisturbedRun("clean", 0.1, "VALID", (), (figure(0.1, is_valid=True),)),
    ]
    assert count_figures(runs) == (1, 1, 0, 1, 2, 1)
    assert [line.split() for line in tabulate(runs).splitlines()][1:] == [
        ["stop90", "100", "1/2", "1", "1", "0", "1", "1", "1"],
        ["clean", "100", "0/1", "0", "0", "0", "0", "1", "0"],
        ["all", "1", "1", "0", "1", "2", "1"],
    ]


def test_every_kind_is_listed_once():
    """No pair of kind and latency is listed twice."""
    assert len(set(DISTURBANCES)) == len(DISTURBANCES)

"""Files of timestamps."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from loadgen.errors import DataError, InputError, UsageError
from loadgen.workload.arrivals import trace
from loadgen.workload.timestamps import read_timestamps


def test_seconds_and_iso_times_can_be_mixed_with_blank_lines_and_comments(tmp_path):
    """Each line is a number or an ISO 8601 time; a time without an offset is UTC; a byte order mark is ignored."""
    path = tmp_path / "times.txt"
    path.write_bytes(
        b"\xef\xbb\xbf# from the log\r\n1760000000.5\r\n\r\n2025-10-09T08:53:20Z\n2025-10-09 10:53:21+02:00\n"
    )
    # 1,760,000,000 s after 1970 is 2025-10-09 08:53:20 UTC
    assert read_timestamps(path) == (1760000000.5, 1760000000.0, 1760000001.0)


def test_a_trace_of_a_file_is_replayed_from_its_first_instant(tmp_path):
    """The timestamps of a file can be replayed with an end and a speed."""
    path = tmp_path / "times.txt"
    path.write_text("102\n100\n101.5\n200\n")
    assert list(trace(read_timestamps(path), end=150, speed=2)) == [(0, 0.0), (1, 0.75), (2, 1.0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "contains no timestamps"), ("1\nyesterday\nnan\n", "2 lines are not timestamps"), ("inf", "1 lines")],
)
def test_invalid_timestamps_are_located(tmp_path, content, message):
    """The number of invalid lines and the first of them are reported; none is skipped silently."""
    path = tmp_path / "times.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_timestamps(path)
    if "yesterday" in content:
        assert caught.value.details[0] == "line 2: 'yesterday'"


def test_a_missing_file_is_an_input_error(tmp_path):
    """A missing file raises an InputError with its path."""
    with pytest.raises(InputError, match="nowhere"):
        read_timestamps(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("1772359200000", "milliseconds"),
        ("1772359200000.5", "milliseconds"),
        ("1772359200000000", "microseconds"),
        ("1772359200000000000", "nanoseconds"),
        ("20260301100000", "ISO 8601"),
        ("-1e11", "milliseconds"),
    ],
)
def test_a_number_that_is_too_large_for_seconds_is_refused_with_its_unit(tmp_path, text, unit):
    """Times in another unit are refused, by the file's reader and by trace(); in silence 1.5 s would become 1500 s."""
    path = tmp_path / "times.txt"
    path.write_text(f"1772359200\n{text}\n")
    with pytest.raises(DataError, match="1 lines are not timestamps") as caught:
        read_timestamps(path)
    assert caught.value.details[0].startswith("line 2: ")
    assert unit in caught.value.details[0]
    if not text.startswith("-"):
        with pytest.raises(UsageError, match=unit):
            trace([float(text), float(text) + 1500])


def test_seconds_of_this_age_are_taken(tmp_path):
    """The largest number below 1e11 and times in seconds since 1970 are seconds."""
    path = tmp_path / "times.txt"
    path.write_text("1772359200\n99999999999\n")
    assert read_timestamps(path) == (1772359200.0, 99999999999.0)


MORNING = "2026-03-01T10:00:00"  # 1,772,359,200 s after 1970
LATER = "2026-03-01T10:01:30"


@pytest.mark.parametrize(
    "instants",
    [
        *(np.array([MORNING, LATER], dtype=f"datetime64[{unit}]") for unit in ("s", "ms", "us", "ns")),
        *(
            np.array([0, 90 * scale], dtype=f"timedelta64[{unit}]")
            for unit, scale in (("s", 1), ("ms", 1000), ("ns", 10**9))
        ),
        list(np.array([MORNING, LATER], dtype="datetime64[ms]")),
        [datetime(2026, 3, 1, 10), datetime(2026, 3, 1, 10, 1, 30, tzinfo=UTC)],  # noqa: DTZ001 - taken as UTC
        [datetime(2026, 3, 1, 12, 1, 30, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 3, 1, 10, tzinfo=UTC)],
        [timedelta(0), timedelta(minutes=1.5)],
        [MORNING, LATER],
        [f"{MORNING}Z", "2026-03-01T12:01:30+02:00"],
        ["1772359200", "1772359290.0"],
        [1772359200, LATER],
        (value for value in (1772359200.0, 1772359290)),
        np.array([1772359290, 1772359200], dtype=np.int64),
    ],
)
def test_times_of_every_type_are_seconds(instants):
    """Two instants 90 s apart are replayed 90 s apart, whatever their type and unit."""
    assert list(trace(instants)) == [(0, 0.0), (1, 90.0)]


def test_minutes_and_days_of_numpy_are_converted():
    """A numpy time in minutes or days is not a number of seconds."""
    assert list(trace(np.array(["2026-03-01T10:00", "2026-03-01T10:02"], dtype="datetime64[m]")))[1] == (1, 120.0)
    assert list(trace(np.array(["2026-03-01", "2026-03-03"], dtype="datetime64[D]")))[1] == (1, 172800.0)


@pytest.mark.parametrize(
    "build",
    [
        lambda: trace([1772359200, -1772359200000]),
        lambda: trace([1772359200], start=1772359200000),
        lambda: trace([1772359200], end=1772359200000),
        lambda: trace(["1772359200", "1772359200000"]),
        lambda: trace([None, 1]),
        lambda: trace([True, False]),
        lambda: trace(["yesterday"]),
        lambda: trace([[1], [2, 3]]),
        lambda: trace(np.ones((2, 2))),
        lambda: trace(np.array([True, False])),
        lambda: trace(np.array(["NaT"], dtype="datetime64[s]")),
        lambda: trace([10**400]),
        lambda: trace("123"),
        lambda: trace(5),
        lambda: trace([1, 2], start="soon"),
        lambda: trace([1, 2], start=float("nan")),
        lambda: trace([1, 2], speed="fast"),
    ],
)
def test_what_is_not_a_time_in_seconds_is_refused(build):
    """Other types, other units and what is not finite are a UsageError, in the instants and in start and end."""
    with pytest.raises(UsageError):
        build()


def test_start_and_end_can_be_times():
    """`start` and `end` take what the instants take."""
    times = [MORNING, LATER, "2026-03-01T11:00:00"]
    assert list(trace(times, start="2026-03-01T09:59:59", end=datetime(2026, 3, 1, 10, 30, tzinfo=UTC))) == [
        (0, 1.0),
        (1, 91.0),
    ]

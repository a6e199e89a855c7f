"""Lines that are formatted from arrays equal those that Python formats."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.report.formats.csv_lines import format_lines

TEMPLATE = "%.3f,€ 100%%,%d.%06d,,%d,x\n"
integers = st.integers(0, 10**14) | st.integers(0, 2000)
# Halves of a thousandth, which are rounded from the exact value of the float.
floats = st.floats(0, 1e12) | st.integers(0, 10**7).map(lambda n: n / 2000) | st.floats(0, 0.01)


@settings(max_examples=200)
@given(st.lists(st.tuples(floats, integers, st.integers(0, 999_999), integers), min_size=1, max_size=30))
def test_lines_equal_those_of_python(rows):
    """Every number and length, also of lines of different widths in one call, is formatted as by `%`."""
    dtypes = (np.float64, np.int64, np.int64, np.uint32 if max(row[3] for row in rows) < 2**32 else np.int64)
    columns = [np.array(column, dtype) for column, dtype in zip(zip(*rows, strict=True), dtypes, strict=True)]
    assert format_lines(TEMPLATE, columns) == [(TEMPLATE % row).encode() for row in rows]


def test_negative_and_infinite_values_are_formatted_by_python():
    """A clock that was set back, or an infinite value, appears in its line and changes no other."""
    columns = [np.array([-0.5, math.inf, 1.0]), np.array([1, -2, 3]), np.array([0, 1, 2]), np.array([5, 6, 7])]
    expected = [(TEMPLATE % row).encode() for row in zip(*(column.tolist() for column in columns), strict=True)]
    assert format_lines(TEMPLATE, columns) == expected

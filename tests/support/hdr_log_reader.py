"""A reader of HdrHistogram interval logs, to compare what loadgen writes with what other tools write."""

from loadgen.measurement.histogram import Histogram


def read_log(text: str) -> dict[str, Histogram]:
    """Return the histograms of a log by tag, windows added up; lines without a tag have the tag "".

    Comments, the header of any version and the legend are skipped, not read: times stay relative to a base that is not
    applied. Windows need not be in order, and their times may be any numbers.

    Raises:
        ValueError: a line, which the message names, has less than three numbers before its histogram, one that is not a
            number, or a histogram that is not a compressed one of the V2 encoding in base64.
    """
    found: dict[str, Histogram] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith(("#", '"')):
            continue
        tag, times, encoded = _split_line(line)
        try:
            histogram = Histogram.decode(encoded)
            for seconds in times:
                float(seconds)
        except ValueError as error:
            raise ValueError(f"line {number} of an interval log: {error}") from error
        found.setdefault(tag, Histogram()).add(histogram)
    return found


def _split_line(line: str) -> tuple[str, list[str], str]:
    """Return (tag, the three numbers, histogram) of a line; missing parts are empty."""
    tag = ""
    if line.startswith("Tag="):
        tag, _, line = line.removeprefix("Tag=").partition(",")
    start, length, longest, encoded = [*line.split(",", 3), "", "", ""][:4]
    return tag, [start, length, longest], encoded

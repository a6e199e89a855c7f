"""Every request as a row of CSV, in chunks: memory stays flat however long the run was.

A call that was answered well has its time in `invocation_latency`; any other has it in `error_latency`, so that no
failure can be averaged as a fast success. Which columns a summary has is csv.py's.
"""

import io
from collections.abc import Iterable
from csv import writer
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.sample import NEW_CONNECTION, WARMUP
from loadgen.report.formats.csv_summary import configuration_columns, csv_cell

_CHUNK = 1 << 15  # rows formatted at a time: some 20 MB while it lasts
_MS, _TIMESTAMP, _INTEGER = "%.3f", "%d.%06d", "%d"  # two whole numbers print in half the time of a float this long
# Name -> how its figure is printed; None for what is the same for all requests of one kind. The predecessor's first.
_PREDECESSOR_COLUMNS: dict[str, str | None] = {
    "invocation_latency": _MS,
    "response_size": _INTEGER,
    "throttle_exception": None,
    "insufficient_memory_error": None,
    "other_model_error": None,
    "start_time": _TIMESTAMP,
    "end_time": _TIMESTAMP,
    "invoke_arg_index": _INTEGER,
}
_ADDED_COLUMNS: dict[str, str | None] = {
    "outcome": None,
    "error_code": None,
    "http_status": None,
    "error_latency": _MS,
    "response_time": _MS,
    "scheduled_time": _TIMESTAMP,
    "first_byte_time": _TIMESTAMP,
    "request_size": _INTEGER,
    "connection_wait": _MS,
    "is_new_connection": None,
    "is_warmup": None,
    "sequence": _INTEGER,
    "step": None,
    "measured_on": None,
}
# Instants that may not exist, and which columns are empty then.
_COLUMNS_BY_TIMESTAMP = {
    "sent": ("invocation_latency", "error_latency", "start_time"),
    "first_byte": ("first_byte_time",),
    "done": ("invocation_latency", "error_latency", "response_time", "end_time"),
}
# Columns that are a field of the sample as it stands; the instants among them are from the run's start.
_SAMPLE_FIELDS = {
    "response_size": "response_bytes",
    "start_time": "sent",
    "end_time": "done",
    "invoke_arg_index": "request_index",
    "scheduled_time": "scheduled",
    "first_byte_time": "first_byte",
    "request_size": "request_bytes",
    "sequence": "seq",
}


def write_requests(out: BinaryIO, rows: Iterable[RunAnalysis], *, measured_on: str, include_concurrency: bool) -> None:
    """Write `invocation_benchmark_results.csv`: instants in seconds since the epoch, latencies in milliseconds.

    Args:
        out: takes the bytes.
        rows: the runs, one after the other; a run whose samples were not kept adds no line.
        measured_on: the identity's kind, said in every line.
        include_concurrency: True adds max_concurrency and num_clients.
    """
    head: list[str] | None = None
    for row in rows:
        configuration = configuration_columns(row, include_concurrency=include_concurrency)
        if head is None:
            head = [*_PREDECESSOR_COLUMNS, *configuration, *_ADDED_COLUMNS]
            out.write((",".join(head) + "\n").encode())
        same = {name: "" if value is None else str(value) for name, value in configuration.items()}
        same |= {"step": row.run.step.name, "measured_on": measured_on}
        starts = range(0, len(row.run.samples), _CHUNK)
        out.writelines(_lines(row, row.run.samples[start : start + _CHUNK], same) for start in starts)


def _lines(row: RunAnalysis, samples: NDArray[np.void], constants: dict[str, str]) -> bytes:
    """Return these samples as lines: each kind of sample has a template, filled with the figures of each."""
    kinds = samples["outcome"].astype(np.int64) | samples["flags"].astype(np.int64) << 8
    kinds |= samples["code"].astype(np.int64) << 16
    for bit, instant in enumerate(_COLUMNS_BY_TIMESTAMP):
        kinds |= np.isnan(samples[instant]).astype(np.int64) << 32 + bit
    _, first, which = np.unique(kinds, return_index=True, return_inverse=True)
    lines = np.empty(len(samples), dtype=object)
    for kind, sample in enumerate(samples[first]):
        template, names = _line_template(row, sample, constants)
        of_kind = np.flatnonzero(which == kind)
        figures = (column.tolist() for name in names for column in _column_values(name, samples[of_kind], row))
        lines[of_kind] = [template % f for f in zip(*figures, strict=True)]
    return "".join(lines.tolist()).encode()


def _column_values(name: str, samples: NDArray[np.void], row: RunAnalysis) -> Iterable[NDArray[np.generic]]:
    """Yield what a column's format takes for each of these samples: one figure, or an instant's seconds and micros."""
    if name == "connection_wait":
        yield samples["pool_wait"] * 1000
    elif name in {"invocation_latency", "error_latency", "response_time"}:
        # In a closed loop response time is service time by definition.
        is_response = name == "response_time" and row.run.is_open_loop
        yield (samples["done"] - samples["scheduled" if is_response else "sent"]) * 1000
    elif name.endswith("_time"):
        micros = np.rint((row.run.started + samples[_SAMPLE_FIELDS[name]]) * 1e6).astype(np.int64)
        yield from np.divmod(micros, 1_000_000)
    else:
        yield samples[_SAMPLE_FIELDS[name]]


def _line_template(row: RunAnalysis, sample: np.void, constants: dict[str, str]) -> tuple[str, list[str]]:
    """Return the line of one kind of sample, with a place for each figure, and the names of these figures."""
    outcome, flags = Outcome(int(sample["outcome"])), int(sample["flags"])
    code = next((c for c in row.run.error_codes if c.number == int(sample["code"])), None)
    words = constants | {
        "throttle_exception": str(int(outcome is Outcome.THROTTLED)),
        "insufficient_memory_error": str(int(outcome is Outcome.MODEL_OOM)),
        "other_model_error": str(int(outcome is Outcome.MODEL_ERROR)),
        "outcome": outcome.label,
        "error_code": "" if code is None else code.code,
        "http_status": str(code.status) if code is not None and code.status else "",
        "is_new_connection": str(int(bool(flags & NEW_CONNECTION))),
        "is_warmup": str(int(bool(flags & WARMUP))),
    }
    # A failure's answer is no response of the model's.
    absent = (
        {"error_latency"}
        if outcome.category is OutcomeCategory.OK
        else {"invocation_latency", "response_size", "response_time"}
    )
    absent.update(
        name for instant, names in _COLUMNS_BY_TIMESTAMP.items() if np.isnan(sample[instant]) for name in names
    )
    columns = (
        _PREDECESSOR_COLUMNS | dict.fromkeys(name for name in constants if name not in _ADDED_COLUMNS) | _ADDED_COLUMNS
    )
    cells = [
        _quote(words[name]) if printed is None else "" if name in absent else printed
        for name, printed in columns.items()
    ]
    names = [name for name, printed in columns.items() if printed is not None and name not in absent]
    return ",".join(cells) + "\n", names


def _quote(text: str) -> str:
    """Return text as a CSV cell inside a template."""
    out = io.StringIO()
    writer(out, lineterminator="").writerow([csv_cell(text)])
    return out.getvalue().replace("%", "%%") if text else ""

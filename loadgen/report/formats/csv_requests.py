"""`invocation_benchmark_results.csv`: one row per request, written in chunks so that memory use is constant.

The service time of an ok call is in `invocation_latency`, that of any other call in `error_latency`, so that an average
of the first never includes failures.
"""

import io
from collections.abc import Iterable
from csv import writer
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.cold_start import StartLabel, label_cold_starts
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.sample import NEW_CONNECTION, WARMUP
from loadgen.report.formats.csv_summary import configuration_columns, csv_cell

_CHUNK = 1 << 15  # rows per chunk: about 20 MB
# Two integers are formatted twice as fast as a float of this length.
_MS, _TIMESTAMP, _INTEGER = "%.3f", "%d.%06d", "%d"
# Column -> format of its value; None for text that is the same for all requests of one kind. First the columns of
# sm-serverless-benchmarking.
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
    "start": None,
}
_START_TEXTS = {StartLabel.COLD: "cold", StartLabel.WARM: "warm", StartLabel.UNKNOWN: "unknown"}
# Instants that may be NaN -> columns that are empty then.
_COLUMNS_BY_TIMESTAMP = {
    "sent": ("invocation_latency", "error_latency", "start_time"),
    "first_byte": ("first_byte_time",),
    "done": ("invocation_latency", "error_latency", "response_time", "end_time"),
}
# Columns that are a field of the sample; instants count from the start of the run.
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
    """Write one row per request; instants in seconds since the epoch, latencies in milliseconds.

    Args:
        out: receives the bytes.
        rows: the runs; a run without samples adds no row.
        measured_on: kind of the identity, for every row.
        include_concurrency: True adds the columns max_concurrency and num_clients.
    """
    header: list[str] | None = None
    for row in rows:
        configuration = configuration_columns(row, include_concurrency=include_concurrency)
        if header is None:
            header = [*_PREDECESSOR_COLUMNS, *configuration, *_ADDED_COLUMNS]
            out.write((",".join(header) + "\n").encode())
        constants = {name: "" if value is None else str(value) for name, value in configuration.items()}
        constants |= {"step": row.run.step.label, "measured_on": measured_on}
        labels = label_cold_starts(row.run).labels
        parts = [slice(start, start + _CHUNK) for start in range(0, len(row.run.samples), _CHUNK)]
        out.writelines(_lines(row, row.run.samples[part], labels[part], constants) for part in parts)


def _lines(row: RunAnalysis, samples: NDArray[np.void], labels: NDArray[np.uint8], constants: dict[str, str]) -> bytes:
    """Return the samples as CSV lines; samples of one kind share a template that is filled with their values."""
    kinds = samples["outcome"].astype(np.int64) | samples["flags"].astype(np.int64) << 8
    kinds |= samples["code"].astype(np.int64) << 16
    for bit, instant in enumerate(_COLUMNS_BY_TIMESTAMP):
        kinds |= np.isnan(samples[instant]).astype(np.int64) << 32 + bit
    kinds |= labels.astype(np.int64) << 48
    _, first, kind_of = np.unique(kinds, return_index=True, return_inverse=True)
    lines = np.empty(len(samples), dtype=object)
    for kind, (sample, label) in enumerate(zip(samples[first], labels[first].tolist(), strict=True)):
        start = _START_TEXTS.get(StartLabel(label), "")
        template, names = _line_template(row, sample, constants | {"start": start})
        of_kind = np.flatnonzero(kind_of == kind)
        columns = (column.tolist() for name in names for column in _column_values(name, samples[of_kind], row))
        lines[of_kind] = [template % values for values in zip(*columns, strict=True)]
    return "".join(lines.tolist()).encode()


def _column_values(name: str, samples: NDArray[np.void], row: RunAnalysis) -> Iterable[NDArray[np.generic]]:
    """Yield the arrays that a column's format takes: its values, or the seconds and microseconds of an instant."""
    if name == "connection_wait":
        yield samples["pool_wait"] * 1000
    elif name in {"invocation_latency", "error_latency", "response_time"}:
        # In a closed loop response time equals service time.
        is_response = name == "response_time" and row.run.is_open_loop
        yield (samples["done"] - samples["scheduled" if is_response else "sent"]) * 1000
    elif name.endswith("_time"):
        elapsed = row.run.real_elapsed(samples[_SAMPLE_FIELDS[name]], samples["seq"])
        micros = np.rint((row.run.started + elapsed) * 1e6).astype(np.int64)
        yield from np.divmod(micros, 1_000_000)
    else:
        yield samples[_SAMPLE_FIELDS[name]]


def _line_template(row: RunAnalysis, sample: np.void, constants: dict[str, str]) -> tuple[str, list[str]]:
    """Return the template of one kind of sample, and the columns whose values fill it."""
    outcome, flags = Outcome(int(sample["outcome"])), int(sample["flags"])
    code = next((c for c in row.run.error_codes if c.number == int(sample["code"])), None)
    texts = constants | {
        "throttle_exception": str(int(outcome is Outcome.THROTTLED)),
        "insufficient_memory_error": str(int(outcome is Outcome.MODEL_OOM)),
        "other_model_error": str(int(outcome is Outcome.MODEL_ERROR)),
        "outcome": outcome.label,
        "error_code": "" if code is None else code.code,
        "http_status": str(code.status) if code is not None and code.status else "",
        "is_new_connection": str(int(bool(flags & NEW_CONNECTION))),
        "is_warmup": str(int(bool(flags & WARMUP))),
    }
    # The response of a failed call is not a response of the model.
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
        _quote(texts[name]) if value_format is None else "" if name in absent else value_format
        for name, value_format in columns.items()
    ]
    names = [name for name, value_format in columns.items() if value_format is not None and name not in absent]
    return ",".join(cells) + "\n", names


def _quote(text: str) -> str:
    """Return text as a CSV cell, with % escaped for the template."""
    out = io.StringIO()
    writer(out, lineterminator="").writerow([csv_cell(text)])
    return out.getvalue().replace("%", "%%") if text else ""

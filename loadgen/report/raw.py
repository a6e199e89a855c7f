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

from loadgen.findings import Row
from loadgen.outcome import Column, Outcome
from loadgen.record import FRESH, WARMUP
from loadgen.report.csv import field, where

_CHUNK = 1 << 15  # rows formatted at a time: some 20 MB while it lasts
_EMPTY = "%.0s"  # takes a figure and prints nothing

# Name -> how its figure is printed; None for what is the same for all requests of one kind. The predecessor's first.
_FIRST: dict[str, str | None] = {
    "invocation_latency": "%.3f",
    "response_size": "%d",
    "throttle_exception": None,
    "insufficient_memory_error": None,
    "other_model_error": None,
    "start_time": "%.6f",
    "end_time": "%.6f",
    "invoke_arg_index": "%d",
}
_LAST: dict[str, str | None] = {
    "outcome": None,
    "error_code": None,
    "http_status": None,
    "error_latency": "%.3f",
    "response_time": "%.3f",
    "scheduled_time": "%.6f",
    "first_byte_time": "%.6f",
    "request_size": "%d",
    "connection_wait": "%.3f",
    "is_new_connection": None,
    "is_warmup": None,
    "sequence": "%d",
    "step": None,
    "measured_on": None,
}
# Instants that may not exist, and which columns are empty then.
_NEEDS = {
    "sent": ("invocation_latency", "error_latency", "start_time"),
    "first_byte": ("first_byte_time",),
    "done": ("invocation_latency", "error_latency", "response_time", "end_time"),
}


def write_requests(out: BinaryIO, rows: Iterable[Row], *, measured_on: str, is_cell: bool) -> None:
    """Write `invocation_benchmark_results.csv`: instants in seconds since the epoch, latencies in milliseconds.

    Args:
        out: takes the bytes.
        rows: the runs, one after the other; a run whose samples were not kept adds no line.
        measured_on: the identity's kind, said in every line.
        is_cell: True adds max_concurrency and num_clients.
    """
    head: list[str] | None = None
    for row in rows:
        configuration = where(row, is_cell=is_cell)
        if head is None:
            head = [*_FIRST, *configuration, *_LAST]
            out.write((",".join(head) + "\n").encode())
        same = {name: "" if value is None else str(value) for name, value in configuration.items()}
        same |= {"step": row.run.step.name, "measured_on": measured_on}
        starts = range(0, len(row.run.samples), _CHUNK)
        out.writelines(_lines(row, row.run.samples[start : start + _CHUNK], same) for start in starts)


def _lines(row: Row, samples: NDArray[np.void], same: dict[str, str]) -> bytes:
    """Return these samples as lines: each kind of sample has a template, filled with the figures of each."""
    kinds = samples["outcome"].astype(np.int64) | samples["flags"].astype(np.int64) << 8
    kinds |= samples["code"].astype(np.int64) << 16
    for bit, instant in enumerate(_NEEDS):
        kinds |= np.isnan(samples[instant]).astype(np.int64) << 32 + bit
    _, first, which = np.unique(kinds, return_index=True, return_inverse=True)
    templates = [_template(row, samples[i], same) for i in first.tolist()]
    figures = zip(*(column.tolist() for column in _figures(row, samples)), strict=True)
    return "".join([templates[k] % f for k, f in zip(which.tolist(), figures, strict=True)]).encode()


def _figures(row: Row, samples: NDArray[np.void]) -> Iterable[NDArray[np.generic]]:
    """Yield the figures of each column that has any, in the columns' order."""
    service = (samples["done"] - samples["sent"]) * 1000
    yield service
    yield samples["response_bytes"]
    yield row.run.started + samples["sent"]
    yield row.run.started + samples["done"]
    yield samples["payload"]
    yield service
    # In a closed loop both are the same by definition.
    yield (samples["done"] - samples["scheduled"]) * 1000 if row.run.is_open_loop else service
    yield row.run.started + samples["scheduled"]
    yield row.run.started + samples["first_byte"]
    yield samples["request_bytes"]
    yield samples["waited"] * 1000
    yield samples["seq"]


def _template(row: Row, sample: np.void, same: dict[str, str]) -> str:
    """Return the line of one kind of sample, with a place for each figure."""
    outcome, flags = Outcome(int(sample["outcome"])), int(sample["flags"])
    code = next((c for c in row.run.codes if c.number == int(sample["code"])), None)
    words = same | {
        "throttle_exception": str(int(outcome is Outcome.THROTTLED)),
        "insufficient_memory_error": str(int(outcome is Outcome.MODEL_OOM)),
        "other_model_error": str(int(outcome is Outcome.MODEL_ERROR)),
        "outcome": outcome.label,
        "error_code": "" if code is None else code.code,
        "http_status": str(code.status) if code is not None and code.status else "",
        "is_new_connection": str(int(bool(flags & FRESH))),
        "is_warmup": str(int(bool(flags & WARMUP))),
    }
    # A failure's answer is no response of the model's.
    absent = (
        {"error_latency"} if outcome.column is Column.OK else {"invocation_latency", "response_size", "response_time"}
    )
    absent.update(name for instant, names in _NEEDS.items() if np.isnan(sample[instant]) for name in names)
    configuration = dict.fromkeys(name for name in same if name not in _LAST)
    cells = [
        _quoted(words[name]) if printed is None else _EMPTY if name in absent else printed
        for name, printed in (_FIRST | configuration | _LAST).items()
    ]
    return ",".join(cells) + "\n"


def _quoted(text: str) -> str:
    """Return text as a CSV cell inside a template."""
    out = io.StringIO()
    writer(out, lineterminator="").writerow([field(text)])
    return out.getvalue().replace("%", "%%") if text else ""

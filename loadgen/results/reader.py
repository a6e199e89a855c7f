"""Reading saved runs back from an output directory; damage is located, left out and reported."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from loadgen.errors import DataError
from loadgen.measurement import merge
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome
from loadgen.measurement.run import NO_SAMPLES, Run
from loadgen.measurement.sample import SAMPLE, WARMUP, ErrorCode, checksum, in_category
from loadgen.measurement.tally import Tally
from loadgen.results.serialization import from_json
from loadgen.results.writer import RUN_METADATA_FIELDS, SAMPLE_FILE_HEADER
from loadgen.workload.load import OpenLoop
from loadgen.workload.step import Step

_NUMERIC_FIELDS = ("started", "duration", "scheduled", "window", "measurement_start", "deploy_duration")
_CHUNK = 1 << 16  # records folded at a time when a run is read: 4 MB


def read_run(directory: Path) -> Run:
    """Read one run from its directory.

    Raises:
        DataError: its step or its circumstances are damaged.
    """
    damage: list[str] = []
    facts = _read_json(directory / "step.json")
    try:
        facts |= _read_json(directory / "run.json")
    except FileNotFoundError:
        damage.append("the run did not end: it was killed, or is still going on")
    step = facts.pop("step", None)
    wrong = [name for name in _NUMERIC_FIELDS if not isinstance(facts.get(name, 0.0), (int, float))]
    if wrong or not isinstance(step, Step) or not facts.get("window", 1.0) > 0:
        raise DataError(f"{directory} is damaged: {', '.join(wrong) or 'its step or window'} cannot be read")
    samples, codes, found = read_worker_samples(directory)
    run = Run(
        step=step,
        started=facts.pop("started", 0.0),
        duration=facts.pop("duration", float(samples["done"].max()) if samples.size else 0.0),
        stop_reason=facts.pop("stop_reason", "killed"),
        scheduled=facts.pop("scheduled", len(samples)),
        error_codes=codes,
        samples=samples,
        data_errors=(*damage, *found),
        **{name: facts[name] for name in RUN_METADATA_FIELDS if name in facts},
    )
    return _aggregate(run)


def read_worker_samples(directory: Path) -> tuple[NDArray[np.void], tuple[ErrorCode, ...], list[str]]:
    """Read the samples and codes of every worker of a run, pooled; one file is mapped into memory as it is.

    Raises:
        DataError: a file is not one of samples, or of a later format.
    """
    damage: list[str] = []
    parts = []
    for path in sorted(directory.glob("samples*.bin")):
        samples, found = read_samples(path)
        table = path.with_name(path.name.replace("samples", "codes").replace(".bin", ".jsonl"))
        codes, lost = _read_error_codes(table)
        parts.append((samples, codes))
        damage += found if path.name == "samples.bin" else [f"{path.name}: {words}" for words in found]
        damage += [f"{table.name}: line {lost} and what follows cannot be read"] if lost else []
    return (*(merge.merge_samples(parts) if parts else (NO_SAMPLES, ())), damage)


def _aggregate(run: Run) -> Run:
    """Return the run with its tally and windows, made from its samples alone."""
    tally = Tally()
    windows = max(1, int(np.ceil(run.duration / run.window))) if run.samples.size else 0
    per_window = np.zeros((windows, len(COMPLETED_CATEGORIES)), dtype=np.int64)
    for start in range(0, len(run.samples), _CHUNK):
        chunk = np.asarray(run.samples[start : start + _CHUNK])
        tally.record_samples(chunk, with_response=isinstance(run.step.load, OpenLoop))
        counted = chunk[(chunk["flags"] & WARMUP) == 0]
        at = np.clip(counted["done"] // run.window, 0, windows - 1).astype(np.int64)
        for number, column in enumerate(COMPLETED_CATEGORIES):
            per_window[:, number] += np.bincount(at[in_category(column, counted)], minlength=windows)
    return replace(run, tally=tally, window_counts=per_window)


def read_samples(path: Path) -> tuple[NDArray[np.void], list[str]]:
    """Map a file of samples into memory, leaving out what is damaged.

    Returns:
        The records, dtype SAMPLE, and what was wrong with the file, in words.

    Raises:
        DataError: it is not such a file, or of a later format.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return NO_SAMPLES, []
    if size < len(SAMPLE_FILE_HEADER):
        return NO_SAMPLES, ["the file of samples ends in its header"]
    with path.open("rb") as file:
        header = file.read(len(SAMPLE_FILE_HEADER))
    if header != SAMPLE_FILE_HEADER:
        raise DataError(f"{path} is not a file of samples of this format", hint="written by another version?")
    count, torn = divmod(size - len(SAMPLE_FILE_HEADER), SAMPLE.itemsize)
    damage = [f"the last record is torn: {torn} of {SAMPLE.itemsize} bytes"] if torn else []
    if not count:
        return NO_SAMPLES, damage
    samples = np.memmap(path, dtype=SAMPLE, mode="r", offset=len(SAMPLE_FILE_HEADER), shape=(count,))
    sound = np.concatenate([_valid_records(np.asarray(samples[i : i + _CHUNK])) for i in range(0, count, _CHUNK)])
    if sound.all():
        return samples, damage
    bad = np.flatnonzero(~sound)
    damage.append(f"{bad.size} damaged records left out, the first is record {bad[0]} of {count}")
    return np.asarray(samples)[sound], damage


def _valid_records(records: NDArray[np.void]) -> NDArray[np.bool_]:
    known = np.isin(records["outcome"], [int(outcome) for outcome in Outcome])
    return np.asarray((checksum(records) == records["check"]) & known, dtype=np.bool_)


def _read_error_codes(path: Path) -> tuple[tuple[ErrorCode, ...], int]:
    """Return the errors, and the number of the first line that cannot be read; 0 when all can."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return (), 0
    codes: list[ErrorCode] = []
    for number, line in enumerate(lines, 1):
        try:
            plain = orjson.loads(line)
            codes.append(ErrorCode(**(plain | {"outcome": Outcome[plain["outcome"].upper()]})))
        except (orjson.JSONDecodeError, AttributeError, TypeError, KeyError):
            return tuple(codes), number
    return tuple(codes), 0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        plain = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not isinstance(plain, dict):
        raise DataError(f"{path} is damaged: not an object")
    return {key: from_json(value) for key, value in plain.items()}

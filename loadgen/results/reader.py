"""Readers of saved runs; damaged records are located, excluded and reported in `Run.data_errors`."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from loadgen.errors import DataError
from loadgen.measurement import merge
from loadgen.measurement.block import Block, block_indices
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome
from loadgen.measurement.run import NO_SAMPLES, Run
from loadgen.measurement.sample import SAMPLE, WARMUP, ErrorCode, checksum, in_category
from loadgen.measurement.tally import Tally
from loadgen.results.serialization import from_json
from loadgen.results.writer import BLOCK_FIELDS, BLOCKS_FILE, RUN_METADATA_FIELDS, SAMPLE_FILE_HEADER
from loadgen.workload.load import OpenLoop
from loadgen.workload.step import Step

_NUMERIC_FIELDS = ("started", "duration", "scheduled", "window", "measurement_start", "deploy_duration")
_CHUNK = 1 << 16  # records per chunk: 4 MB
_MOST_IN_MEMORY = 1 << 20  # merged samples: 64 MB


def read_run(directory: Path) -> Run:
    """Read one run from its directory.

    Raises:
        DataError: step.json or run.json is damaged.
    """
    damage: list[str] = []
    metadata = _read_json(directory / "step.json")
    try:
        metadata |= _read_json(directory / "run.json")
    except FileNotFoundError:
        damage.append("run.json is missing: the process was killed or is still running")
    step = metadata.pop("step", None)
    invalid = [name for name in _NUMERIC_FIELDS if not isinstance(metadata.get(name, 0.0), (int, float))]
    if invalid or not isinstance(step, Step) or not metadata.get("window", 1.0) > 0:
        raise DataError(f"{directory} is damaged: {', '.join(invalid) or 'its step or window'} cannot be read")
    samples, codes, sample_damage = read_worker_samples(directory)
    blocks, block_damage = _read_blocks(directory / BLOCKS_FILE, samples["seq"])
    run = Run(
        step=step,
        started=metadata.pop("started", 0.0),
        duration=metadata.pop("duration", float(samples["done"].max()) if samples.size else 0.0),
        stop_reason=metadata.pop("stop_reason", "killed"),
        scheduled=metadata.pop("scheduled", len(samples)),
        error_codes=codes,
        samples=samples,
        blocks=blocks,
        data_errors=(*damage, *sample_damage, *block_damage),
        **{name: metadata[name] for name in RUN_METADATA_FIELDS if name in metadata},
    )
    return _aggregate(run)


def read_worker_samples(directory: Path) -> tuple[NDArray[np.void], tuple[ErrorCode, ...], list[str]]:
    """Read the samples and error codes of all workers of a run; a single file, and many samples, are memory-mapped.

    Returns:
        The samples, dtype SAMPLE; the error codes; descriptions of the damage.

    Raises:
        DataError: a file does not contain samples, or has a later format.
    """
    damage: list[str] = []
    parts = []
    for path in sorted(directory.glob("samples*.bin")):
        samples, errors = read_samples(path)
        codes_path = path.with_name(path.name.replace("samples", "codes").replace(".bin", ".jsonl"))
        codes, invalid_line = _read_error_codes(codes_path)
        parts.append((samples, codes))
        damage += errors if path.name == "samples.bin" else [f"{path.name}: {error}" for error in errors]
        if invalid_line:
            damage.append(f"{codes_path.name}: unreadable from line {invalid_line} on")
    if not parts:
        return NO_SAMPLES, (), damage
    samples, all_codes = merge.merge_samples(parts, _allocate)
    return samples, all_codes, damage


def _allocate(count: int) -> NDArray[np.void]:
    """Return an array for merged samples; a large one lies in a temporary file, which ends with the array."""
    if count <= _MOST_IN_MEMORY:
        return np.empty(count, dtype=SAMPLE)
    with TemporaryFile(prefix="loadgen-") as file:
        return np.memmap(file, dtype=SAMPLE, mode="w+", shape=(count,))


def _aggregate(run: Run) -> Run:
    """Return the run with its tally and window counts, computed from its samples."""
    tally = Tally()
    windows = max(1, int(np.ceil(run.duration / run.window))) if run.samples.size else 0
    window_counts = np.zeros((windows, len(COMPLETED_CATEGORIES)), dtype=np.int64)
    for start in range(0, len(run.samples), _CHUNK):
        chunk = np.asarray(run.samples[start : start + _CHUNK])
        tally.record_samples(chunk, with_response=isinstance(run.step.load, OpenLoop))
        counted = chunk[(chunk["flags"] & WARMUP) == 0]
        window = np.clip(counted["done"] // run.window, 0, windows - 1).astype(np.int64)
        for number, category in enumerate(COMPLETED_CATEGORIES):
            window_counts[:, number] += np.bincount(window[in_category(category, counted)], minlength=windows)
    return replace(run, tally=tally, window_counts=window_counts)


def read_samples(path: Path) -> tuple[NDArray[np.void], list[str]]:
    """Memory-map a sample file, without its damaged records.

    Returns:
        The records, dtype SAMPLE, and descriptions of the damage.

    Raises:
        DataError: the file does not contain samples, or has a later format.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return NO_SAMPLES, []
    if size < len(SAMPLE_FILE_HEADER):
        return NO_SAMPLES, ["the sample file ends within its header"]
    with path.open("rb") as file:
        header = file.read(len(SAMPLE_FILE_HEADER))
    if header != SAMPLE_FILE_HEADER:
        raise DataError(f"{path} is not a sample file of this format", hint="written by another version?")
    count, rest = divmod(size - len(SAMPLE_FILE_HEADER), SAMPLE.itemsize)
    damage = [f"the last record is incomplete: {rest} of {SAMPLE.itemsize} bytes"] if rest else []
    if not count:
        return NO_SAMPLES, damage
    samples = np.memmap(path, dtype=SAMPLE, mode="r", offset=len(SAMPLE_FILE_HEADER), shape=(count,))
    valid = np.concatenate([_valid_records(np.asarray(samples[i : i + _CHUNK])) for i in range(0, count, _CHUNK)])
    merge.release_pages(samples)
    if valid.all():
        return samples, damage
    invalid = np.flatnonzero(~valid)
    damage.append(f"{invalid.size} damaged records excluded, the first is record {invalid[0]} of {count}")
    return np.asarray(samples)[valid], damage


def _valid_records(records: NDArray[np.void]) -> NDArray[np.bool_]:
    known = np.isin(records["outcome"], [int(outcome) for outcome in Outcome])
    return np.asarray((checksum(records) == records["check"]) & known, dtype=np.bool_)


def _read_error_codes(path: Path) -> tuple[tuple[ErrorCode, ...], int]:
    """Return the error codes, and the number of the first unreadable line, 0 if there is none."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return (), 0
    codes: list[ErrorCode] = []
    for number, line in enumerate(lines, 1):
        try:
            saved = orjson.loads(line)
            codes.append(ErrorCode(**(saved | {"outcome": Outcome[saved["outcome"].upper()]})))
        except (orjson.JSONDecodeError, AttributeError, TypeError, KeyError):
            return tuple(codes), number
    return tuple(codes), 0


def _read_blocks(path: Path, seqs: NDArray[np.generic]) -> tuple[tuple[Block, ...], list[str]]:
    """Return the blocks of a run, with the number of its samples in each, and descriptions of the damage."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return (), []
    blocks: list[Block] = []
    damage: list[str] = []
    for number, line in enumerate(lines, 1):
        try:
            saved = orjson.loads(line)
            blocks.append(Block(**{name: _number(saved[name]) for name in BLOCK_FIELDS}))
        except (orjson.JSONDecodeError, TypeError, KeyError):
            damage.append(f"{path.name}: unreadable from line {number} on")
            break
    if not blocks:
        return (), damage
    counts = np.bincount(block_indices(blocks, seqs), minlength=len(blocks)).tolist()
    return tuple(replace(block, count=count) for block, count in zip(blocks, counts, strict=True)), damage


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is not a number")
    return value


def _read_json(path: Path) -> dict[str, Any]:
    try:
        saved = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not isinstance(saved, dict):
        raise DataError(f"{path} is damaged: not an object")
    return {key: from_json(value) for key, value in saved.items()}

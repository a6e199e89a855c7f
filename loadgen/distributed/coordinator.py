"""Shards: carries one step out on several workers, a shard each, from a common start.

Nothing a lost worker had to do is given to another: what it had begun is told, what it had not is told too, and the
run is INVALID. The samples of all of them are in the run's directory; nothing here computes a latency.
"""

import asyncio
import itertools
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from loadgen import errors
from loadgen.distributed.protocol import (
    ErrorCodeDefined,
    ErrorCounts,
    PrepareShard,
    Ready,
    SampleBatch,
    ShardCompleted,
    ShardFailed,
    Start,
    Stop,
    WindowClosed,
)
from loadgen.distributed.sharding import WindowAligner, reconstruct_lost_samples, shard_step
from loadgen.distributed.worker import SENT_COUNTER
from loadgen.distributed.worker_handle import WorkerHandle, open_workers
from loadgen.engine.request_sender import request_sequence
from loadgen.errors import InternalError, LoadgenError, ResourceError
from loadgen.execution.executor import StepTask
from loadgen.measurement import merge
from loadgen.measurement.outcome import COMPLETED_CATEGORIES
from loadgen.measurement.run import Run, WorkerReport
from loadgen.measurement.sample import SAMPLE
from loadgen.measurement.tally import Tally, Window
from loadgen.results.reader import read_samples
from loadgen.workload.load import OpenLoop
from loadgen.workload.request import Request
from loadgen.workload.step import ErrorLimit, Step

_START_LEAD_TIME = 0.05  # seconds between the word and the start, on top of the way to the farthest worker
_OPEN_TIMEOUT = 180.0  # seconds until a worker has opened the endpoint
_HEARTBEAT_TIMEOUT = 30.0  # a worker closes a window each second: one that is silent so long is lost
_POLL_INTERVAL = 1.0


@asynccontextmanager
async def open_coordinator(
    connections: Sequence[Any], requests: Sequence[Request], log: Callable[[str], None]
) -> AsyncIterator["Coordinator"]:
    """Make a team of workers that can be reached.

    Raises:
        LoadgenError: they are not what we are, or did not start.
    """
    with TemporaryDirectory(prefix="loadgen-") as scratch:
        async with open_workers(connections, requests, log) as workers:
            yield Coordinator(workers, Path(scratch), log)


class Coordinator:
    """Workers that are ready to work; made by `open_coordinator`."""

    is_local = False

    def __init__(self, workers: Sequence[WorkerHandle], scratch: Path, log: Callable[[str], None]) -> None:
        self._workers = workers
        self._scratch = scratch
        self._log = log
        self._step_ids = itertools.count(1)

    async def run_step(self, task: StepTask) -> Run:
        """Execute one step on every worker that is left.

        Raises:
            ResourceError: none is left.
            LoadgenError: a worker could not open the endpoint, or not keep what it recorded.
        """
        alive = [mate for mate in self._workers if not mate.lost_reason]
        if not alive:
            lost_workers = [f"{mate.connection.name} {mate.lost_reason}" for mate in self._workers]
            raise ResourceError("no worker is left", hint="run again", details=lost_workers)
        if len(alive) < len(self._workers):
            gone = ", ".join(f"{mate.connection.name} {mate.lost_reason}" for mate in self._workers if mate.lost_reason)
            self._log(f"going on with {len(alive)} of {len(self._workers)} workers: {gone}")
        shards = shard_step(task.step, len(alive))
        step_id = next(self._step_ids)
        parts = [
            _ShardState(
                index,
                mate,
                shard,
                self._scratch / f"{step_id}-{index}.sent" if mate.connection.shares_filesystem else None,
            )
            for index, (mate, shard) in enumerate(zip(alive, shards, strict=False))
        ]
        return await _StepCoordinator(step_id, task, parts, self._log).run()


@dataclass(slots=True)
class _ShardState:
    """One worker's share of a step."""

    index: int
    worker: WorkerHandle
    step: Step
    counter_file: Path | None  # where the number of requests handed on can be read, whatever becomes of the worker
    is_ready: bool = False
    is_started: bool = False
    is_cancelled: bool = False  # let go before it was told to begin: it sent nothing
    completion: ShardCompleted | None = None
    failure: LoadgenError | None = None
    lost_reason: str = ""
    lost_at: float = 0.0
    errors: int = 0
    completed: int = 0

    @property
    def is_finished(self) -> bool:
        return self.completion is not None or self.failure is not None or bool(self.lost_reason) or self.is_cancelled

    @property
    def file_suffix(self) -> str:
        return f"-{self.index + 1:02d}"


class _StepCoordinator:
    """One step while several workers carry it out."""

    def __init__(self, step_id: int, task: StepTask, shards: Sequence[_ShardState], log: Callable[[str], None]) -> None:
        self.step_id = step_id
        self.task = task
        self.shards = shards
        self.log = log
        self.inbox: asyncio.Queue[tuple[_ShardState, Any]] = asyncio.Queue()
        self.windows = WindowAligner(len(shards), self._on_window)
        self.window_counts: list[list[int]] = []
        self.error_limit = task.step.error_limit or ErrorLimit()
        self.stop_reason = ""
        self.start_at = math.inf

    async def run(self) -> Run:
        """Have every worker get ready, begin at one instant and end; return the run, whoever was lost."""
        for shard in self.shards:
            shard.worker.handlers[self.step_id] = lambda _, message, part=shard: self.inbox.put_nowait((part, message))  # type: ignore[misc]  # mypy has no type for it
        stop_task = asyncio.create_task(self._stop_on_event())
        try:
            await self._start_shards()
            await self._wait_until(lambda part: part.is_finished, self._heartbeat_timeout_reason)
            for shard in self.shards:
                await shard.worker.sync_clock()
        finally:
            stop_task.cancel()
            for shard in self.shards:
                shard.worker.handlers.pop(self.step_id, None)
                if not shard.is_finished:
                    shard.worker.connection.send(Stop(self.step_id))
            await asyncio.to_thread(self.task.run_writer.close)
        failures = [part.failure for part in self.shards if part.failure is not None]
        if failures:
            raise failures[0]
        return await asyncio.to_thread(self._merge_results)

    # -- directing ---------------------------------------------------------------------------------------------------

    async def _start_shards(self) -> None:
        """Hand out the shards, wait until the endpoint is open everywhere, and give the word."""
        target = self.task.worker_target()
        for shard in self.shards:
            if shard.counter_file is not None:
                shard.counter_file.write_bytes(bytes(SENT_COUNTER.size))
            if shard.worker.lost_reason:
                self._mark_lost(shard, shard.worker.lost_reason)
            shard.worker.last_seen = time.perf_counter()
            shard.worker.connection.send(self._prepare_message(shard, target))
        await self._wait_until(lambda part: part.is_ready or part.is_finished, self._open_timeout_reason)
        if self.stop_reason:
            return
        self.start_at = (
            time.perf_counter() + _START_LEAD_TIME + 4 * max(part.worker.clock_uncertainty for part in self.shards)
        )
        for shard in self.shards:
            if shard.is_ready and not shard.is_finished:
                shard.is_started = True
                shard.worker.connection.send(Start(self.step_id, self.start_at + shard.worker.clock_offset))

    def _prepare_message(self, shard: _ShardState, target: Any) -> PrepareShard:
        assignment = self.task
        return PrepareShard(
            self.step_id,
            shard.step,
            target,
            assignment.identity,
            assignment.seed,
            assignment.timeout,
            assignment.timeout,
            assignment.grace,
            str(assignment.run_writer.directory.resolve()) if shard.worker.connection.shares_filesystem else "",
            shard.file_suffix,
            str(shard.counter_file or ""),
        )

    async def _stop_on_event(self) -> None:
        await self.task.stop.wait()
        self._stop_all("stop")

    def _stop_all(self, reason: str) -> None:
        """Have every worker send no more; the first reason is the one that is told."""
        if not self.stop_reason:
            self.stop_reason = reason
            for shard in self.shards:
                if not shard.is_finished:
                    shard.worker.connection.send(Stop(self.step_id))
                    shard.is_cancelled = not shard.is_started

    async def _wait_until(
        self, condition: Callable[[_ShardState], bool], find_loss: Callable[[_ShardState], str]
    ) -> None:
        """Take messages until the condition holds for every part; look now and then for one that is silent."""
        last_check = time.perf_counter()
        while not all(condition(part) for part in self.shards):
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_INTERVAL):
                    self._on_message(*await self.inbox.get())
            if time.perf_counter() - last_check < _POLL_INTERVAL:
                continue
            last_check = time.perf_counter()
            for shard in self.shards:
                if not condition(shard) and (reason := find_loss(shard)):
                    shard.worker.connection.abort()
                    self._mark_lost(shard, reason)

    def _open_timeout_reason(self, shard: _ShardState) -> str:
        silent = time.perf_counter() - shard.worker.last_seen
        return f"did not open the endpoint within {_OPEN_TIMEOUT:g} s" if silent > _OPEN_TIMEOUT else ""

    def _heartbeat_timeout_reason(self, shard: _ShardState) -> str:
        silent = time.perf_counter() - max(shard.worker.last_seen, self.start_at)
        return f"gave no sign of life for {_HEARTBEAT_TIMEOUT:g} s" if silent > _HEARTBEAT_TIMEOUT else ""

    # -- listening ---------------------------------------------------------------------------------------------------

    def _on_message(self, shard: _ShardState, message: Any) -> None:
        if shard.is_finished:
            return
        recording = self.task.run_writer
        match message:
            case None:
                self._mark_lost(shard, shard.worker.lost_reason)
            case Ready():
                shard.is_ready = True
            case WindowClosed():
                self.windows.add(shard.index, message.window)
            case SampleBatch():
                recording.sample_writer(shard.file_suffix).write_samples(np.frombuffer(message.samples, dtype=SAMPLE))
            case ErrorCodeDefined():
                recording.sample_writer(shard.file_suffix).write_error_code(message.error_code)
            case ErrorCounts():
                shard.errors, shard.completed = message.errors, message.completed
                totals = sum(p.errors for p in self.shards), sum(p.completed for p in self.shards)
                if self.error_limit.is_reached(*totals):
                    self._stop_all("errors")
            case ShardCompleted():
                shard.completion = message
                self.windows.remove_worker(shard.index)
                if message.stop_reason == "errors":
                    self._stop_all("errors")
            case ShardFailed():
                shard.failure = _to_exception(message)
                self._stop_all("failed")

    def _mark_lost(self, shard: _ShardState, reason: str) -> None:
        shard.lost_reason = reason
        shard.lost_at = max(0.0, time.perf_counter() - self.start_at)
        self.windows.remove_worker(shard.index)
        self.log(f"{shard.worker.connection.name} was lost: it {reason}")

    def _on_window(self, window: Window) -> None:
        self.window_counts.append([window.count(column) for column in COMPLETED_CATEGORIES])
        self.task.on_window(window)

    # -- joining -----------------------------------------------------------------------------------------------------

    def _merge_results(self) -> Run:
        """Return what all of them did as one run."""
        merged = [self._worker_report(part) for part in self.shards]
        workers = tuple(worker for worker, _ in merged)
        completions = [part.completion for part in self.shards if part.completion is not None]
        counted = [end.measurement_start for end in completions if end.tally.counts.total()]
        step = self.task.step
        return Run(
            step=step,
            started=min((end.started for end in completions), default=time.time()),
            duration=max((end.duration for end in completions), default=max(part.lost_at for part in self.shards)),
            stop_reason=self._overall_stop_reason(),
            scheduled=sum(worker.scheduled for worker in workers),
            tally=merge.merge_tallies([tally for _, tally in merged]),
            window_counts=np.array(self.window_counts, dtype=np.int64).reshape(-1, len(COMPLETED_CATEGORIES)),
            measurement_start=min(counted, default=step.warmup),
            generator_stats=merge.merge_generator_stats(
                [worker.generator_stats for worker in workers if not worker.lost_reason]
            ),
            workers=workers,
        )

    def _worker_report(self, shard: _ShardState) -> tuple[WorkerReport, Tally]:
        mate = shard.worker
        if shard.completion is not None:
            completion = shard.completion
            worker = WorkerReport(
                mate.connection.name,
                completion.generator_stats,
                completion.scheduled,
                completion.stop_reason,
                completion.start_delay,
                mate.clock_uncertainty,
                duplicate_starts=mate.connection.duplicate_starts,
            )
            return worker, completion.tally
        if shard.is_cancelled:
            return WorkerReport(mate.connection.name, stop_reason=self.stop_reason), Tally()
        recorded, lost, unsent = self._recover_lost_shard(shard)
        tally = Tally()
        for samples in (recorded, lost):
            tally.record_samples(samples, with_response=isinstance(shard.step.load, OpenLoop))
        worker = WorkerReport(
            mate.connection.name,
            scheduled=len(recorded) + len(lost),
            stop_reason="lost",
            clock_uncertainty=mate.clock_uncertainty,
            lost_reason=shard.lost_reason,
            unsent=unsent,
            duplicate_starts=mate.connection.duplicate_starts,
        )
        return worker, tally

    def _recover_lost_shard(self, shard: _ShardState) -> tuple[Any, Any, int]:
        """Read what a lost worker left, and write down what went with it."""
        recording, requests = self.task.run_writer, self.task.requests
        recorded, _ = read_samples(recording.directory / f"samples{shard.file_suffix}.bin")
        sent = None  # what came over a network is some time old, and bounds nothing
        if not shard.is_started:
            sent = 0
        elif shard.counter_file is not None:
            (sent,) = SENT_COUNTER.unpack(shard.counter_file.read_bytes())
        lost, unsent = reconstruct_lost_samples(
            shard.step,
            recorded,
            sent=sent,
            lost_at=shard.lost_at,
            request_sequence=request_sequence(self.task.seed, len(requests)),
            body_sizes=[len(request.body) for request in requests],
        )
        if len(lost):
            file = recording.sample_writer(f"{shard.file_suffix}-lost")
            file.write_samples(lost)
            file.close()
        return recorded, lost, unsent

    def _overall_stop_reason(self) -> str:
        reasons = {part.completion.stop_reason for part in self.shards if part.completion is not None}
        if self.stop_reason in ("errors", "stop"):
            return self.stop_reason
        order = ("errors", "duration", "schedule", "count", "stop")
        return next((reason for reason in order if reason in reasons), "lost")


def _to_exception(message: ShardFailed) -> LoadgenError:
    """Return a worker's error as it was raised there."""
    error_type = getattr(errors, message.error_type, InternalError)
    error: LoadgenError = error_type(message.message, hint=message.hint, details=message.details)
    return error

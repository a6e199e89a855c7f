"""The coordinator: executes one step on several workers, one shard each, from a common start.

The shard of a lost worker is not reassigned: the requests it had started are recorded as `lost_with_worker`, the others
are counted as unsent, and the run is INVALID. The workers measure; the coordinator adds up and computes no latency.
"""

import asyncio
import itertools
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
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

_START_LEAD_TIME = 0.05  # seconds from `Start` to the start, in addition to the delay of the slowest connection
_OPEN_TIMEOUT = 180.0  # seconds for a worker to open the endpoint
_HEARTBEAT_TIMEOUT = 30.0  # seconds without a message from a worker; it closes a window each second
_POLL_INTERVAL = 1.0  # seconds between two checks for silent workers


@asynccontextmanager
async def open_coordinator(
    connections: Sequence[Any], requests: Sequence[Request], log: Callable[[str], None]
) -> AsyncIterator["Coordinator"]:
    """Open a coordinator for connected workers.

    Args:
        connections: one `WorkerConnection` for each worker.
        requests: the payloads.
        log: receives progress messages.

    Raises:
        LoadgenError: a worker runs another version, or did not start.
    """
    with TemporaryDirectory(prefix="loadgen-") as scratch:
        async with open_workers(connections, requests, log) as workers:
            yield Coordinator(workers, Path(scratch), log)


class Coordinator:
    """A `WorkerPool` of several workers; made by `open_coordinator`."""

    is_local = False

    def __init__(self, workers: Sequence[WorkerHandle], scratch: Path, log: Callable[[str], None]) -> None:
        self._workers = workers
        self._scratch = scratch
        self._log = log
        self._step_ids = itertools.count(1)

    async def run_step(self, task: StepTask) -> Run:
        """Execute one step on every worker that is not lost.

        Raises:
            ResourceError: every worker is lost.
            LoadgenError: a worker could not open the endpoint, or not write its samples.
        """
        alive = [worker for worker in self._workers if not worker.lost_reason]
        lost = [f"{worker.connection.name} {worker.lost_reason}" for worker in self._workers if worker.lost_reason]
        if not alive:
            raise ResourceError("every worker was lost", hint="run again", details=lost)
        if lost:
            self._log(f"continuing with {len(alive)} of {len(self._workers)} workers; lost: {', '.join(lost)}")
        step_id = next(self._step_ids)
        shards = [
            _ShardState(
                index,
                worker,
                step,
                self._scratch / f"{step_id}-{index}.sent" if worker.connection.shares_filesystem else None,
            )
            for index, (worker, step) in enumerate(zip(alive, shard_step(task.step, len(alive)), strict=False))
        ]
        return await _StepCoordinator(step_id, task, shards, self._log).run()


@dataclass(slots=True)
class _ShardState:
    """One shard, its worker, and what is known of both."""

    index: int
    worker: WorkerHandle
    step: Step
    counter_file: Path | None  # holds the number of requests sent, readable after the worker is gone
    is_ready: bool = False
    is_started: bool = False
    is_cancelled: bool = False  # stopped before `Start`: it sent nothing
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
    """One step during its execution on several workers."""

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
        """Prepare, start and await every shard, and return the run; lost workers are part of it."""
        for shard in self.shards:
            shard.worker.handlers[self.step_id] = partial(self._enqueue, shard)
        stop_task = asyncio.create_task(self._stop_on_event())
        try:
            await self._start_shards()
            await self._wait_until(lambda shard: shard.is_finished, self._heartbeat_timeout_reason)
            for shard in self.shards:
                await shard.worker.sync_clock()
        finally:
            stop_task.cancel()
            for shard in self.shards:
                shard.worker.handlers.pop(self.step_id, None)
                if not shard.is_finished:
                    shard.worker.connection.send(Stop(self.step_id))
            await asyncio.to_thread(self.task.run_writer.close)
        failures = [shard.failure for shard in self.shards if shard.failure is not None]
        if failures:
            raise failures[0]
        return await asyncio.to_thread(self._merge_results)

    # -- to the workers ----------------------------------------------------------------------------------------------

    async def _start_shards(self) -> None:
        """Send the shards, wait until every worker has opened the endpoint, and send the common start."""
        target = self.task.worker_target()
        for shard in self.shards:
            if shard.counter_file is not None:
                shard.counter_file.write_bytes(bytes(SENT_COUNTER.size))
            if shard.worker.lost_reason:
                self._mark_lost(shard, shard.worker.lost_reason)
            shard.worker.last_seen = time.perf_counter()
            shard.worker.connection.send(self._prepare_message(shard, target))
        await self._wait_until(lambda shard: shard.is_ready or shard.is_finished, self._open_timeout_reason)
        if self.stop_reason:
            return
        slowest = max(shard.worker.clock_uncertainty for shard in self.shards)
        self.start_at = time.perf_counter() + _START_LEAD_TIME + 4 * slowest
        for shard in self.shards:
            if shard.is_ready and not shard.is_finished:
                shard.is_started = True
                shard.worker.connection.send(Start(self.step_id, self.start_at + shard.worker.clock_offset))

    def _prepare_message(self, shard: _ShardState, target: Any) -> PrepareShard:
        task = self.task
        return PrepareShard(
            self.step_id,
            shard.step,
            target,
            task.identity,
            task.seed,
            task.timeout,
            task.timeout,
            task.grace,
            str(task.run_writer.directory.resolve()) if shard.worker.connection.shares_filesystem else "",
            shard.file_suffix,
            str(shard.counter_file or ""),
        )

    async def _stop_on_event(self) -> None:
        await self.task.stop.wait()
        self._stop_all("stop")

    def _stop_all(self, reason: str) -> None:
        """Stop the load on every worker; only the first reason is recorded."""
        if not self.stop_reason:
            self.stop_reason = reason
            for shard in self.shards:
                if not shard.is_finished:
                    shard.worker.connection.send(Stop(self.step_id))
                    shard.is_cancelled = not shard.is_started

    async def _wait_until(
        self, condition: Callable[[_ShardState], bool], find_loss: Callable[[_ShardState], str]
    ) -> None:
        """Handle messages until the condition holds for every shard.

        Args:
            condition: tells whether to wait for a shard no longer.
            find_loss: returns why a shard must be given up; empty to go on waiting for it.
        """
        last_check = time.perf_counter()
        while not all(condition(shard) for shard in self.shards):
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
        return f"sent no message for {_HEARTBEAT_TIMEOUT:g} s" if silent > _HEARTBEAT_TIMEOUT else ""

    # -- from the workers --------------------------------------------------------------------------------------------

    def _enqueue(self, shard: _ShardState, message: Any) -> None:
        self.inbox.put_nowait((shard, message))

    def _on_message(self, shard: _ShardState, message: Any) -> None:
        if shard.is_finished:
            return
        run_writer = self.task.run_writer
        match message:
            case None:  # the worker is gone
                self._mark_lost(shard, shard.worker.lost_reason)
            case Ready():
                shard.is_ready = True
            case WindowClosed():
                self.windows.add(shard.index, message.window)
            case SampleBatch():
                run_writer.sample_writer(shard.file_suffix).write_samples(np.frombuffer(message.samples, dtype=SAMPLE))
            case ErrorCodeDefined():
                run_writer.sample_writer(shard.file_suffix).write_error_code(message.error_code)
            case ErrorCounts():
                shard.errors, shard.completed = message.errors, message.completed
                errors, completed = sum(s.errors for s in self.shards), sum(s.completed for s in self.shards)
                if self.error_limit.is_reached(errors, completed):
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
        self.log(f"lost worker {shard.worker.connection.name}: it {reason}")

    def _on_window(self, window: Window) -> None:
        self.window_counts.append([window.count(category) for category in COMPLETED_CATEGORIES])
        self.task.on_window(window)

    # -- the run -----------------------------------------------------------------------------------------------------

    def _merge_results(self) -> Run:
        """Return the run of the whole step."""
        reports = [self._worker_report(shard) for shard in self.shards]
        workers = tuple(worker for worker, _ in reports)
        completions = [shard.completion for shard in self.shards if shard.completion is not None]
        starts = [done.measurement_start for done in completions if done.tally.counts.total()]
        step = self.task.step
        return Run(
            step=step,
            started=min((done.started for done in completions), default=time.time()),
            duration=max((done.duration for done in completions), default=max(s.lost_at for s in self.shards)),
            stop_reason=self._overall_stop_reason(),
            scheduled=sum(worker.scheduled for worker in workers),
            tally=merge.merge_tallies([tally for _, tally in reports]),
            window_counts=np.array(self.window_counts, dtype=np.int64).reshape(-1, len(COMPLETED_CATEGORIES)),
            measurement_start=min(starts, default=step.warmup),
            generator_stats=merge.merge_generator_stats(
                [worker.generator_stats for worker in workers if not worker.lost_reason]
            ),
            workers=workers,
        )

    def _worker_report(self, shard: _ShardState) -> tuple[WorkerReport, Tally]:
        name, duplicate_starts = shard.worker.connection.name, shard.worker.connection.duplicate_starts
        if shard.completion is not None:
            completion = shard.completion
            report = WorkerReport(
                name,
                completion.generator_stats,
                completion.scheduled,
                completion.stop_reason,
                completion.start_delay,
                shard.worker.clock_uncertainty,
                duplicate_starts=duplicate_starts,
            )
            return report, completion.tally
        if shard.is_cancelled:
            return WorkerReport(name, stop_reason=self.stop_reason), Tally()
        recorded, lost, unsent = self._recover_lost_shard(shard)
        tally = Tally()
        for samples in (recorded, lost):
            tally.record_samples(samples, with_response=isinstance(shard.step.load, OpenLoop))
        report = WorkerReport(
            name,
            scheduled=len(recorded) + len(lost),
            stop_reason="lost",
            clock_uncertainty=shard.worker.clock_uncertainty,
            lost_reason=shard.lost_reason,
            unsent=unsent,
            duplicate_starts=duplicate_starts,
        )
        return report, tally

    def _recover_lost_shard(self, shard: _ShardState) -> tuple[Any, Any, int]:
        """Return a lost worker's samples, the samples of requests lost with it, and the number of unsent requests.

        Writes the samples of the lost requests to the run's directory.
        """
        run_writer, requests = self.task.run_writer, self.task.requests
        recorded, _ = read_samples(run_writer.directory / f"samples{shard.file_suffix}.bin")
        sent = None  # unknown: the last message over a network may be older than the last request
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
            sample_writer = run_writer.sample_writer(f"{shard.file_suffix}-lost")
            sample_writer.write_samples(lost)
            sample_writer.close()
        return recorded, lost, unsent

    def _overall_stop_reason(self) -> str:
        reasons = {shard.completion.stop_reason for shard in self.shards if shard.completion is not None}
        if self.stop_reason in ("errors", "stop"):
            return self.stop_reason
        order = ("errors", "duration", "schedule", "count", "stop")
        return next((reason for reason in order if reason in reasons), "lost")


def _to_exception(message: ShardFailed) -> LoadgenError:
    """Return the exception that the worker raised."""
    error_type = getattr(errors, message.error_type, InternalError)
    error: LoadgenError = error_type(message.message, hint=message.hint, details=message.details)
    return error

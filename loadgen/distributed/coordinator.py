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
from loadgen.distributed.protocol import Batch, Ended, Erred, Failed, Go, Halt, Named, Order, Ready, Seen
from loadgen.distributed.sharding import Windows, divide, lost_with
from loadgen.distributed.worker import COUNTER
from loadgen.distributed.worker_handle import Mate, introduced
from loadgen.engine import engine
from loadgen.errors import InternalError, LoadgenError, ResourceError
from loadgen.execution.executor import Assignment
from loadgen.measurement import merge
from loadgen.measurement.run import Run, Worker
from loadgen.measurement.sample import ANSWERED, SAMPLE
from loadgen.measurement.tally import Tally, Window
from loadgen.results.reader import read_samples
from loadgen.workload.load import OpenLoop
from loadgen.workload.request import Request
from loadgen.workload.step import ErrorLimit, Step

_LEAD = 0.05  # seconds between the word and the start, on top of the way to the farthest worker
_READY = 180.0  # seconds until a worker has opened the endpoint
_SILENCE = 30.0  # a worker closes a window each second: one that is silent so long is lost
_LOOK = 1.0


@asynccontextmanager
async def team(
    links: Sequence[Any], requests: Sequence[Request], say: Callable[[str], None]
) -> AsyncIterator["ShardTeam"]:
    """Make a team of workers that can be reached.

    Raises:
        LoadgenError: they are not what we are, or did not start.
    """
    with TemporaryDirectory(prefix="loadgen-") as scratch:
        async with introduced(links, requests, say) as mates:
            yield ShardTeam(mates, Path(scratch), say)


class ShardTeam:
    """Workers that are ready to work; made by `team`."""

    is_here = False

    def __init__(self, mates: Sequence[Mate], scratch: Path, say: Callable[[str], None]) -> None:
        self._mates = mates
        self._scratch = scratch
        self._say = say
        self._numbers = itertools.count(1)

    async def execute(self, assignment: Assignment) -> Run:
        """Execute one step on every worker that is left.

        Raises:
            ResourceError: none is left.
            LoadgenError: a worker could not open the endpoint, or not keep what it recorded.
        """
        present = [mate for mate in self._mates if not mate.lost]
        if not present:
            fates = [f"{mate.link.name} {mate.lost}" for mate in self._mates]
            raise ResourceError("no worker is left", hint="run again", details=fates)
        if len(present) < len(self._mates):
            gone = ", ".join(f"{mate.link.name} {mate.lost}" for mate in self._mates if mate.lost)
            self._say(f"going on with {len(present)} of {len(self._mates)} workers: {gone}")
        shards = divide(assignment.step, len(present))
        number = next(self._numbers)
        parts = [
            _Part(index, mate, shard, self._scratch / f"{number}-{index}.sent" if mate.link.shares_disk else None)
            for index, (mate, shard) in enumerate(zip(present, shards, strict=False))
        ]
        return await _Execution(number, assignment, parts, self._say).carry_out()


@dataclass(slots=True)
class _Part:
    """One worker's share of a step."""

    index: int
    mate: Mate
    step: Step
    counter: Path | None  # where the number of requests handed on can be read, whatever becomes of the worker
    is_ready: bool = False
    was_told: bool = False
    is_released: bool = False  # let go before it was told to begin: it sent nothing
    ended: Ended | None = None
    failure: LoadgenError | None = None
    lost: str = ""
    died: float = 0.0
    errors: int = 0
    answers: int = 0

    @property
    def is_settled(self) -> bool:
        return self.ended is not None or self.failure is not None or bool(self.lost) or self.is_released

    @property
    def suffix(self) -> str:
        return f"-{self.index + 1:02d}"


class _Execution:
    """One step while several workers carry it out."""

    def __init__(self, number: int, assignment: Assignment, parts: Sequence[_Part], say: Callable[[str], None]) -> None:
        self.number = number
        self.assignment = assignment
        self.parts = parts
        self.say = say
        self.inbox: asyncio.Queue[tuple[_Part, Any]] = asyncio.Queue()
        self.windows = Windows(len(parts), self._on_window)
        self.per_window: list[list[int]] = []
        self.error_limit = assignment.step.error_limit or ErrorLimit()
        self.ended_by = ""
        self.start = math.inf

    async def carry_out(self) -> Run:
        """Have every worker get ready, begin at one instant and end; return the run, whoever was lost."""
        for part in self.parts:
            part.mate.inboxes[self.number] = lambda _, message, part=part: self.inbox.put_nowait((part, message))  # type: ignore[misc]  # mypy has no type for it
        stopping = asyncio.create_task(self._stop())
        try:
            await self._begin()
            await self._settled(lambda part: part.is_settled, self._silent)
            for part in self.parts:
                await part.mate.align()
        finally:
            stopping.cancel()
            for part in self.parts:
                part.mate.inboxes.pop(self.number, None)
                if not part.is_settled:
                    part.mate.link.send(Halt(self.number))
            await asyncio.to_thread(self.assignment.recording.close)
        failures = [part.failure for part in self.parts if part.failure is not None]
        if failures:
            raise failures[0]
        return await asyncio.to_thread(self._joined)

    # -- directing ---------------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Hand out the shards, wait until the endpoint is open everywhere, and give the word."""
        target = self.assignment.elsewhere()
        for part in self.parts:
            if part.counter is not None:
                part.counter.write_bytes(bytes(COUNTER.size))
            if part.mate.lost:
                self._lose(part, part.mate.lost)
            part.mate.heard = time.perf_counter()
            part.mate.link.send(self._order(part, target))
        await self._settled(lambda part: part.is_ready or part.is_settled, self._not_ready)
        if self.ended_by:
            return
        self.start = time.perf_counter() + _LEAD + 4 * max(part.mate.clock_bound for part in self.parts)
        for part in self.parts:
            if part.is_ready and not part.is_settled:
                part.was_told = True
                part.mate.link.send(Go(self.number, self.start + part.mate.offset))

    def _order(self, part: _Part, target: Any) -> Order:
        assignment = self.assignment
        return Order(
            self.number,
            part.step,
            target,
            assignment.identity,
            assignment.seed,
            assignment.timeout,
            assignment.timeout,
            assignment.grace,
            str(assignment.recording.directory.resolve()) if part.mate.link.shares_disk else "",
            part.suffix,
            str(part.counter or ""),
        )

    async def _stop(self) -> None:
        await self.assignment.stop.wait()
        self._end("stop")

    def _end(self, reason: str) -> None:
        """Have every worker send no more; the first reason is the one that is told."""
        if not self.ended_by:
            self.ended_by = reason
            for part in self.parts:
                if not part.is_settled:
                    part.mate.link.send(Halt(self.number))
                    part.is_released = not part.was_told

    async def _settled(self, condition: Callable[[_Part], bool], watch: Callable[[_Part], str]) -> None:
        """Take messages until the condition holds for every part; look now and then for one that is silent."""
        looked = time.perf_counter()
        while not all(condition(part) for part in self.parts):
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    self._take(*await self.inbox.get())
            if time.perf_counter() - looked < _LOOK:
                continue
            looked = time.perf_counter()
            for part in self.parts:
                if not condition(part) and (why := watch(part)):
                    part.mate.link.cut()
                    self._lose(part, why)

    def _not_ready(self, part: _Part) -> str:
        silent = time.perf_counter() - part.mate.heard
        return f"did not open the endpoint within {_READY:g} s" if silent > _READY else ""

    def _silent(self, part: _Part) -> str:
        silent = time.perf_counter() - max(part.mate.heard, self.start)
        return f"gave no sign of life for {_SILENCE:g} s" if silent > _SILENCE else ""

    # -- listening ---------------------------------------------------------------------------------------------------

    def _take(self, part: _Part, message: Any) -> None:
        if part.is_settled:
            return
        recording = self.assignment.recording
        match message:
            case None:
                self._lose(part, part.mate.lost)
            case Ready():
                part.is_ready = True
            case Seen():
                self.windows.add(part.index, message.window)
            case Batch():
                recording.part(part.suffix).samples(np.frombuffer(message.samples, dtype=SAMPLE))
            case Named():
                recording.part(part.suffix).code(message.code)
            case Erred():
                part.errors, part.answers = message.errors, message.answers
                totals = sum(p.errors for p in self.parts), sum(p.answers for p in self.parts)
                if self.error_limit.is_reached(*totals):
                    self._end("errors")
            case Ended():
                part.ended = message
                self.windows.leave(part.index)
                if message.ended_by == "errors":
                    self._end("errors")
            case Failed():
                part.failure = _error(message)
                self._end("failed")

    def _lose(self, part: _Part, why: str) -> None:
        part.lost = why
        part.died = max(0.0, time.perf_counter() - self.start)
        self.windows.leave(part.index)
        self.say(f"{part.mate.link.name} was lost: it {why}")

    def _on_window(self, window: Window) -> None:
        self.per_window.append([window.count(column) for column in ANSWERED])
        self.assignment.on_window(window)

    # -- joining -----------------------------------------------------------------------------------------------------

    def _joined(self) -> Run:
        """Return what all of them did as one run."""
        joined = [self._worker(part) for part in self.parts]
        workers = tuple(worker for worker, _ in joined)
        ends = [part.ended for part in self.parts if part.ended is not None]
        counted = [end.measured_from for end in ends if end.tally.counts.total()]
        step = self.assignment.step
        return Run(
            step=step,
            started=min((end.started for end in ends), default=time.time()),
            duration=max((end.duration for end in ends), default=max(part.died for part in self.parts)),
            ended_by=self._reason(),
            scheduled=sum(worker.scheduled for worker in workers),
            tally=merge.add_tallies([tally for _, tally in joined]),
            per_window=np.array(self.per_window, dtype=np.int64).reshape(-1, len(ANSWERED)),
            measured_from=min(counted, default=step.warmup),
            watch=merge.worst([worker.watch for worker in workers if not worker.lost]),
            workers=workers,
        )

    def _worker(self, part: _Part) -> tuple[Worker, Tally]:
        mate = part.mate
        if part.ended is not None:
            end = part.ended
            worker = Worker(
                mate.link.name,
                end.watch,
                end.scheduled,
                end.ended_by,
                end.late,
                mate.clock_bound,
                repeats=mate.link.repeats,
            )
            return worker, end.tally
        if part.is_released:
            return Worker(mate.link.name, ended_by=self.ended_by), Tally()
        recorded, lost, unsent = self._remains(part)
        tally = Tally()
        for samples in (recorded, lost):
            tally.fold(samples, response=isinstance(part.step.load, OpenLoop))
        worker = Worker(
            mate.link.name,
            scheduled=len(recorded) + len(lost),
            ended_by="lost",
            clock_bound=mate.clock_bound,
            lost=part.lost,
            unsent=unsent,
            repeats=mate.link.repeats,
        )
        return worker, tally

    def _remains(self, part: _Part) -> tuple[Any, Any, int]:
        """Read what a lost worker left, and write down what went with it."""
        recording, requests = self.assignment.recording, self.assignment.requests
        recorded, _ = read_samples(recording.directory / f"samples{part.suffix}.bin")
        sent = None  # what came over a network is some time old, and bounds nothing
        if not part.was_told:
            sent = 0
        elif part.counter is not None:
            (sent,) = COUNTER.unpack(part.counter.read_bytes())
        lost, unsent = lost_with(
            part.step,
            recorded,
            sent=sent,
            died=part.died,
            choices=engine.choices(self.assignment.seed, len(requests)),
            sizes=[len(request.body) for request in requests],
        )
        if len(lost):
            file = recording.part(f"{part.suffix}-lost")
            file.samples(lost)
            file.close()
        return recorded, lost, unsent

    def _reason(self) -> str:
        reasons = {part.ended.ended_by for part in self.parts if part.ended is not None}
        if self.ended_by in ("errors", "stop"):
            return self.ended_by
        order = ("errors", "duration", "schedule", "count", "stop")
        return next((reason for reason in order if reason in reasons), "lost")


def _error(message: Failed) -> LoadgenError:
    """Return a worker's error as it was raised there."""
    kind = getattr(errors, message.kind, InternalError)
    error: LoadgenError = kind(message.message, hint=message.hint, details=message.details)
    return error

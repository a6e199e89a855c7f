"""The rounds of one wave: a block of every step in each round, until the steps have ended or a policy ends them."""

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from loadgen.errors import InternalError
from loadgen.execution.executor import BlockPool, BlockRun
from loadgen.execution.step_runner import StartedStep, StepRunner
from loadgen.execution.stop_event import sleep_until
from loadgen.interfaces import Endpoint, Progress
from loadgen.measurement.round_policy import MeasuredStep
from loadgen.measurement.run import Run
from loadgen.results.reader import read_samples
from loadgen.results.writer import RunWriter
from loadgen.scenario.rounds import Rounds, round_order
from loadgen.workload.step import Step


@dataclass(slots=True)
class DeployedStep:
    """A step whose endpoint is in service.

    Args:
        number: its number in the plan.
        step: the step.
        endpoint: its endpoint.
        ready_at: the instant on the monotonic clock before which it must not be called.
    """

    number: int
    step: Step
    endpoint: Endpoint
    ready_at: float


@dataclass(slots=True)
class _StepInRounds:
    """A step with its state in the rounds."""

    deployed: DeployedStep
    started: StartedStep | None = None
    block_run: BlockRun | None = None
    stop_detail: str = ""
    run: Run | None = None  # once it was completed

    @property
    def stop_reason(self) -> str:
        return self.block_run.stop_reason if self.block_run is not None else ""

    def measured(self) -> MeasuredStep:
        if self.started is None or self.block_run is None:
            raise InternalError(f"step {self.deployed.number} was not measured in the first round")
        samples, _ = read_samples(self.started.task.run_writer.directory / "samples.bin")
        region = self.started.run_fields["region"]
        return MeasuredStep(self.deployed.step, samples, tuple(self.block_run.blocks), region, self.stop_reason)


class RoundsRunner:
    """Measures the steps of one wave in rounds.

    Args:
        rounds: block size, order and policy.
        steps: the steps of the wave that were deployed.
        completed_runs: runs of the same batch that an earlier process or wave completed, by step number.
        step_runner: starts and completes the steps.
        pool: executes the blocks.
        progress: receives messages.
        stop: ends the block in progress and the rounds when it is set.
    """

    def __init__(
        self,
        rounds: Rounds,
        steps: Sequence[DeployedStep],
        completed_runs: Mapping[int, Run],
        *,
        step_runner: StepRunner,
        pool: BlockPool,
        progress: Progress,
        stop: asyncio.Event,
    ) -> None:
        self._rounds = rounds
        self._steps = {deployed.number: _StepInRounds(deployed) for deployed in steps}
        self._completed_runs = completed_runs
        self._step_runner = step_runner
        self._pool = pool
        self._progress = progress
        self._stop = stop

    async def run(self) -> list[tuple[int, RunWriter, Run]]:
        """Measure the steps; return those that were started, with their numbers and runs."""
        async with AsyncExitStack() as stack:
            block_size, duration = 0, 0.0
            for round_number in itertools.count(1):
                open_steps = [number for number, step in self._steps.items() if not step.stop_reason]
                if not open_steps or self._stop.is_set():
                    break
                block_size = self._rounds.next_block_size(block_size, duration)
                begun = time.monotonic()
                for number in round_order(open_steps, round_number, self._rounds.seed):
                    await self._send_block(self._steps[number], block_size, round_number, stack)
                duration = time.monotonic() - begun
                if not self._stop.is_set():
                    self._apply_policy()
                    await self._complete_ended()
            for step in self._steps.values():
                if step.block_run is not None:
                    step.block_run.end("stop")  # unless it has ended
            await self._complete_ended()
        return [
            (number, step.started.task.run_writer, step.run)
            for number, step in self._steps.items()
            if step.started is not None and step.run is not None
        ]

    async def _send_block(self, step: _StepInRounds, size: int, round_number: int, stack: AsyncExitStack) -> None:
        if step.block_run is None:
            await sleep_until(step.deployed.ready_at, self._stop)
            if self._stop.is_set():
                return
            deployed = step.deployed
            step.started = await self._step_runner.start(deployed.number, deployed.step, deployed.endpoint)
            step.block_run = await stack.enter_async_context(self._pool.open_run(step.started.task))
        if step.started is None or self._stop.is_set():
            return
        run_writer = step.started.task.run_writer
        await step.block_run.send(block_size=size, round_number=round_number, on_block=run_writer.write_block)
        self._step_runner.add_new_spend(run_writer)

    def _apply_policy(self) -> None:
        """End the steps that the policy names."""
        if self._rounds.policy is None:
            return
        measured = {
            number: MeasuredStep(run.step, run.samples, run.blocks, run.region, run.stop_reason)
            for number, run in self._completed_runs.items()
            if not run.failure
        }
        measured |= {number: step.measured() for number, step in self._steps.items()}
        numbers = sorted(measured)
        for index, reason in self._rounds.policy.steps_to_end([measured[number] for number in numbers]).items():
            if not measured[numbers[index]].is_open:
                raise InternalError(f"the policy ended step {numbers[index]}, which has ended")
            step = self._steps[numbers[index]]
            if step.block_run is not None:
                step.block_run.end("decided")
                step.stop_detail = reason
                self._progress.log(f"{step.deployed.step.label}: not measured further: {reason}")

    async def _complete_ended(self) -> None:
        """Save the runs of the steps that have ended since the previous call, in the order of the plan."""
        for step in self._steps.values():
            if step.started is not None and step.block_run is not None and step.stop_reason and step.run is None:
                run = replace(step.block_run.finish(), stop_detail=step.stop_detail)
                step.run = await self._step_runner.complete(step.started, run)

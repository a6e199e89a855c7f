"""Steps measured in rounds against transports in this process: order, payloads, blocks, policies, limits and stops."""

import asyncio
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import numpy as np
import pytest

from loadgen import ClosedLoop, Emulated, Request, Scenario, ServerlessConfig, Step
from loadgen.errors import InternalError
from loadgen.execution.executor import LocalExecutor
from loadgen.execution.rounds_runner import DeployedStep, RoundsRunner
from loadgen.execution.step_runner import StepRunner
from loadgen.interfaces import Identity
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.results.directory import ResultsDirectory
from loadgen.results.reader import read_run
from loadgen.scenario.rounds import Rounds, round_order
from loadgen.workload.step import ErrorLimit
from tests.support.report_examples import manifest
from tests.support.scenario_runs import RecordingProgress
from tests.support.virtual_time import FAILED, FakeReply, FakeTransport

INSTANT = FakeReply(0.0)
REQUESTS = [Request(bytes([n])) for n in range(40)]
SIZES = (1024, 2048, 3072)


def steps_of(count=45, **options):
    return [Step(ServerlessConfig(mb), ClosedLoop(1, count=count), name=f"{mb} MB", **options) for mb in SIZES]


@dataclass
class FakeEndpoint:
    """An endpoint whose transport writes each call to a log that all endpoints share."""

    name: str
    log: list = field(repr=False)
    behave: object = lambda _n, _t: INSTANT
    deploy_duration: float = 1.0
    transport_name: str = "fake"
    transport_note: str = ""

    def __post_init__(self):
        self.calls = FakeTransport(self.behave)
        self.transport = self

    async def invoke(self, request):
        self.log.append((self.name, request.body))
        return await self.calls.invoke(request)


class FakeAccount:
    """Counts the calls of each endpoint, as the emulator's ledger does."""

    identity = Identity("null")

    def __init__(self, log):
        self._log = log

    async def server_counts(self, endpoint):
        return {"arrivals": sum(name == endpoint for name, _ in self._log)}


@dataclass
class ScriptedPolicy:
    """Ends the steps that the script names for each round, and records what it was given."""

    script: dict
    seen: list = field(default_factory=list)

    def steps_to_end(self, measured):
        self.seen.append([(m.step.name, len(m.samples), len(m.blocks), m.stop_reason) for m in measured])
        return self.script.get(len(self.seen), {})


@dataclass
class Measured:
    """What the rounds left: the runs as read from disk by step number, the log of calls, and the messages."""

    runs: dict
    log: list
    progress: RecordingProgress
    results: ResultsDirectory


def measure(
    tmp_path,
    steps=None,
    *,
    block_size=15,
    policy=None,
    max_duration=60.0,
    completed=None,
    behave=None,
    on_call=None,
    first=1,
):
    """Measure steps in rounds; `on_call(number of calls so far, stop)` is called with each call."""
    steps = steps_of() if steps is None else steps
    results = ResultsDirectory.create(tmp_path / "out", manifest("null"))
    progress = RecordingProgress()

    async def main():
        stop = asyncio.Event()

        class Log(list):
            def append(self, item):
                super().append(item)
                if on_call is not None:
                    on_call(len(self), stop)

        log = Log()
        account = FakeAccount(log)
        endpoints = {
            s.name: FakeEndpoint(s.name, log, (behave or {}).get(s.name, lambda _n, _t: INSTANT)) for s in steps
        }
        scenario = Scenario(Emulated(), REQUESTS, steps, seed=7)
        step_runner = StepRunner(
            *(scenario, account, results, progress, stop),
            grace=1.0,
            spend_limit=None,
            abort=lambda *_: stop.set(),
            add_cause=lambda _: None,
        )
        async with LocalExecutor().start(scenario.target, REQUESTS, progress.log) as pool:
            runner = RoundsRunner(
                Rounds(steps, block_size, seed=7, max_duration=max_duration, policy=policy),
                [DeployedStep(n, s, endpoints[s.name], 0.0) for n, s in enumerate(steps, first)],
                completed or {},
                step_runner=step_runner,
                pool=pool,
                progress=progress,
                stop=stop,
            )
            measured = await runner.run()
        return log, {number: read_run(writer.directory) for number, writer, _ in measured}

    log, runs = asyncio.run(main())
    return Measured(runs, log, progress, results)


def blocks_of_calls(log):
    """Return (endpoint, number of calls) of each uninterrupted series of calls."""
    return [(name, len(list(calls))) for name, calls in groupby(log, key=lambda call: call[0])]


def test_each_round_calls_every_step_once(tmp_path):
    """Three steps of 45 calls in blocks of 15 are called in the order of each round, 15 calls at a time."""
    measured = measure(tmp_path)
    expected = [f"{SIZES[n - 1]} MB" for r in (1, 2, 3) for n in round_order([1, 2, 3], r, 7)]

    # The last step of an odd round is the first of the next.
    merged = [(name, 15 * len(list(same))) for name, same in groupby(expected)]
    assert blocks_of_calls(measured.log) == merged


def test_every_step_is_sent_the_same_payloads(tmp_path):
    """Call k of each step has the same payload, whatever the order of the blocks."""
    log = measure(tmp_path).log
    sequences = [[body for name, body in log if name == f"{mb} MB"] for mb in SIZES]

    assert sequences[0] == sequences[1] == sequences[2]
    assert len(set(sequences[0])) > 20


def test_each_step_is_one_run(tmp_path):
    """Each step has one run whose blocks, samples and counts agree with the calls that its endpoint counted."""
    measured = measure(tmp_path, steps_of(50))

    assert sorted(measured.runs) == [1, 2, 3]
    for number, run in measured.runs.items():
        assert run.step.name == f"{SIZES[number - 1]} MB"
        assert (run.scheduled, run.count(OutcomeCategory.OK), run.stop_reason) == (50, 50, "count")
        assert [(b.round, b.first_seq, b.count) for b in run.blocks] == [
            (1, 0, 15),
            (2, 15, 15),
            (3, 30, 15),
            (4, 45, 5),
        ]
        assert run.samples["seq"].tolist() == list(range(50))
        assert (np.diff(run.samples["sent"]) >= 0).all()
        assert run.server_counts == {"arrivals": 50}
        assert run.data_errors == ()
    assert [run.step.name for run in measured.progress.finished_runs] == [f"{mb} MB" for mb in SIZES]


def test_blocks_of_different_steps_do_not_overlap(tmp_path):
    """On the wall clock, each block starts after the block before it has ended."""
    runs = measure(tmp_path).runs.values()
    spans = []
    for run in runs:
        real = run.started + run.real_elapsed(run.samples["done"], run.samples["seq"])
        ends = [real[run.samples["seq"] < b.first_seq + b.count].max() for b in run.blocks]
        spans += [(b.started, end) for b, end in zip(run.blocks, ends, strict=True)]
    spans.sort()

    assert len(spans) == 9
    assert all(end <= start + 1e-4 for (_, end), (start, _) in pairwise(spans))


def test_a_policy_ends_a_step(tmp_path):
    """A step that the policy names after the second round gets no further block; its run states the reason."""
    policy = ScriptedPolicy({2: {0: "cost above 2 USD"}})
    measured = measure(tmp_path, policy=policy)

    assert [measured.runs[n].scheduled for n in (1, 2, 3)] == [30, 45, 45]
    assert (measured.runs[1].stop_reason, measured.runs[1].stop_detail) == ("decided", "cost above 2 USD")
    assert (measured.runs[2].stop_reason, measured.runs[2].stop_detail) == ("count", "")
    assert "1024 MB: not measured further: cost above 2 USD" in measured.progress.messages
    assert policy.seen == [
        [("1024 MB", 15, 1, ""), ("2048 MB", 15, 1, ""), ("3072 MB", 15, 1, "")],
        [("1024 MB", 30, 2, ""), ("2048 MB", 30, 2, ""), ("3072 MB", 30, 2, "")],
        [("1024 MB", 30, 2, "decided"), ("2048 MB", 45, 3, "count"), ("3072 MB", 45, 3, "count")],
    ]


def test_a_policy_can_end_all_steps(tmp_path):
    """After a policy ended every step, no further round is begun."""
    measured = measure(tmp_path, policy=ScriptedPolicy({1: {0: "a", 1: "b", 2: "c"}}))

    assert len(measured.log) == 45
    assert [run.stop_detail for run in measured.runs.values()] == ["a", "b", "c"]


def test_a_policy_compares_with_runs_of_an_earlier_process(tmp_path):
    """Runs completed before a resume are passed to the policy in the plan's order, and are not repeated."""
    earlier = measure(tmp_path / "first", steps_of()[:1]).runs
    policy = ScriptedPolicy({1: {2: "slower than step 1"}})
    measured = measure(tmp_path / "second", steps_of()[1:], policy=policy, completed=earlier, first=2)

    assert policy.seen[0] == [("1024 MB", 45, 3, "count"), ("2048 MB", 15, 1, ""), ("3072 MB", 15, 1, "")]
    assert {n: run.scheduled for n, run in measured.runs.items()} == {2: 45, 3: 15}


def test_a_policy_that_ends_a_step_twice_is_a_bug(tmp_path):
    """The index of a step that has ended is refused, since the policy would have decided on nothing."""
    with pytest.raises(InternalError, match="step 1"):
        measure(tmp_path, policy=ScriptedPolicy({1: {0: "a"}, 2: {0: "a"}}))


def test_an_error_limit_ends_one_step(tmp_path):
    """A step of which each sixth call fails ends with its third failure, in the second block; the other steps go on."""
    behave = {"2048 MB": lambda n, _t: FakeReply(0.0, FAILED.status, FAILED.code) if n % 6 == 5 else INSTANT}
    measured = measure(tmp_path, steps_of(error_limit=ErrorLimit(count=3)), behave=behave)

    assert {n: (run.scheduled, run.stop_reason) for n, run in measured.runs.items()} == {
        1: (45, "count"),
        2: (18, "errors"),
        3: (45, "count"),
    }


@pytest.mark.parametrize(
    ("calls", "started"), [(7, 1), (20, 2), (50, 3)], ids=["first block", "second", "second round"]
)
def test_a_stop_keeps_what_was_measured(tmp_path, calls, started):
    """After a stop, each step that was called has a run with its calls so far; the others have none."""
    measured = measure(tmp_path, on_call=lambda count, stop: stop.set() if count == calls else None)
    counted = {name: sum(n == name for n, _ in measured.log) for name, _ in measured.log}

    assert len(measured.runs) == started
    assert {run.step.name: run.scheduled for run in measured.runs.values()} == counted
    assert {run.stop_reason for run in measured.runs.values()} == {"stop"}
    assert len(measured.log) <= calls + 1
    assert [path.name[:2] for path in sorted((tmp_path / "out" / "runs").iterdir())] == [
        f"{n:02}" for n in sorted(measured.runs)
    ]


def test_blocks_become_shorter_when_a_round_takes_too_long(tmp_path):
    """After a first round that is longer than allowed, each block has one call."""
    measured = measure(tmp_path, steps_of(20), max_duration=1e-9)

    assert [block.count for block in measured.runs[1].blocks] == [15, 1, 1, 1, 1, 1]

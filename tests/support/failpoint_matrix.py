"""The failpoint matrix: one run for each case, and what must hold after it.

After every case, followed by `cleanup` where the run was killed, nothing of the run is left in the account and every
unrelated resource still exists. `python -m bench.faults` tries the whole matrix.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from loadgen.aws.deployment.names_and_tags import CREATED_TAG, OWNER_TAG, RUN_TAG
from tests.support.failpoints import FAULTS, SIGNALS, Case
from tests.support.fork_server import ForkServer, run_concurrently
from tests.support.sandbox import OTHER_OWNER_ARN, OWNER_ARN, Sandbox, open_sandbox

VARIANTS = ("", "no journal", "no tags")
# Exit statuses of a run that met a fault or a signal and deleted everything.
_SIGNAL_STATUSES = {"SIGINT": {130}, "SIGTERM": {143}, "SIGKILL before": {-9}, "SIGKILL after": {-9}}
_CLEAN_STATUSES = {0, 69, 74, 75, 77, 78, 110}


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The outcome of a case; `violations` is empty if every guarantee held."""

    case: Case
    status: int
    violations: tuple[str, ...]


def matrix(calls: int) -> list[Case]:
    """Return every case for a run of so many AWS calls. Variants of `cleanup` apply to killed runs only."""
    cases = [Case(call, fault) for call in range(1, calls + 1) for fault in (*FAULTS, *SIGNALS)]
    cases += [
        Case(call, fault, variant)
        for call in range(1, calls + 1)
        for fault in SIGNALS
        if fault.startswith("SIGKILL")
        for variant in VARIANTS[1:]
    ]
    return cases


async def list_calls(directory: Path, fork_server: ForkServer) -> list[str]:
    """Return the AWS calls of a run without faults."""
    async with open_sandbox(directory, fork_server) as sandbox:
        child = sandbox.start(str(sandbox.write_scenario()), "--out", "out", "--quiet")
        sandbox.faults.child = child
        status = await sandbox.finish(child)
        assert status == 0, child.stderr.read_text()
        assert not sandbox.existing_resources()
        return list(sandbox.faults.calls)


async def run_case(case: Case, directory: Path, fork_server: ForkServer) -> CaseResult:
    """Run a case, clean up if the run was killed, and check what is left."""
    violations: list[str] = []
    async with open_sandbox(directory, fork_server) as sandbox:
        sandbox.create_lookalike_endpoints("another-still")
        sandbox.faults.case = case
        child = sandbox.start(str(sandbox.write_scenario()), "--out", "out", "--quiet")
        sandbox.faults.child = child
        status = await sandbox.finish(child)
        sandbox.faults.child = None
        expected = _SIGNAL_STATUSES.get(case.fault, _CLEAN_STATUSES)
        # A signal that arrives after the last decision of a run does not change its status.
        if status not in expected and not (case.fault.startswith("SIG") and status in (0, 110)):
            violations.append(f"status {status}")
        if "Traceback" in child.stderr.read_text("utf-8", "replace"):
            violations.append("a traceback")
        if case.fault.startswith("SIGKILL") or case.variant:
            violations += await _clean_up(sandbox, case)
        if left := sandbox.existing_resources():
            violations.append(f"left: {sorted(left)}")
        if lost := sandbox.deleted_unrelated_resources():
            violations.append(f"unrelated resources deleted: {sorted(lost)}")
    return CaseResult(case, status, tuple(violations))


async def run_cases(cases: Sequence[Case], directory: Path, fork_server: ForkServer) -> list[CaseResult]:
    """Run cases, several at a time, and return their results in order."""
    works = [partial(run_case, case, directory / str(number), fork_server) for number, case in enumerate(cases)]
    return await run_concurrently(works)


async def _clean_up(sandbox: Sandbox, case: Case) -> list[str]:
    """Run `cleanup` with the journal gone or the tags unreadable, as the case has it; return violations."""
    violations: list[str] = []
    run_id = sandbox.run_id()
    if not run_id:
        return violations
    now = datetime.now(UTC)
    tags = {RUN_TAG: run_id, OWNER_TAG: OTHER_OWNER_ARN, CREATED_TAG: now.isoformat()}
    sandbox.create_unrelated_endpoint("loadgen-same-run-other-owner", tags)
    old = (now - timedelta(hours=9)).isoformat()
    sandbox.create_unrelated_endpoint("loadgen-same-run-copied", tags | {OWNER_TAG: OWNER_ARN, CREATED_TAG: old})
    if case.variant == "no journal":
        (sandbox.directory / "out" / "journal.jsonl").unlink(missing_ok=True)
    sandbox.faults.is_denying_tags = case.variant == "no tags"
    before = sandbox.existing_resources()
    # Resources that name the run but do not agree are left alone and reported; without tags, none name it.
    expected = 0 if case.variant == "no tags" else 101
    status, _, stderr = await sandbox.run("cleanup", run_id, "--dry-run")
    if status != expected or sandbox.existing_resources() != before:
        violations.append(f"cleanup --dry-run: status {status}, or it changed something: {stderr[-300:]}")
    status, _, stderr = await sandbox.run("cleanup", run_id, "--yes")
    if status != expected:
        violations.append(f"cleanup: status {status}: {stderr[-300:]}")
    return violations

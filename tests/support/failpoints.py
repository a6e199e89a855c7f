"""Failpoints: one run of the command line against an emulator in this process, with one thing going wrong in it.

    python -m bench.faults      the matrix over every call

A case says at which AWS call (counted over the run) what happens: an error before or after the effect, five throttles,
a signal to the run before or after the effect. Afterwards what is left in the account is counted, bystanders apart.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from loadgen.aws.deployment.naming import CREATED_TAG, EXPIRES_TAG, OWNER_TAG, RUN_TAG
from loadgen.emulator.behaviour.profile import PROFILES
from loadgen.emulator.faults import Fault, FaultKind, Faults
from loadgen.emulator.server import Emulator, serve
from loadgen.emulator.settings import Settings
from tests.support.fork_server import Child, ForkServer

OWNER_ARN = "arn:aws:iam::123456789012:user/emulated"
_SCENARIO = """
from loadgen import ClosedLoop, Emulated, Request, Scenario, ServerlessConfig, Step

scenario = Scenario(
    Emulated(model="quick", url="{url}"),
    [Request(b"{canary}" * 4)],
    [Step(ServerlessConfig(m, 2), ClosedLoop(2, {load}), name=f"{{m}} MB") for m in {sizes}],
)
"""
CANARY = "payload-canary-7c1e"
# Throttled: a refusal that is no error. The others: as the answer is lost, before or after what was asked had happened.
FAULTS = ("error_before", "error_after", "throttle")
SIGNALS = ("SIGINT", "SIGTERM", "SIGKILL before", "SIGKILL after")
_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that goes wrong.

    Args:
        call: at which AWS call of the run, from 1; 0 for never.
        fault: one of FAULTS or SIGNALS.
        variant: what is missing when cleanup comes: "" for nothing, `no journal`, or `no tags`.
    """

    call: int
    fault: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.fault} at call {self.call}{f', {self.variant}' if self.variant else ''}"


class Failpoints(Faults):
    """Faults by the number of the call. While `child` is None nothing is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.case = Case(0, "")
        self.child: Child | None = None
        self.calls: list[str] = []
        self.is_denying_tags = False

    def __bool__(self) -> bool:
        return True

    def consume(self, operation: str, name: str) -> Fault | None:
        """Return the fault that this call meets, and send the run the signal that it must get."""
        if operation == "ListTags" and self.is_denying_tags:
            return Fault("", FaultKind.ERROR_BEFORE, status=400, code="AccessDeniedException", message="not authorized")
        if operation == "InvokeEndpoint" or self.child is None:
            return super().consume(operation, name)
        self.calls.append(operation)
        at, case = len(self.calls), self.case
        if case.fault == "throttle" and case.call <= at < case.call + 5:
            return Fault("", FaultKind.THROTTLE)
        if at != case.call:
            return super().consume(operation, name)
        if case.fault in SIGNALS:
            self.child.signal(getattr(signal, case.fault.partition(" ")[0]))
            # What the dead asked for happens, or does not: its connection is gone either way.
            return Fault("", FaultKind.ERROR_BEFORE) if case.fault == "SIGKILL before" else None
        return Fault("", FaultKind(case.fault))


@dataclass(slots=True)
class Sandbox:
    """An emulated account, a directory, and a way to start runs."""

    emulator: Emulator
    faults: Failpoints  # of the calls
    deployment_faults: Faults  # of what they begin, and of invocations
    directory: Path
    fork_server: ForkServer
    unrelated_resources: set[str] = field(default_factory=set)

    def environment(self) -> dict[str, str]:
        """Return what a run finds: a home of its own, and the emulator where AWS would be."""
        return {
            "HOME": str(self.directory),
            "XDG_STATE_HOME": str(self.directory / "state"),
            "AWS_ENDPOINT_URL": self.emulator.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIACANARY7C1EKEYID0",
            "AWS_SECRET_ACCESS_KEY": "secret-canary-7c1e",
            "AWS_SESSION_TOKEN": "token-canary-7c1e",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def write_scenario(self, *, load: str = "count=6", sizes: Sequence[int] = (1024, 2048)) -> Path:
        """Write the scenario and return its path."""
        path = self.directory / "scenario.py"
        path.write_text(_SCENARIO.format(url=self.emulator.url, canary=CANARY, load=load, sizes=list(sizes)))
        return path

    def start(self, *argv: str, **changes: str) -> Child:
        """Run `loadgen WORDS` here."""
        return self.fork_server.start(argv, self.directory, self.environment() | changes)

    async def finish(self, child: Child) -> int:
        """Wait until it is over and return its exit status, negative for a signal."""
        async with asyncio.timeout(_TIMEOUT):
            return await child.exit

    async def run(self, *argv: str, **changes: str) -> tuple[int, str, str]:
        """Run `loadgen WORDS` to its end, and return status, stdout and stderr."""
        child = self.start(*argv, **changes)
        status = await self.finish(child)
        return status, child.stdout.read_text("utf-8", "replace"), child.stderr.read_text("utf-8", "replace")

    async def wait_until(self, condition: Callable[[], object], within: float = 20.0) -> None:
        """Wait until a condition holds, looking at it often."""
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.002)

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        """Have the next call of an operation go wrong."""
        is_within = operation == "InvokeEndpoint" or kind in ("fail_deploy", "status_stuck")
        (self.deployment_faults if is_within else self.faults).add({"operation": operation, "kind": kind, **more})

    def arrivals(self) -> int:
        """Count the invocations that came in."""
        endpoints: Mapping[str, Any] = self.emulator.ledger.to_dict()["endpoints"]
        return sum(int(books["arrivals"]) for books in endpoints.values())

    def result(self) -> dict[str, Any]:
        """Read result.json."""
        read: dict[str, Any] = json.loads((self.directory / "out" / "result.json").read_text())
        return read

    def existing_resources(self) -> set[str]:
        """Name what the account holds beside the bystanders."""
        now, operations = self.emulator.clock(), self.emulator.control.operations
        endpoints = operations["ListEndpoints"]({"MaxResults": 100}, now) or {}
        configs = operations["ListEndpointConfigs"]({"MaxResults": 100}, now) or {}
        names = {f"endpoint {e['EndpointName']}" for e in endpoints["Endpoints"]}
        names |= {f"config {c['EndpointConfigName']}" for c in configs["EndpointConfigs"]}
        return names - self.unrelated_resources

    def deleted_unrelated_resources(self) -> set[str]:
        """Name the bystanders that are gone."""
        kept, self.unrelated_resources = self.unrelated_resources, set()
        try:
            return kept - self.existing_resources()
        finally:
            self.unrelated_resources = kept

    def create_unrelated_endpoint(self, name: str, tags: Mapping[str, str]) -> None:
        """Create an endpoint that is none of ours, however much it looks like it."""
        now, operations = self.emulator.clock(), self.emulator.control.operations
        tagged = [{"Key": key, "Value": value} for key, value in tags.items()]
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": "quick",
            "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1},
        }
        operations["CreateEndpointConfig"](
            {"EndpointConfigName": name, "ProductionVariants": [variant], "Tags": tagged}, now
        )
        operations["CreateEndpoint"]({"EndpointName": name, "EndpointConfigName": name, "Tags": tagged}, now)
        self.unrelated_resources |= {f"endpoint {name}", f"config {name}"}

    def create_lookalike_endpoints(self, run_id: str) -> None:
        """Create bystanders that share name, tag or owner with a run, never all of it."""
        now = datetime.now(UTC)

        def tags(run: str, owner: str, made: datetime) -> dict[str, str]:
            expires = made + timedelta(days=1)
            return {RUN_TAG: run, OWNER_TAG: owner, CREATED_TAG: made.isoformat(), EXPIRES_TAG: expires.isoformat()}

        self.create_unrelated_endpoint("loadgen-untagged", {})
        self.create_unrelated_endpoint("loadgen-other-run", tags("another", OWNER_ARN, now))
        self.create_unrelated_endpoint("loadgen-other-owner", tags(run_id, "arn:aws:iam::123456789012:user/else", now))
        self.create_unrelated_endpoint("loadgen-copied-tags", tags(run_id, OWNER_ARN, now - timedelta(hours=9)))
        self.create_unrelated_endpoint("ranker-prod", tags(run_id, OWNER_ARN, now))

    def run_id(self) -> str:
        """Return the id of the run in `out`; empty when it never came so far."""
        for name in ("manifest.json", "journal.jsonl"):
            path = self.directory / "out" / name
            if path.exists():
                said = json.loads(path.read_text().partition("\n")[0] if name.endswith("l") else path.read_text())
                return str(said.get("run_id") or said.get("run"))
        return ""


@asynccontextmanager
async def open_sandbox(
    directory: Path, fork_server: ForkServer, *, service: float = 0.0, deploy: float = 0.0, **settings: Any
) -> AsyncIterator[Sandbox]:
    """Set up an emulated account in which everything takes no time.

    Args:
        directory: for the scenario, its results and the user's state.
        fork_server: starts the runs.
        service: seconds that the model takes.
        deploy: seconds that a deployment takes.
        settings: of the emulator.
    """
    quick = replace(PROFILES["instant"], name="quick", cold_start=0.0, deploy_time=deploy)
    if service:
        quick = replace(quick, model_latency=((1024, service),))
    chosen: dict[str, Any] = {"models": {"quick": quick}, "time_scale": 1.0 if deploy else 1e6} | settings
    async with serve(Settings(**chosen)) as emulator:
        within, emulator.faults = emulator.faults, Failpoints()
        directory.mkdir(parents=True, exist_ok=True)
        yield Sandbox(emulator, emulator.faults, within, directory, fork_server)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What a case came to; `violations` is empty when all promises were kept."""

    case: Case
    status: int
    violations: tuple[str, ...]


async def list_calls(directory: Path, fork_server: ForkServer) -> list[str]:
    """Return the AWS calls of a run in which nothing goes wrong."""
    async with open_sandbox(directory, fork_server) as on:
        child = on.start(str(on.write_scenario()), "--out", "out", "--quiet")
        on.faults.child = child
        status = await on.finish(child)
        assert status == 0, child.stderr.read_text()
        assert not on.existing_resources()
        return list(on.faults.calls)


# What a run may end with when something went wrong on its way, and it still removed everything.
_SIGNAL_STATUSES = {"SIGINT": {130}, "SIGTERM": {143}, "SIGKILL before": {-9}, "SIGKILL after": {-9}}
_CLEAN_STATUSES = {0, 69, 74, 75, 77, 78, 110}


async def run_case(case: Case, directory: Path, fork_server: ForkServer) -> CaseResult:
    """Have a run meet a case, clean up if it was killed, and judge what is left."""
    wrong: list[str] = []
    async with open_sandbox(directory, fork_server) as on:
        on.create_lookalike_endpoints("another-still")
        on.faults.case = case
        child = on.start(str(on.write_scenario()), "--out", "out", "--quiet")
        on.faults.child = child
        status = await on.finish(child)
        on.faults.child = None
        stderr = child.stderr.read_text("utf-8", "replace")
        # A signal that comes after the last decision finds nothing to end: the run is as good as over.
        expected = _SIGNAL_STATUSES.get(case.fault, _CLEAN_STATUSES)
        if status not in expected and not (case.fault.startswith("SIG") and status in (0, 110)):
            wrong.append(f"status {status}")
        if "Traceback" in stderr:
            wrong.append("a traceback")
        if case.fault.startswith("SIGKILL") or case.variant:
            wrong += await _clean_up(on, case)
        if left := on.existing_resources():
            wrong.append(f"left: {sorted(left)}")
        if lost := on.deleted_unrelated_resources():
            wrong.append(f"bystanders removed: {sorted(lost)}")
    return CaseResult(case, status, tuple(wrong))


async def _clean_up(sandbox: Sandbox, case: Case) -> list[str]:
    """Run `cleanup` as the case has it: with the journal gone, or tags unreadable."""
    wrong: list[str] = []
    run_id = sandbox.run_id()
    if not run_id:
        return wrong
    for name in ("loadgen-other-owner", "loadgen-copied-tags", "ranker-prod"):
        assert f"endpoint {name}" in sandbox.unrelated_resources
    more = {
        RUN_TAG: run_id,
        OWNER_TAG: "arn:aws:iam::123456789012:user/else",
        CREATED_TAG: datetime.now(UTC).isoformat(),
    }
    sandbox.create_unrelated_endpoint("loadgen-same-run-other-owner", more)
    old = (datetime.now(UTC) - timedelta(hours=9)).isoformat()
    sandbox.create_unrelated_endpoint("loadgen-same-run-copied", more | {OWNER_TAG: OWNER_ARN, CREATED_TAG: old})
    if case.variant == "no journal":
        journal = sandbox.directory / "out" / "journal.jsonl"
        journal.unlink(missing_ok=True)
    sandbox.faults.is_denying_tags = case.variant == "no tags"
    before = sandbox.existing_resources()
    status, _, stderr = await sandbox.run("cleanup", run_id, "--dry-run")
    if status != 0 or sandbox.existing_resources() != before:
        wrong.append(f"cleanup --dry-run ended with {status}, or changed something: {stderr[-300:]}")
    status, _, stderr = await sandbox.run("cleanup", run_id, "--yes")
    if status != 0:
        wrong.append(f"cleanup ended with {status}: {stderr[-300:]}")
    return wrong


def parallel_cases() -> int:
    """Return how many cases to try at once: they mostly wait."""
    return 2 * (os.cpu_count() or 1)

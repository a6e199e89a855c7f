"""Sandbox: an emulated account, a directory, and runs of the command line that see nothing else.

Runs are processes of a fork server. The account can hold unrelated resources, which no run may delete.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from loadgen.aws.deployment.names_and_tags import CREATED_TAG, EXPIRES_TAG, OWNER_TAG, RUN_TAG
from loadgen.emulator.behaviour.profile import PROFILES
from loadgen.emulator.faults import Faults
from loadgen.emulator.server import Emulator, serve
from loadgen.emulator.settings import Settings
from tests.support.failpoints import Failpoints
from tests.support.fork_server import Child, ForkServer

OWNER_ARN = "arn:aws:iam::123456789012:user/emulated"
OTHER_OWNER_ARN = "arn:aws:iam::123456789012:user/else"
CANARY = "payload-canary-7c1e"
_TIMEOUT = 60.0
_SCENARIO = """
from loadgen import ClosedLoop, Emulated, Request, Scenario, ServerlessConfig, Step

scenario = Scenario(
    Emulated(model="quick", url="{url}"),
    [Request(b"{canary}" * 4)],
    [Step(ServerlessConfig(m, 2), ClosedLoop(2, {load}), name=f"{{m}} MB") for m in {sizes}],
)
"""


@dataclass(slots=True)
class Sandbox:
    """An emulated account, a directory, and a way to start runs.

    Args:
        emulator: the account.
        faults: of API calls.
        deployment_faults: of deployments and invocations.
        directory: working directory and home of the runs.
        fork_server: starts the runs.
        unrelated_resources: names of what belongs to no run.
    """

    emulator: Emulator
    faults: Failpoints
    deployment_faults: Faults
    directory: Path
    fork_server: ForkServer
    unrelated_resources: set[str] = field(default_factory=set)

    def environment(self) -> dict[str, str]:
        """Return the environment of a run: its own home, and the emulator in AWS's place."""
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
        """Start `loadgen ARGV`, with changes to the environment."""
        return self.fork_server.start(argv, self.directory, self.environment() | changes)

    async def finish(self, child: Child) -> int:
        """Wait for a run and return its exit status, negative for a signal."""
        async with asyncio.timeout(_TIMEOUT):
            return await child.exit

    async def run(self, *argv: str, **changes: str) -> tuple[int, str, str]:
        """Run `loadgen ARGV` and return status, stdout and stderr."""
        child = self.start(*argv, **changes)
        status = await self.finish(child)
        return status, child.stdout.read_text("utf-8", "replace"), child.stderr.read_text("utf-8", "replace")

    async def wait_until(self, condition: Callable[[], object], within: float = 20.0) -> None:
        """Poll a condition until it holds."""
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.002)

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        """Let the next call of an operation fail."""
        is_deployment = operation == "InvokeEndpoint" or kind in ("fail_deploy", "status_stuck")
        faults = self.deployment_faults if is_deployment else self.faults
        faults.add({"operation": operation, "kind": kind, **more})

    def arrivals(self) -> int:
        """Count the invocations that the emulator received."""
        endpoints: Mapping[str, Any] = self.emulator.ledger.to_dict()["endpoints"]
        return sum(int(counters["arrivals"]) for counters in endpoints.values())

    def result(self) -> dict[str, Any]:
        """Read result.json."""
        read: dict[str, Any] = json.loads((self.directory / "out" / "result.json").read_text())
        return read

    def run_id(self) -> str:
        """Return the id of the run in `out`; empty if the run ended before it wrote one."""
        for name in ("manifest.json", "journal.jsonl"):
            path = self.directory / "out" / name
            if path.exists():
                text = path.read_text()
                record = json.loads(text.partition("\n")[0] if name == "journal.jsonl" else text)
                return str(record["run_id"])
        return ""

    def existing_resources(self) -> set[str]:
        """Name what the account holds, unrelated resources excepted."""
        now, operations = self.emulator.clock(), self.emulator.control.operations
        endpoints = operations["ListEndpoints"]({"MaxResults": 100}, now) or {}
        configs = operations["ListEndpointConfigs"]({"MaxResults": 100}, now) or {}
        names = {f"endpoint {e['EndpointName']}" for e in endpoints["Endpoints"]}
        names |= {f"config {c['EndpointConfigName']}" for c in configs["EndpointConfigs"]}
        return names - self.unrelated_resources

    def deleted_unrelated_resources(self) -> set[str]:
        """Name the unrelated resources that are gone."""
        kept, self.unrelated_resources = self.unrelated_resources, set()
        try:
            return kept - self.existing_resources()
        finally:
            self.unrelated_resources = kept

    def create_unrelated_endpoint(self, name: str, tags: Mapping[str, str]) -> None:
        """Create an endpoint that belongs to no run of this sandbox."""
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
        """Create unrelated endpoints that share name, tag or owner with a run, never all of them."""
        now = datetime.now(UTC)

        def tags(run: str, owner: str, created: datetime) -> dict[str, str]:
            expires = created + timedelta(days=1)
            return {RUN_TAG: run, OWNER_TAG: owner, CREATED_TAG: created.isoformat(), EXPIRES_TAG: expires.isoformat()}

        self.create_unrelated_endpoint("loadgen-untagged", {})
        self.create_unrelated_endpoint("loadgen-other-run", tags("another", OWNER_ARN, now))
        self.create_unrelated_endpoint("loadgen-other-owner", tags(run_id, OTHER_OWNER_ARN, now))
        self.create_unrelated_endpoint("loadgen-copied-tags", tags(run_id, OWNER_ARN, now - timedelta(hours=9)))
        self.create_unrelated_endpoint("ranker-prod", tags(run_id, OWNER_ARN, now))


@asynccontextmanager
async def open_sandbox(
    directory: Path, fork_server: ForkServer, *, service: float = 0.0, deploy: float = 0.0, **settings: Any
) -> AsyncIterator[Sandbox]:
    """Open a sandbox in which deployments and calls take no time.

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
        deployment_faults, emulator.faults = emulator.faults, Failpoints()
        directory.mkdir(parents=True, exist_ok=True)
        yield Sandbox(emulator, emulator.faults, deployment_faults, directory, fork_server)

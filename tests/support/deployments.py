"""Fixture for tests of deployments: an emulator, an account in it, and a journal in memory."""

import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from loadgen.aws.deployment.endpoint import deploy_endpoint
from loadgen.aws.deployment.names_and_tags import tags
from loadgen.aws.deployment.resources import ResourceRegistry
from loadgen.aws.retry import RetryPolicy
from loadgen.aws.session import AwsConnectionConfig, Clients, open_clients
from loadgen.emulator.server import Emulator, Settings, serve
from loadgen.workload.serverless_config import ServerlessConfig

CONFIG = ServerlessConfig(2048, 4)
FAST = RetryPolicy(
    poll_interval=0.01,
    deploy_timeout=5.0,
    consistency_timeout=0.5,
    retry_timeout=1.0,
    create_settle_time=0.2,
    delete_timeout=2.0,
    outage_timeout=0.2,
)


@dataclass
class MemoryJournal:
    """A journal in memory."""

    entries: list[tuple[str, str, str]] = field(default_factory=list)

    def append(self, event: str, kind: str, name: str) -> None:
        self.entries.append((str(event), str(kind), name))


@dataclass
class DeploymentFixture:
    """An emulated account, its clients and its registry."""

    emulator: Emulator
    clients: Clients
    registry: ResourceRegistry
    journal: MemoryJournal

    def deploy(self, names: Any = None, *, retry_policy: RetryPolicy = FAST, model: str = "instant") -> Any:
        names = names or (f"loadgen-{n}" for n in itertools.count(1))
        given_tags = tags(run_id="r", owner="me", created=datetime(2026, 11, 22, tzinfo=UTC))
        rng = random.Random(1)
        return deploy_endpoint(
            self.clients.sagemaker,
            self.registry,
            iter(names),
            model=model,
            config=CONFIG,
            tags=given_tags,
            retry_policy=retry_policy,
            rng=rng,
        )

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        self.emulator.faults.add({"operation": operation, "kind": kind, **more})

    async def existing_resources(self) -> set[str]:
        """List the endpoints and configurations of the account."""
        endpoints = await self.clients.sagemaker.list_endpoints()
        configs = await self.clients.sagemaker.list_endpoint_configs()
        return {e["EndpointName"] for e in endpoints["Endpoints"]} | {
            "config " + c["EndpointConfigName"] for c in configs["EndpointConfigs"]
        }


@asynccontextmanager
async def deployment_fixture(**settings: Any) -> AsyncIterator[DeploymentFixture]:
    async with (
        serve(Settings(**({"time_scale": 10_000.0} | settings))) as emulator,
        open_clients(AwsConnectionConfig(emulator_url=emulator.url)) as clients,
    ):
        journal = MemoryJournal()
        yield DeploymentFixture(emulator, clients, ResourceRegistry(journal, region="us-east-1"), journal)

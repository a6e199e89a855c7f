"""A small world for tests of deployments: an emulator, an account that deploys there, and what it notes."""

import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from loadgen.aws.deployment.endpoint import deployed
from loadgen.aws.deployment.naming import tags
from loadgen.aws.deployment.resources import Holdings
from loadgen.aws.retry import Pace
from loadgen.aws.session import Access, Clients, open_clients
from loadgen.emulator.server import Emulator, Settings, serve
from loadgen.workload.serverless_config import ServerlessConfig

CONFIG = ServerlessConfig(2048, 4)
FAST = Pace(poll=0.01, deploy=5.0, visible=0.5, patience=1.0, settle=0.2, removal=2.0, outage=0.2)


@dataclass
class Noted:
    """A journal in memory."""

    entries: list[tuple[str, str, str]] = field(default_factory=list)

    def note(self, event: str, kind: str, name: str) -> None:
        self.entries.append((str(event), str(kind), name))


@dataclass
class World:
    """An emulated account and a way into it."""

    emulator: Emulator
    clients: Clients
    holdings: Holdings
    journal: Noted

    def deploy(self, names: Any = None, *, pace: Pace = FAST, model: str = "instant") -> Any:
        names = names or (f"loadgen-{n}" for n in itertools.count(1))
        given_tags = tags(run_id="r", owner="me", created=datetime(2026, 11, 22, tzinfo=UTC))
        rng = random.Random(1)
        return deployed(
            self.clients.sagemaker,
            self.holdings,
            iter(names),
            model=model,
            config=CONFIG,
            tags=given_tags,
            pace=pace,
            rng=rng,
        )

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        self.emulator.faults.add({"operation": operation, "kind": kind, **more})

    async def standing(self) -> set[str]:
        """Ask the account itself what it holds."""
        endpoints = await self.clients.sagemaker.list_endpoints()
        configs = await self.clients.sagemaker.list_endpoint_configs()
        return {e["EndpointName"] for e in endpoints["Endpoints"]} | {
            "config " + c["EndpointConfigName"] for c in configs["EndpointConfigs"]
        }


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    async with (
        serve(Settings(**({"time_scale": 10_000.0} | settings))) as emulator,
        open_clients(Access(emulator_url=emulator.url)) as clients,
    ):
        journal = Noted()
        yield World(emulator, clients, Holdings(journal, region="us-east-1"), journal)

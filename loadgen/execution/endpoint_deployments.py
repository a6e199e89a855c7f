"""The endpoints of one wave: deployed together, held until their steps are measured, then released."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadgen.interfaces import Endpoint
from loadgen.measurement.run import Run
from loadgen.results.writer import RunWriter
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step


@dataclass(slots=True)
class _EndpointLease:
    """An endpoint from its deployment to its removal."""

    config: ServerlessConfig | None
    steps: Sequence[tuple[int, Step]]  # with their numbers in the plan
    ready: "asyncio.Future[Endpoint]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    released: asyncio.Event = field(default_factory=asyncio.Event)
    ready_at: float = 0.0
    measured: list[tuple[int, RunWriter, Run]] = field(default_factory=list)

"""An AWS account, or what stands in for one: who we are there, what fits, and opening endpoints in it.

`AwsAccount` deploys a model and removes every trace of it; `StandingAccount` calls an endpoint that stands and changes
nothing. Which transport carries the requests is decided above, in the targets, and comes in as `Connect`.
"""

import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from loadgen.aws.cloudwatch import Interval, Patience, Reader
from loadgen.aws.deployment.deletion import Removal
from loadgen.aws.deployment.endpoint import deployed
from loadgen.aws.deployment.journal import Place
from loadgen.aws.deployment.naming import endpoint_name, tags
from loadgen.aws.deployment.resources import Existence, Holdings, Journal, Kind, NoJournal
from loadgen.aws.emulator_api import read_ledger
from loadgen.aws.errors import SDK_ERRORS, Trouble, explain, judge
from loadgen.aws.identity import Reached, reach
from loadgen.aws.quotas import documented, read_quotas, refuse_impossible
from loadgen.aws.retry import Pace
from loadgen.aws.session import Access, Clients
from loadgen.errors import AuthError, ConfigError, UnavailableError, UsageError
from loadgen.event_loop import to_the_end
from loadgen.interfaces import Endpoint, Leftover, Quotas, Transport
from loadgen.measurement.cloudwatch_metrics import Metrics
from loadgen.workload.serverless_config import ServerlessConfig


@dataclass(frozen=True, slots=True)
class Connected:
    """An open transport to one endpoint, its name, and why it is not the one that was asked for."""

    transport: Transport
    name: str
    note: str = ""


class Connect(Protocol):
    """How a transport to an endpoint is opened."""

    def __call__(
        self, clients: Clients, endpoint: str, *, connections: int, timeout: float
    ) -> AbstractAsyncContextManager[Connected]:
        """Open a transport with room for `connections` requests in flight, each of `timeout` seconds at most."""
        ...


@dataclass(slots=True)
class OpenEndpoint:
    """An endpoint in service, and the transport to it."""

    name: str
    deployed_in: float
    transport: Transport
    transport_name: str
    transport_note: str


class AwsAccount:
    """An account in which endpoints of one model are deployed. An `Account`; made by `open_account`."""

    def __init__(
        self,
        reached: Reached,
        quotas: Quotas,
        *,
        model: str,
        run_id: str,
        connect: Connect,
        pace: Pace,
        patience: Patience,
        journal: Journal,
    ) -> None:
        self.identity = reached.identity
        self.quotas = quotas
        self._clients = reached.clients
        self._owner = reached.owner
        self._model = model
        self._run_id = run_id
        self._connect = connect
        self._pace = pace
        self._patience = patience
        self._url = "" if reached.identity.kind == "aws" else reached.clients.control_url
        self._holdings = Holdings(journal, region=reached.clients.region, endpoint_url=self._url)

    @property
    def access(self) -> Access:
        """How the API is reached; holds no credentials, so that another process can be told."""
        return self._clients.access

    async def check(self, configs: Sequence[ServerlessConfig | None]) -> None:
        """Refuse what cannot work before anything is created.

        Raises:
            ConfigError: the model does not exist in this account and region.
            QuotaError: a configuration is above a quota.
            AuthError, UnavailableError: with what to do.
        """
        for config in configs:
            refuse_impossible(_required(config), self.quotas)
        try:
            await self._clients.sagemaker.describe_model(ModelName=self._model)
        except SDK_ERRORS as error:
            if judge(error) is Trouble.MISSING:
                raise ConfigError(
                    f"no SageMaker model {self._model!r} in account {self.identity.account_id or '(unknown)'}, "
                    f"{self.identity.region}",
                    hint="create it first (CreateModel), or check AWS_REGION and AWS_PROFILE",
                ) from error
            raise explain(error, f"DescribeModel {self._model}", now=time.time()) from error

    @asynccontextmanager
    async def open(
        self, config: ServerlessConfig | None, *, connections: int, timeout: float
    ) -> AsyncIterator[Endpoint]:
        """Deploy in this configuration, and remove every trace on the way out, whatever happened.

        Raises:
            UnavailableError: the endpoint failed (its FailureReason) or did not come up in time.
            QuotaError: the account refused it.
            UsageError: no configuration was given.
        """
        wanted = _required(config)
        deployment = deployed(
            self._clients.sagemaker,
            self._holdings,
            self._names(wanted),
            model=self._model,
            config=wanted,
            tags=tags(run_id=self._run_id, owner=self._owner, created=datetime.now(UTC)),
            pace=self._pace,
            rng=random.SystemRandom(),
        )
        async with (
            deployment as endpoint,
            self._connect(self._clients, endpoint.name, connections=connections, timeout=timeout) as link,
        ):
            yield OpenEndpoint(endpoint.name, endpoint.deployed_in, link.transport, link.name, link.note)

    def _names(self, config: ServerlessConfig) -> Iterator[str]:
        while True:
            yield endpoint_name(self._run_id, config, secrets.token_hex(5))

    async def metrics(self, endpoint: str, *, start: float, end: float, invocations: int) -> Metrics:
        """Read the endpoint's metrics between two epoch seconds, waiting for `invocations` to be counted."""
        reader = Reader(self._clients.cloudwatch, endpoint, Interval.covering(start, end))
        return await reader.read(end=end, invocations=invocations, patience=self._patience)

    async def ledger(self, endpoint: str) -> Mapping[str, int] | None:
        """Return the emulator's own counts; None where nobody keeps them."""
        if self.identity.kind != "emulator":
            return None
        return await read_ledger(self._clients.control_url, endpoint)

    def leftovers(self) -> Sequence[Leftover]:
        """Name everything that may still exist of ours, why, and the command that removes it."""
        return self._holdings.leftovers()

    def note_in(self, journal: Journal) -> None:
        """Keep what is created and removed from now on in this journal."""
        self._holdings.journal = journal

    async def clear(self, standing: Mapping[tuple[Kind, str], Existence]) -> None:
        """Remove what an earlier process of the same run left; what cannot be removed stays among the leftovers."""
        held = [self._holdings.admit(kind, name, existence) for (kind, name), existence in standing.items()]
        removal = Removal(self._clients.sagemaker, self._holdings, self._pace, random.SystemRandom())
        await to_the_end(removal.remove_all(held))

    @property
    def place(self) -> Place:
        """Where what is created can be found again, by another process."""
        where = self.identity
        emulator_url = self._clients.access.emulator_url
        return Place(where.kind, where.account_id, where.region, self._url, emulator_url, self._owner)


class StandingAccount(AwsAccount):
    """An account in which one endpoint that stands is called; nothing is created, changed or deleted."""

    async def check(self, configs: Sequence[ServerlessConfig | None]) -> None:
        """Refuse a configuration, and an endpoint that is not in service.

        Raises:
            UsageError: a configuration was given; the endpoint stays as it is.
            ConfigError: there is no such endpoint.
            UnavailableError: it is not InService.
        """
        for config in configs:
            _refuse_config(config)
        try:
            answer = await self._clients.sagemaker.describe_endpoint(EndpointName=self._model)
        except SDK_ERRORS as error:
            failure = explain(error, f"DescribeEndpoint {self._model}", now=time.time())
            if isinstance(failure, AuthError) and self.identity.account_id:
                return  # whoever may only invoke it finds out by invoking it
            raise failure from error
        status = answer["EndpointStatus"]
        # An endpoint keeps serving while it changes.
        if status not in {"InService", "Updating", "SystemUpdating", "RollingBack"}:
            raise UnavailableError(f"endpoint {self._model} is {status}", hint="wait until it is InService")

    @asynccontextmanager
    async def open(
        self, config: ServerlessConfig | None, *, connections: int, timeout: float
    ) -> AsyncIterator[Endpoint]:
        """Open a transport to the endpoint; nothing is deployed, and nothing removed.

        Raises:
            UsageError: a configuration was given.
        """
        _refuse_config(config)
        async with self._connect(self._clients, self._model, connections=connections, timeout=timeout) as link:
            yield OpenEndpoint(self._model, 0.0, link.transport, link.name, link.note)


def _required(config: ServerlessConfig | None) -> ServerlessConfig:
    if config is None:
        raise UsageError("no configuration to deploy", hint="give a ServerlessConfig(memory_mb, max_concurrency)")
    return config


def _refuse_config(config: ServerlessConfig | None) -> None:
    if config is not None:
        raise UsageError(f"{config}: an existing endpoint is measured as it stands", hint="give None as configuration")


@asynccontextmanager
async def open_account(
    access: Access,
    *,
    model: str,
    run_id: str,
    connect: Connect,
    pace: Pace | None = None,
    patience: Patience | None = None,
    journal: Journal | None = None,
    prepare: Callable[[Clients], Awaitable[None]] | None = None,
    detail: str = "",
) -> AsyncIterator[AwsAccount]:
    """Reach an account in which endpoints of `model` will be deployed.

    Args:
        access: where, and with whose credentials.
        model: the SageMaker model's name.
        run_id: goes into names and tags.
        connect: how transports are opened.
        pace: how fast to poll and how long to wait; None for what suits AWS.
        patience: how long to wait for CloudWatch; None for what suits AWS.
        journal: where intents outlive the process; None keeps none.
        prepare: what to do first, once the clients are open; None for nothing.
        detail: what else a reader of the results must know of the place.

    Raises:
        AuthError, ConfigError, UnavailableError: with what to do.
    """
    async with reach(access) as reached:
        if prepare is not None:
            await prepare(reached.clients)
        identity = replace(reached.identity, detail=detail or reached.identity.detail)
        yield AwsAccount(
            replace(reached, identity=identity),
            await read_quotas(reached.clients.quotas, reached.clients.region),
            model=model,
            run_id=run_id,
            connect=connect,
            pace=pace or Pace(),
            patience=patience or Patience(),
            journal=journal or NoJournal(),
        )


@asynccontextmanager
async def open_standing(access: Access, *, endpoint: str, connect: Connect) -> AsyncIterator[StandingAccount]:
    """Reach an account in which the endpoint of this name stands.

    Raises:
        AuthError, ConfigError, UnavailableError: with what to do.
    """
    async with reach(access) as reached:
        yield StandingAccount(
            reached,
            documented(reached.clients.region, "nothing is deployed"),
            model=endpoint,
            run_id="",
            connect=connect,
            pace=Pace(),
            patience=Patience(),
            journal=NoJournal(),
        )

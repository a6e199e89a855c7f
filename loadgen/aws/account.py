"""AwsAccount: deploys endpoints of one model in an AWS account, and deletes them.

See existing_endpoint.py for an account whose endpoint is only called. The targets choose the transport and pass it as a
`TransportFactory`.
"""

import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from loadgen.aws.cloudwatch import MetricsWaitPolicy
from loadgen.aws.deployment.cleanup import delete_verified, find_orphans
from loadgen.aws.deployment.endpoint import deploy_endpoint
from loadgen.aws.deployment.journal import JournalState, ResourceLocation
from loadgen.aws.deployment.names_and_tags import endpoint_name, tags
from loadgen.aws.deployment.resources import Journal, NullJournal, ResourceRegistry
from loadgen.aws.endpoint_status import endpoint_problem
from loadgen.aws.errors import SDK_ERRORS, ErrorKind, classify_error, to_loadgen_error
from loadgen.aws.identity import AwsConnection, connect
from loadgen.aws.model import serverless_exclusions
from loadgen.aws.open_endpoint import OpenEndpoint, TransportFactory, read_metrics, read_server_counts
from loadgen.aws.quotas import check_quota, read_quotas
from loadgen.aws.retry import RetryPolicy
from loadgen.aws.session import AwsConnectionConfig, Clients
from loadgen.errors import ConfigError, LoadgenError, UsageError
from loadgen.event_loop import shielded
from loadgen.interfaces import Endpoint, Leftover, Quotas
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics
from loadgen.workload.serverless_config import ServerlessConfig


class AwsAccount:
    """An account in which endpoints of one model are deployed. An `Account`; made by `open_account`."""

    def __init__(
        self,
        connection: AwsConnection,
        quotas: Quotas,
        *,
        model: str,
        run_id: str,
        transport_factory: TransportFactory,
        retry_policy: RetryPolicy,
        metrics_wait: MetricsWaitPolicy,
        journal: Journal,
        extra_tags: Mapping[str, str],
    ) -> None:
        self.identity = connection.identity
        self.end_error: LoadgenError | None = None
        self._end_callbacks: list[Callable[[], None]] = []
        self.quotas = quotas
        self._connection, self._clients = connection, connection.clients
        self._owner = connection.owner
        self._model = model
        self._run_id = run_id
        self._extra_tags = extra_tags
        self._transport_factory = transport_factory
        self._retry_policy = retry_policy
        self._metrics_wait = metrics_wait
        self._endpoint_url = "" if connection.identity.kind == "aws" else connection.clients.control_url
        self._registry = ResourceRegistry(journal, region=connection.clients.region, endpoint_url=self._endpoint_url)

    @property
    def connection_config(self) -> AwsConnectionConfig:
        """How the API is reached; it holds no credentials, so it can be sent to another process."""
        return self._clients.connection_config

    async def check(self, configs: Sequence[ServerlessConfig | None]) -> None:
        """Check model and quotas before anything is created.

        Raises:
            ConfigError: the model does not exist in this account and region, or serverless endpoints exclude it.
            QuotaError: a configuration is above a quota.
            AuthError, UnavailableError: with a hint.
        """
        for config in configs:
            check_quota(_require_config(config), self.quotas)
        try:
            model = await self._clients.sagemaker.describe_model(ModelName=self._model)
        except SDK_ERRORS as error:
            if classify_error(error) is ErrorKind.NOT_FOUND:
                raise ConfigError(
                    f"no SageMaker model {self._model!r} in account {self.identity.account_id or '(unknown)'}, "
                    f"{self.identity.region}",
                    hint="create the model (CreateModel), or check AWS_REGION and AWS_PROFILE",
                ) from error
            raise to_loadgen_error(error, f"DescribeModel {self._model}", now=time.time()) from error
        if excluded := serverless_exclusions(model):
            raise ConfigError(
                f"model {self._model!r} has {', '.join(excluded)}, which serverless endpoints do not support",
                hint="deploy a model of one container without it (CreateModel)",
            )

    @asynccontextmanager
    async def open(
        self, config: ServerlessConfig | None, *, connections: int, timeout: float
    ) -> AsyncIterator[Endpoint]:
        """Deploy an endpoint in this configuration, and delete it with its configuration on exit.

        Raises:
            UnavailableError: the endpoint failed (with its FailureReason) or was not InService in time.
            QuotaError: the account refused it.
            UsageError: no configuration was given.
        """
        required_config = _require_config(config)
        deployment = deploy_endpoint(
            self._clients.sagemaker,
            self._registry,
            self._endpoint_names(required_config),
            model=self._model,
            config=required_config,
            tags={**self._extra_tags, **tags(run_id=self._run_id, owner=self._owner, created=datetime.now(UTC))},
            retry_policy=self._retry_policy,
            rng=random.SystemRandom(),
        )
        async with (
            deployment as endpoint,
            self._transport_factory(self._clients, endpoint.name, connections=connections, timeout=timeout) as opened,
        ):
            yield OpenEndpoint(endpoint.name, endpoint.deploy_duration, opened.transport, opened.name, opened.note)

    def _endpoint_names(self, config: ServerlessConfig) -> Iterator[str]:
        while True:
            yield endpoint_name(self._run_id, config, secrets.token_hex(5))

    async def metrics(self, endpoint: str, *, start: float, end: float, invocations: int) -> CloudWatchMetrics:
        """Read the endpoint's CloudWatch metrics.

        Args:
            endpoint: name of the endpoint.
            start: of the interval, seconds since the epoch.
            end: of the interval, seconds since the epoch.
            invocations: how many requests CloudWatch should have counted; waits for them.
        """
        return await read_metrics(
            self._clients, endpoint, start=start, end=end, invocations=invocations, wait_policy=self._metrics_wait
        )

    async def server_counts(self, endpoint: str) -> Mapping[str, int] | None:
        """Return the emulator's own request counts of an endpoint; None for anything but an emulator."""
        return await read_server_counts(self.identity, self._clients, endpoint)

    async def endpoint_problem(self, endpoint: str) -> str:
        """Return why an endpoint no longer serves requests; empty if it does, or if that cannot be read."""
        return await endpoint_problem(self._clients.sagemaker, endpoint)

    def leftovers(self) -> Sequence[Leftover]:
        """Return the resources that may still exist, each with the reason and the command that deletes it."""
        return self._registry.leftovers() if self.end_error is None else ()

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call back when the account's server ends before it is stopped; see `end`."""
        self._end_callbacks.append(callback)

    def end(self, error: LoadgenError) -> None:
        """Record that the account's server, which this process had started, has ended, and its resources with it."""
        self.end_error = error
        for resource in self._registry:
            self._registry.mark_gone(resource)
        for callback in self._end_callbacks:
            callback()

    def set_journal(self, journal: Journal) -> None:
        """Record creations and deletions in this journal from now on."""
        self._registry.journal = journal

    async def delete_leftovers(self, journal_state: JournalState) -> Sequence[str]:
        """Delete what an earlier process of the run left; what cannot be deleted stays in `leftovers()`.

        Returns:
            A line for each resource that does not agree with the journal and was left alone.
        """
        scan = await find_orphans(self._connection, self._run_id, journal_state=journal_state)
        await shielded(delete_verified(self._clients.sagemaker, self._registry, self._retry_policy, scan))
        return scan.skipped

    @property
    def location(self) -> ResourceLocation:
        """Where another process can find the created resources."""
        identity = self.identity
        emulator_url = self._clients.connection_config.emulator_url
        return ResourceLocation(
            identity.kind, identity.account_id, identity.region, self._endpoint_url, emulator_url, self._owner
        )


def _require_config(config: ServerlessConfig | None) -> ServerlessConfig:
    if config is None:
        raise UsageError("no configuration to deploy", hint="give a ServerlessConfig(memory_mb, max_concurrency)")
    return config


@asynccontextmanager
async def open_account(
    connection_config: AwsConnectionConfig,
    *,
    model: str,
    run_id: str,
    transport_factory: TransportFactory,
    retry_policy: RetryPolicy | None = None,
    metrics_wait: MetricsWaitPolicy | None = None,
    journal: Journal | None = None,
    prepare: Callable[[Clients], Awaitable[None]] | None = None,
    detail: str = "",
    extra_tags: Mapping[str, str] | None = None,
) -> AsyncIterator[AwsAccount]:
    """Connect to an account in which endpoints of `model` will be deployed.

    Args:
        connection_config: region and API endpoint.
        model: name of the SageMaker model.
        run_id: part of names and tags.
        transport_factory: opens the transports.
        retry_policy: timeouts and poll interval; None for those of AWS.
        metrics_wait: how long to wait for CloudWatch; None for the time that suits AWS.
        journal: records resources on disk; None for no journal.
        prepare: awaited once the clients are open; None for nothing.
        detail: part of the provenance in results, such as the emulator's settings.
        extra_tags: of every created resource, beside loadgen's own; None for none.

    Raises:
        AuthError, ConfigError, UnavailableError: with a hint.
    """
    async with connect(connection_config) as connection:
        if prepare is not None:
            await prepare(connection.clients)
        identity = replace(connection.identity, detail=detail or connection.identity.detail)
        yield AwsAccount(
            replace(connection, identity=identity),
            await read_quotas(connection.clients.quotas, connection.clients.region),
            model=model,
            run_id=run_id,
            transport_factory=transport_factory,
            retry_policy=retry_policy or RetryPolicy(),
            metrics_wait=metrics_wait or MetricsWaitPolicy(),
            journal=journal or NullJournal(),
            extra_tags=extra_tags or {},
        )

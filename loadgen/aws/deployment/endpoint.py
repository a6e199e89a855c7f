"""EndpointDeployment: creates an endpoint and its configuration, waits until it is in service, and deletes both.

Rule: a resource is in the account's ResourceRegistry from before its Create call until it is known not to exist. A
Create is retried safely because names are unique: "exists" after a lost response means that the first call took effect;
without a lost response it means that another owner has the name, and the resource is not touched.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, cast

from loadgen.aws.deployment.deletion import TRANSITIONAL_STATUSES, ResourceDeleter
from loadgen.aws.deployment.names_and_tags import production_variant, to_tag_list
from loadgen.aws.deployment.resources import Existence, ResourceKind, ResourceRegistry, TrackedResource
from loadgen.aws.errors import SDK_ERRORS, ErrorKind, classify_error, error_message, to_loadgen_error
from loadgen.aws.retry import RetryPolicy
from loadgen.errors import LoadgenError, QuotaError, UnavailableError
from loadgen.event_loop import shielded
from loadgen.workload.serverless_config import ServerlessConfig

_MAX_NAME_ATTEMPTS = 3


class EndpointDeployment:
    """One endpoint with its configuration. Made by `deploy_endpoint`."""

    def __init__(self, api: Any, registry: ResourceRegistry, retry_policy: RetryPolicy, rng: random.Random) -> None:
        self.name = ""
        self.deploy_duration = 0.0
        self._api = api
        self._registry = registry
        self._retry_policy = retry_policy
        self._rng = rng
        self._deleter = ResourceDeleter(api, registry, retry_policy, rng)
        self._resources: list[TrackedResource] = []

    async def create(self, names: Iterator[str], model: str, config: ServerlessConfig, tags: Mapping[str, str]) -> None:
        """Create configuration and endpoint under the first free name of `names`."""
        tag_list = to_tag_list(tags)
        for name in islice(names, _MAX_NAME_ATTEMPTS):
            self.name = name
            arguments = {
                "EndpointConfigName": name,
                "ProductionVariants": [production_variant(model, config)],
                "Tags": tag_list,
            }
            if not await self._create_resource(ResourceKind.CONFIG, name, self._api.create_endpoint_config, arguments):
                continue
            started = time.perf_counter()
            arguments = {"EndpointName": name, "EndpointConfigName": name, "Tags": tag_list}
            if await self._create_resource(ResourceKind.ENDPOINT, name, self._api.create_endpoint, arguments):
                await self._wait_in_service()
                self.deploy_duration = time.perf_counter() - started
                return
        raise UnavailableError(f"{_MAX_NAME_ATTEMPTS} generated names such as {self.name} are taken", hint="try again")

    async def _create_resource(
        self, kind: ResourceKind, name: str, call: Callable[..., Any], arguments: Mapping[str, Any]
    ) -> bool:
        """Retry one Create until its effect is known; False if the name is taken."""
        resource = self._registry.record_intent(kind, name)
        self._resources.append(resource)
        retry_delays, consistency_delays = (
            self._retry_policy.backoff_delays(self._retry_policy.retry_timeout, self._rng),
            self._retry_policy.backoff_delays(self._retry_policy.consistency_timeout, self._rng),
        )
        while True:
            # A call in flight is always awaited, so that its effect is known after a cancellation too.
            error = await shielded(_attempt_create(call(**arguments), resource))
            if error is None:
                self._registry.mark_created(resource)
                return True
            error_kind = classify_error(error)
            if error_kind is ErrorKind.ALREADY_EXISTS:
                self._registry.mark_gone(resource)
                self._resources.remove(resource)
                return False
            delay = None
            if error_kind in {ErrorKind.AMBIGUOUS, ErrorKind.THROTTLED, ErrorKind.NOT_SENT}:
                delay = next(retry_delays, None)
            elif error_kind is ErrorKind.NOT_FOUND and kind is ResourceKind.ENDPOINT:
                delay = next(consistency_delays, None)  # the configuration is eventually consistent
            if delay is None:
                raise self._create_error(error, kind, name, error_kind) from error
            await asyncio.sleep(delay)

    def _create_error(self, error: BaseException, kind: ResourceKind, name: str, error_kind: ErrorKind) -> LoadgenError:
        verb = "CreateEndpoint" if kind is ResourceKind.ENDPOINT else "CreateEndpointConfig"
        if error_kind is ErrorKind.NOT_FOUND and kind is ResourceKind.ENDPOINT:
            limit = self._retry_policy.consistency_timeout
            return UnavailableError(
                f"{verb} {name}: its config was not visible after {limit:g} s ({error_message(error)})"
            )
        return to_loadgen_error(error, f"{verb} {name}", now=time.time())

    async def _wait_in_service(self) -> None:
        """Poll until the endpoint is InService.

        Raises:
            UnavailableError: the endpoint failed, disappeared, or was not InService in time.
        """
        last_visible = last_reached = time.perf_counter()
        status, was_visible = "Creating", False
        for delay in self._retry_policy.poll_delays(self._retry_policy.deploy_timeout, self._rng):
            try:
                answer = await self._api.describe_endpoint(EndpointName=self.name)
            except SDK_ERRORS as error:
                # Not visible yet, throttled or unreachable: retry until a timeout. Any other error is final.
                now, error_kind = time.perf_counter(), classify_error(error)
                if error_kind is not ErrorKind.NOT_SENT:
                    last_reached = now
                if (
                    error_kind is ErrorKind.PERMANENT
                    or (
                        error_kind is ErrorKind.NOT_FOUND
                        and now - last_visible >= self._retry_policy.consistency_timeout
                    )
                    or now - last_reached >= self._retry_policy.retry_timeout
                ):
                    raise self._wait_error(error, was_visible=was_visible) from error
                status = error_message(error)
            else:
                last_visible = last_reached = time.perf_counter()
                was_visible = True
                self._mark_observed()
                status = answer["EndpointStatus"]
                if status == "InService":
                    return
                if status not in TRANSITIONAL_STATUSES:
                    raise _deploy_failed_error(self.name, status, answer.get("FailureReason", ""))
            await asyncio.sleep(delay)
        raise UnavailableError(
            f"endpoint {self.name} was not in service after {self._retry_policy.deploy_timeout:g} s; "
            f"last status: {status}",
            hint="raise deploy_timeout, or read the endpoint's log in CloudWatch",
        )

    def _wait_error(self, error: BaseException, *, was_visible: bool) -> LoadgenError:
        if classify_error(error) is not ErrorKind.NOT_FOUND:
            return to_loadgen_error(error, f"DescribeEndpoint {self.name}", now=time.time())
        if was_visible:
            return UnavailableError(
                f"endpoint {self.name} was deleted by another process while it was created",
                hint="find out who deleted it, and run again",
            )
        limit = self._retry_policy.consistency_timeout
        return UnavailableError(f"endpoint {self.name} was not visible {limit:g} s after its creation")

    def _mark_observed(self) -> None:
        for resource in self._resources:
            resource.existence = Existence.OBSERVED  # if the endpoint exists, so does its configuration

    async def delete(self) -> None:
        """Delete the created resources; one that cannot be deleted stays in the registry with the reason."""
        self._resources = await self._deleter.delete(self._resources)


async def _attempt_create(call: Awaitable[Any], resource: TrackedResource) -> Exception | None:
    """Make one Create call, update the resource's existence, and return the error if it failed."""
    before = resource.existence
    resource.existence = max(before, Existence.UNCERTAIN)
    try:
        await call
    except SDK_ERRORS as error:
        error_kind = classify_error(error)
        if error_kind is ErrorKind.ALREADY_EXISTS and before is Existence.UNCERTAIN:
            resource.existence = Existence.OBSERVED  # an earlier call, whose response was lost, took effect
            return None
        if error_kind is not ErrorKind.AMBIGUOUS:
            resource.existence = before
        return cast("Exception", error)
    resource.existence = Existence.CREATED
    return None


def _deploy_failed_error(name: str, status: str, reason: str) -> LoadgenError:
    message = f"endpoint {name} is {status}: {reason or 'AWS gives no reason'}"
    # AWS may apply a quota after it accepted CreateEndpoint; then FailureReason contains it.
    return QuotaError(message) if "ResourceLimitExceeded" in reason else UnavailableError(message)


@asynccontextmanager
async def deploy_endpoint(
    api: Any,
    registry: ResourceRegistry,
    names: Iterator[str],
    *,
    model: str,
    config: ServerlessConfig,
    tags: Mapping[str, str],
    retry_policy: RetryPolicy,
    rng: random.Random,
) -> AsyncIterator[EndpointDeployment]:
    """Deploy an endpoint, and delete it with its configuration on exit.

    A cancellation waits for the deletion, at most `retry_policy.delete_timeout` seconds. What could not be deleted
    stays in `registry`.

    Raises:
        UnavailableError: the endpoint failed, or was not in service in time.
        QuotaError: the account refused it.
        AuthError: the caller may not create or tag it; nothing is created untagged.
    """
    deployment = EndpointDeployment(api, registry, retry_policy, rng)
    try:
        await deployment.create(names, model, config, tags)
        yield deployment
    finally:
        await shielded(deployment.delete())

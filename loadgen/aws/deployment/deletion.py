"""ResourceDeleter: deletes resources until they are known not to exist, or until a timeout.

A deletion that AWS refuses while the endpoint is changing, or throttles, is retried. "Could not find" is success, once
a Create in flight must have taken effect. The caller decides what to delete; see cleanup.py.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from loadgen.aws.deployment.resources import Existence, ResourceKind, ResourceRegistry, TrackedResource
from loadgen.aws.errors import SDK_ERRORS, ErrorKind, classify_error, error_message, to_loadgen_error
from loadgen.aws.retry import RetryPolicy
from loadgen.errors import AuthError

# EndpointStatus values that change without a call (botocore service model sagemaker 2017-07-24).
TRANSITIONAL_STATUSES = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


class ResourceDeleter:
    """Deletes resources of one account."""

    def __init__(self, api: Any, registry: ResourceRegistry, retry_policy: RetryPolicy, rng: random.Random) -> None:
        self._api = api
        self._registry = registry
        self._retry_policy = retry_policy
        self._rng = rng

    async def delete(self, resources: Sequence[TrackedResource]) -> list[TrackedResource]:
        """Delete resources, endpoints first; return those that could not be deleted, with `delete_error` set."""
        for resource in resources:
            if resource.existence is Existence.NOT_CREATED:
                self._registry.mark_gone(resource)
        for resource in self._remaining(resources, ResourceKind.ENDPOINT):
            await self._delete(resource, self._api.delete_endpoint, EndpointName=resource.name)
        remaining_endpoints = {resource.name for resource in self._remaining(resources, ResourceKind.ENDPOINT)}
        for resource in self._remaining(resources, ResourceKind.CONFIG):
            if resource.name in remaining_endpoints:
                resource.delete_error = "its endpoint still exists"
            else:
                await self._delete(resource, self._api.delete_endpoint_config, EndpointConfigName=resource.name)

        return [resource for resource in self._registry if resource in resources]

    async def delete_all(self, resources: Sequence[TrackedResource]) -> None:
        """Delete resources concurrently, each endpoint before its configuration."""
        names = dict.fromkeys(resource.name for resource in resources)
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self.delete([resource for resource in resources if resource.name == name]))

    def _remaining(self, resources: Sequence[TrackedResource], kind: ResourceKind) -> list[TrackedResource]:
        return [resource for resource in self._registry if resource.kind is kind and resource in resources]

    async def _delete(self, resource: TrackedResource, delete_call: Callable[..., Any], **kwargs: str) -> None:
        """Delete one resource until it is known not to exist, or until `delete_timeout`; never raises."""
        started = time.perf_counter()
        self._registry.mark_deleting(resource)
        for delay in self._retry_policy.poll_delays(self._retry_policy.delete_timeout, self._rng):
            try:
                await delete_call(**kwargs)
            except SDK_ERRORS as error:
                error_kind = classify_error(error)
                if error_kind is ErrorKind.NOT_FOUND:
                    # A resource that no other call has found may still be created by a Create in flight.
                    if (
                        resource.existence is Existence.OBSERVED
                        or time.perf_counter() - started >= self._retry_policy.create_settle_time
                    ):
                        self._registry.mark_gone(resource)
                        return
                else:
                    resource.delete_error = _delete_error(error, resource)
                    is_unreachable = (
                        error_kind is ErrorKind.NOT_SENT
                        and time.perf_counter() - started >= self._retry_policy.outage_timeout
                    )
                    if is_unreachable or (error_kind is ErrorKind.PERMANENT and not await self._is_changing(resource)):
                        return
            else:
                resource.existence = Existence.OBSERVED
                resource.delete_error = "the deletion was accepted but has not completed"
                if resource.kind is ResourceKind.CONFIG:
                    self._registry.mark_gone(resource)
                    return
                if await self._wait_deleted(resource):
                    self._registry.mark_gone(resource)
                    return
            await asyncio.sleep(delay)
        resource.delete_error += f" (timeout after {self._retry_policy.delete_timeout:g} s)"

    async def _wait_deleted(self, resource: TrackedResource) -> bool:
        """Poll until the endpoint is deleted; False for another final status, a denied poll, a timeout or an outage."""
        last_reached = time.perf_counter()
        for delay in self._retry_policy.poll_delays(self._retry_policy.delete_timeout, self._rng):
            try:
                answer = await self._api.describe_endpoint(EndpointName=resource.name)
            except SDK_ERRORS as error:
                error_kind, now = classify_error(error), time.perf_counter()
                if error_kind is ErrorKind.NOT_FOUND:
                    return True
                if error_kind is ErrorKind.PERMANENT:  # such as a denial of DescribeEndpoint: DeleteEndpoint tells
                    return False
                if error_kind is not ErrorKind.NOT_SENT:
                    last_reached = now
                elif now - last_reached >= self._retry_policy.outage_timeout:
                    return False
            else:
                last_reached = time.perf_counter()
                if answer["EndpointStatus"] not in TRANSITIONAL_STATUSES:
                    return False
            await asyncio.sleep(delay)
        return False

    async def _is_changing(self, resource: TrackedResource) -> bool:
        """Return whether a refused deletion may be accepted later, by the endpoint's status."""
        if resource.kind is not ResourceKind.ENDPOINT:
            return False
        try:
            answer = await self._api.describe_endpoint(EndpointName=resource.name)
        except SDK_ERRORS as error:
            return classify_error(error) is not ErrorKind.PERMANENT
        return answer["EndpointStatus"] in TRANSITIONAL_STATUSES


def _delete_error(error: BaseException, resource: TrackedResource) -> str:
    """Return the error's message; for a denial also which action to request."""
    operation = "DeleteEndpoint" if resource.kind is ResourceKind.ENDPOINT else "DeleteEndpointConfig"
    mapped = to_loadgen_error(error, f"{operation} {resource.name}", now=time.time())
    hint = f"; {mapped.hint}" if isinstance(mapped, AuthError) else ""
    return f"{error_message(error)}{hint}"

"""Removal: deleting what may exist until it is known to be gone, or until the budget is used up.

A deletion that AWS refuses while the endpoint is changing is waited for; one that is throttled is repeated; "could not
find" is success, once a Create that is still on its way must have shown its effect. Whose a thing is has been decided
before it comes here.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from loadgen.aws.deployment.resources import Existence, ResourceKind, ResourceRegistry, TrackedResource
from loadgen.aws.errors import SDK_ERRORS, ErrorKind, classify_error, error_message
from loadgen.aws.retry import RetryPolicy

# DescribeEndpoint's EndpointStatus (botocore service model sagemaker 2017-07-24): those that change by themselves.
TRANSITIONAL_STATUSES = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


class ResourceDeleter:
    """Deletes things of one account."""

    def __init__(self, api: Any, registry: ResourceRegistry, retry_policy: RetryPolicy, rng: random.Random) -> None:
        self._api = api
        self._registry = registry
        self._retry_policy = retry_policy
        self._rng = rng

    async def delete(self, resources: Sequence[TrackedResource]) -> list[TrackedResource]:
        """Delete these things, endpoints first, and return what could not be removed; its entry says why."""
        for resource in resources:
            if resource.existence is Existence.NOT_CREATED:
                self._registry.mark_gone(resource)
        for resource in self._remaining(resources, ResourceKind.ENDPOINT):
            await self._delete(resource, self._api.delete_endpoint, EndpointName=resource.name)
        remaining_endpoints = {holding.name for holding in self._remaining(resources, ResourceKind.ENDPOINT)}
        for resource in self._remaining(resources, ResourceKind.CONFIG):
            if resource.name in remaining_endpoints:
                resource.delete_error = "its endpoint still exists"
            else:
                await self._delete(resource, self._api.delete_endpoint_config, EndpointConfigName=resource.name)

        return [holding for holding in self._registry if holding in resources]

    async def delete_all(self, resources: Sequence[TrackedResource]) -> None:
        """Delete many things at once, each endpoint before its configuration."""
        names = dict.fromkeys(holding.name for holding in resources)
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self.delete([holding for holding in resources if holding.name == name]))

    def _remaining(self, resources: Sequence[TrackedResource], kind: ResourceKind) -> list[TrackedResource]:
        return [holding for holding in self._registry if holding.kind is kind and holding in resources]

    async def _delete(self, resource: TrackedResource, delete_call: Callable[..., Any], **kwargs: str) -> None:
        """Delete until it is known to be gone, or until the budget is used up; never raises."""
        started = time.perf_counter()
        self._registry.mark_deleting(resource)
        for delay in self._retry_policy.poll_delays(self._retry_policy.delete_timeout, self._rng):
            try:
                await delete_call(**kwargs)
            except SDK_ERRORS as error:
                error_kind = classify_error(error)
                if error_kind is ErrorKind.NOT_FOUND:
                    # A thing that no other call has found may still be on its way.
                    if (
                        resource.existence is Existence.OBSERVED
                        or time.perf_counter() - started >= self._retry_policy.create_settle_time
                    ):
                        self._registry.mark_gone(resource)
                        return
                else:
                    resource.delete_error = error_message(error)
                    is_unreachable = (
                        error_kind is ErrorKind.NOT_SENT
                        and time.perf_counter() - started >= self._retry_policy.outage_timeout
                    )
                    if is_unreachable or (error_kind is ErrorKind.PERMANENT and not await self._is_changing(resource)):
                        return
            else:
                resource.existence = Existence.OBSERVED
                resource.delete_error = "deletion was accepted and has not been seen to end"
                if resource.kind is ResourceKind.CONFIG:
                    self._registry.mark_gone(resource)
                    return
                if await self._wait_deleted(resource):
                    self._registry.mark_gone(resource)
                    return
            await asyncio.sleep(delay)
        resource.delete_error += f" (given up after {self._retry_policy.delete_timeout:g} s)"

    async def _wait_deleted(self, resource: TrackedResource) -> bool:
        """Watch a deletion; False when it ended in something else, or not in time, or out of sight."""
        last_reached = time.perf_counter()
        for delay in self._retry_policy.poll_delays(self._retry_policy.delete_timeout, self._rng):
            try:
                answer = await self._api.describe_endpoint(EndpointName=resource.name)
            except SDK_ERRORS as error:
                error_kind, now = classify_error(error), time.perf_counter()
                if error_kind is ErrorKind.NOT_FOUND:
                    return True
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
        """Tell whether a refused deletion may be accepted later, whatever the refusal's wording was."""
        if resource.kind is not ResourceKind.ENDPOINT:
            return False
        try:
            answer = await self._api.describe_endpoint(EndpointName=resource.name)
        except SDK_ERRORS as error:
            return classify_error(error) is not ErrorKind.PERMANENT
        return answer["EndpointStatus"] in TRANSITIONAL_STATUSES

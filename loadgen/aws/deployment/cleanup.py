"""Cleanup: find the resources that runs left in an account, and delete them. The only implementation.

attribution.py decides what belongs to a run; nothing is deleted unless it was described, and its tags were read, just
before. deletion.py deletes one resource.

Use it in two steps, with a list to show or confirm in between:

    scan = await find_orphans(connection, run_id, journal_state=journal_state)
    registry = await delete_orphans(connection, scan, journal)
    remaining = registry.leftovers()

The command `cleanup`, --resume and the Processing job client all do so.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loadgen.aws.deployment.attribution import (
    Attribution,
    OrphanedResource,
    TaggedResource,
    describe_skipped,
    select_expired,
    select_orphans,
    sort_orphans,
)
from loadgen.aws.deployment.deletion import ResourceDeleter
from loadgen.aws.deployment.journal import JournalState
from loadgen.aws.deployment.names_and_tags import NAME_PREFIX
from loadgen.aws.deployment.resources import Existence, Journal, ResourceKind, ResourceRegistry, TrackedResource
from loadgen.aws.errors import SDK_ERRORS, ErrorKind, classify_error, to_loadgen_error
from loadgen.aws.identity import AwsConnection
from loadgen.aws.retry import EMULATOR_RETRY_POLICY, RetryPolicy
from loadgen.event_loop import shielded

_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class CleanupScan:
    """What a search for orphans found.

    Args:
        orphans: resources to delete, endpoints first.
        skipped: one human-readable line for each resource, or run, that was found and left alone.
        attribution: what each orphan must agree with when it is deleted.
        unreadable: why resources or tags could not all be read; empty when they could. Orphans may be missing then.
    """

    orphans: list[OrphanedResource]
    skipped: list[str]
    attribution: Attribution
    unreadable: str = ""


async def find_orphans(
    connection: AwsConnection, run_id: str, *, journal_state: JournalState | None = None, any_owner: bool = False
) -> CleanupScan:
    """Find what one run left, by its journal and by tags.

    Args:
        connection: to the account.
        run_id: of the run.
        journal_state: the run's journal; None without one.
        any_owner: accept any owner tag. For a Processing job, which runs under its own role.
    """
    api = connection.clients.sagemaker
    existing, unreadable = await list_tagged_resources(api)
    attribution = _attribution(connection, journal_state, any_owner=any_owner)
    listed = {(resource.kind, resource.name) for resource in existing}
    absent, undescribed = list[OrphanedResource](), list[str]()
    for (kind, name), existence in (journal_state.resources if journal_state is not None else {}).items():
        if (kind, name) in listed:
            continue
        if kind is ResourceKind.MODEL:
            undescribed.append(describe_skipped(kind, name, run_id, "loadgen creates no models"))
            continue
        try:
            resource = await _describe_resource(api, kind, name)
        except SDK_ERRORS as error:
            reason = f"it cannot be described ({to_loadgen_error(error, _describe_operation(kind), now=time.time())})"
            undescribed.append(describe_skipped(kind, name, run_id, reason))
            continue
        if resource is not None:
            existing.append(resource)
        elif name.startswith(NAME_PREFIX):  # a Create in flight may still create it
            absent.append(OrphanedResource(kind, name, run_id, min(existence, Existence.CREATED), "in its journal"))
    orphans, skipped = select_orphans(existing, run_id=run_id, attribution=attribution)
    return CleanupScan(sort_orphans([*orphans, *absent]), skipped + undescribed, attribution, unreadable)


async def find_expired_orphans(connection: AwsConnection, now: datetime) -> CleanupScan:
    """Find what the caller's runs left and whose expiry tag has passed; list younger resources as skipped.

    Args:
        connection: to the account.
        now: with a time zone.
    """
    tagged, unreadable = await list_tagged_resources(connection.clients.sagemaker)
    attribution = _attribution(connection, None, any_owner=False)
    orphans, skipped = select_expired(tagged, attribution=attribution, now=now)
    return CleanupScan(orphans, skipped, attribution, unreadable)


def _attribution(connection: AwsConnection, journal_state: JournalState | None, *, any_owner: bool) -> Attribution:
    owner = None if any_owner else connection.owner
    return Attribution(owner, journal_state, connection.clients.region, _endpoint_url(connection))


def _endpoint_url(connection: AwsConnection) -> str:
    return "" if connection.identity.kind == "aws" else connection.clients.control_url


async def list_tagged_resources(api: Any) -> tuple[list[TaggedResource], str]:
    """List endpoints, then endpoint configurations, whose name has loadgen's prefix, with their tags.

    Returns:
        The resources, and why resources or tags could not all be read; empty when they could.
    """
    tagged: list[TaggedResource] = []
    unreadable: dict[str, None] = {}
    for kind, pages in (
        (ResourceKind.ENDPOINT, _pages(api.list_endpoints, "Endpoints")),
        (ResourceKind.CONFIG, _pages(api.list_endpoint_configs, "EndpointConfigs")),
    ):
        member = "Endpoint" if kind is ResourceKind.ENDPOINT else "EndpointConfig"
        try:
            async for item in pages:
                name = str(item[f"{member}Name"])
                if not name.startswith(NAME_PREFIX):
                    continue
                tags: Mapping[str, str] | None = None
                try:
                    tags = await _tags(api, str(item[f"{member}Arn"]))
                except SDK_ERRORS as error:
                    if classify_error(error) is ErrorKind.NOT_FOUND:
                        continue  # deleted since it was listed
                    unreadable[str(to_loadgen_error(error, "ListTags", now=time.time()))] = None
                tagged.append(TaggedResource(kind, name, item["CreationTime"], tags))
        except SDK_ERRORS as error:
            unreadable[str(to_loadgen_error(error, f"List{member}s", now=time.time()))] = None
    return tagged, "; ".join(unreadable)


async def _pages(call: Any, member: str) -> AsyncIterator[Mapping[str, Any]]:
    pagination: dict[str, str] = {}
    while True:
        page = await _retry_read(lambda: call(NameContains=NAME_PREFIX, MaxResults=_PAGE_SIZE, **pagination))  # noqa: B023 - awaited here
        for item in page[member]:
            yield item
        if not page.get("NextToken"):
            return
        pagination = {"NextToken": page["NextToken"]}


async def _tags(api: Any, arn: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    pagination: dict[str, str] = {}
    while True:
        page = await _retry_read(lambda: api.list_tags(ResourceArn=arn, **pagination))  # noqa: B023 - awaited here
        found |= {tag["Key"]: tag["Value"] for tag in page["Tags"]}
        if not page.get("NextToken"):
            return found
        pagination = {"NextToken": page["NextToken"]}


def _describe_operation(kind: ResourceKind) -> str:
    return "DescribeEndpoint" if kind is ResourceKind.ENDPOINT else "DescribeEndpointConfig"


async def _describe_resource(api: Any, kind: ResourceKind, name: str) -> TaggedResource | None:
    """Return a resource with its tags; None if it does not exist. Raises what Describe raises."""
    member = "Endpoint" if kind is ResourceKind.ENDPOINT else "EndpointConfig"
    describe = api.describe_endpoint if kind is ResourceKind.ENDPOINT else api.describe_endpoint_config
    tags: Mapping[str, str] | None = None
    try:
        shown = await _retry_read(lambda: describe(**{f"{member}Name": name}))
    except SDK_ERRORS as error:
        if classify_error(error) is ErrorKind.NOT_FOUND:
            return None
        raise
    try:
        tags = await _tags(api, str(shown[f"{member}Arn"]))
    except SDK_ERRORS as error:
        if classify_error(error) is ErrorKind.NOT_FOUND:
            return None  # deleted since it was described
    return TaggedResource(kind, name, shown["CreationTime"], tags)


async def _retry_read(call: Any) -> Any:
    """Retry a read-only call that is throttled or whose response is lost, for at most 30 s."""
    for delay in RetryPolicy(poll_interval=0.2).backoff_delays(30.0, random.SystemRandom()):
        try:
            return await call()
        except SDK_ERRORS as error:
            if classify_error(error) not in {ErrorKind.THROTTLED, ErrorKind.AMBIGUOUS, ErrorKind.NOT_SENT}:
                raise
        await asyncio.sleep(delay)
    return await call()


async def delete_orphans(connection: AwsConnection, scan: CleanupScan, journal: Journal) -> ResourceRegistry:
    """Delete the orphans of a scan, and return a registry of those that could not be deleted (`.leftovers()`).

    A cancellation waits until the deletions have ended.

    Args:
        connection: to the account.
        scan: what to delete.
        journal: records each deletion; `NullJournal()` records none.
    """
    registry = ResourceRegistry(journal, region=connection.clients.region, endpoint_url=_endpoint_url(connection))
    retry_policy = EMULATOR_RETRY_POLICY if connection.identity.kind == "emulator" else RetryPolicy()
    await shielded(delete_verified(connection.clients.sagemaker, registry, retry_policy, scan))
    return registry


async def delete_verified(api: Any, registry: ResourceRegistry, retry_policy: RetryPolicy, scan: CleanupScan) -> None:
    """Delete orphans, each after it was described and agrees; the others stay in `registry` with the reason.

    Concurrent, but each endpoint before its configuration.
    """
    deleter = ResourceDeleter(api, registry, retry_policy, random.SystemRandom())
    tracked = [(orphan, registry.track(orphan.kind, orphan.name, orphan.existence)) for orphan in scan.orphans]

    async def delete_named(name: str) -> None:
        is_endpoint_left = False
        for orphan, resource in tracked:
            if orphan.name != name:
                continue
            if is_endpoint_left:
                resource.delete_error = "its endpoint still exists"
            elif await _verify(api, registry, retry_policy, resource, orphan, scan.attribution):
                await deleter.delete([resource])
            is_endpoint_left = any(left is resource for left in registry)

    async with asyncio.TaskGroup() as group:
        for name in dict.fromkeys(orphan.name for orphan in scan.orphans):
            group.create_task(delete_named(name))


async def _verify(
    api: Any,
    registry: ResourceRegistry,
    retry_policy: RetryPolicy,
    resource: TrackedResource,
    orphan: OrphanedResource,
    attribution: Attribution,
) -> bool:
    """Return whether a resource exists and may be deleted; otherwise record why not."""
    try:
        found = await _describe_settled(api, retry_policy, orphan)
    except SDK_ERRORS as error:
        resource.delete_error = str(to_loadgen_error(error, _describe_operation(orphan.kind), now=time.time()))
        return False
    if found is None:
        registry.mark_gone(resource)
        return False
    resource.existence = Existence.OBSERVED
    resource.delete_error = attribution.disagreement(found, orphan.run_id)
    return not resource.delete_error


async def _describe_settled(api: Any, retry_policy: RetryPolicy, orphan: OrphanedResource) -> TaggedResource | None:
    """Describe an orphan; while no call has found it, wait until a Create in flight must have taken effect."""
    found = await _describe_resource(api, orphan.kind, orphan.name)
    if found is not None or orphan.existence is Existence.OBSERVED:
        return found
    for delay in retry_policy.poll_delays(retry_policy.create_settle_time, random.SystemRandom()):
        await asyncio.sleep(delay)
        if found := await _describe_resource(api, orphan.kind, orphan.name):
            return found
    return None

"""Cleanup: find the resources that runs left in an account, and delete them. The only implementation.

A resource is attributed to a run by the run's journal, by the resource's tags, or by both; if the two conflict, it is
skipped. A journal names what its run was about to create, under names with a random suffix. Tags count only if name,
run, owner and creation time all agree.

Use it in two steps, with a list to show or confirm in between:

    scan = await find_orphans(connection, run_id, journaled=journal_state.resources)
    registry = await delete_orphans(connection, scan.orphans, journal)
    remaining = registry.leftovers()

The command `cleanup` and the Processing job client both do so. See deletion.py for how one resource is deleted.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from loadgen.aws.deployment.deletion import ResourceDeleter
from loadgen.aws.deployment.names_and_tags import CREATED_TAG, EXPIRES_TAG, NAME_PREFIX, OWNER_TAG, RUN_TAG, tag_value
from loadgen.aws.deployment.resources import Existence, Journal, ResourceKind, ResourceRegistry
from loadgen.aws.errors import SDK_ERRORS, ErrorKind, classify_error, to_loadgen_error
from loadgen.aws.identity import AwsConnection
from loadgen.aws.retry import EMULATOR_RETRY_POLICY, RetryPolicy
from loadgen.event_loop import shielded

# Tags are made just before the Create that carries them, and a Create is retried for minutes at most.
_MAX_BEFORE_TAG, _MAX_AFTER_TAG = timedelta(minutes=15), timedelta(hours=1)
_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class OrphanedResource:
    """A resource that a run may have left.

    Args:
        kind: of the resource.
        name: unique in the account and region.
        run_id: the run that created it.
        existence: how much is known of it.
        evidence: how it was found, human-readable.
    """

    kind: ResourceKind
    name: str
    run_id: str
    existence: Existence
    evidence: str

    def __str__(self) -> str:
        price = "billable" if self.kind is ResourceKind.ENDPOINT else "costs nothing"
        return f"{self.kind} {self.name} ({price}) of run {self.run_id}, {self.evidence}"


@dataclass(frozen=True, slots=True)
class TaggedResource:
    """A resource in the account whose name has loadgen's prefix.

    Args:
        kind: of the resource.
        name: unique in the account and region.
        created: AWS's creation time.
        tags: its tags; None when the caller may not read them.
    """

    kind: ResourceKind
    name: str
    created: datetime
    tags: Mapping[str, str] | None

    def belongs_to(self, run_id: str, owner: str | None) -> bool:
        """Return whether tags, name and creation time agree that this run of this owner created it.

        A tag that was copied to another resource does not match: that resource is older or younger than its tag.

        Args:
            run_id: of the run.
            owner: ARN of the caller; None accepts every owner.
        """
        if self.tags is None or self.tags.get(RUN_TAG) != tag_value(run_id) or not run_id:
            return False
        created_at = _parse_timestamp(self.tags.get(CREATED_TAG, ""))
        is_timely = created_at is not None and -_MAX_BEFORE_TAG <= self.created - created_at <= _MAX_AFTER_TAG
        return is_timely and (owner is None or _is_same_owner(self.tags.get(OWNER_TAG, ""), tag_value(owner)))

    def is_expired(self, now: datetime) -> bool:
        """Return whether its run must have ended, by the expiry tag."""
        expires = _parse_timestamp((self.tags or {}).get(EXPIRES_TAG, ""))
        return expires is not None and expires < now


@dataclass(frozen=True, slots=True)
class CleanupScan:
    """What a search for orphans found.

    Args:
        orphans: resources to delete, endpoints first.
        skipped: one human-readable line for each resource, or run, that was found and left alone.
        unreadable: why resources or tags could not all be read; empty when they could. Orphans may be missing then.
    """

    orphans: list[OrphanedResource]
    skipped: list[str]
    unreadable: str = ""


def _parse_timestamp(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None


def _is_same_owner(theirs: str, ours: str) -> bool:
    # The last part of an assumed role's ARN is the session name, which changes with each login.
    def without_session(arn: str) -> str:
        return arn.rpartition("/")[0] if ":assumed-role/" in arn else arn

    return bool(ours) and without_session(theirs) == without_session(ours)


def select_orphans(
    journaled: Mapping[tuple[ResourceKind, str], Existence],
    tagged: Sequence[TaggedResource],
    *,
    run_id: str,
    owner: str | None,
) -> tuple[list[OrphanedResource], list[str]]:
    """Decide which resources of an account a run left.

    Args:
        journaled: resources of the run's journal; empty without a journal.
        tagged: what the account holds under loadgen's name prefix.
        run_id: of the run.
        owner: ARN of the caller, compared with the owner tag; None accepts every owner.

    Returns:
        The resources to delete, endpoints first; and a line for each journaled resource that is skipped.
    """
    tagged_by_name = {(resource.kind, resource.name): resource for resource in tagged}
    orphans, skipped = [], []
    for (kind, name), existence in journaled.items():
        found = tagged_by_name.get((kind, name))
        if found is None:
            orphans.append(OrphanedResource(kind, name, run_id, existence, "in its journal"))
        elif found.tags is None:
            evidence = "in its journal; its tags cannot be read"
            orphans.append(OrphanedResource(kind, name, run_id, Existence.OBSERVED, evidence))
        elif found.tags.get(RUN_TAG) == tag_value(run_id):
            orphans.append(OrphanedResource(kind, name, run_id, Existence.OBSERVED, "in its journal and tagged"))
        else:
            skipped.append(f"{kind} {name} is in the journal of run {run_id}, but is not tagged with this run")
    selected = {(orphan.kind, orphan.name) for orphan in orphans}
    orphans += [
        OrphanedResource(resource.kind, resource.name, run_id, Existence.OBSERVED, "tagged")
        for resource in tagged
        if (resource.kind, resource.name) not in selected and resource.belongs_to(run_id, owner)
    ]
    return sorted(orphans, key=lambda orphan: (orphan.kind is not ResourceKind.ENDPOINT, orphan.name)), skipped


def select_expired(tagged: Sequence[TaggedResource], *, owner: str, now: datetime) -> CleanupScan:
    """Decide which resources belong to runs that must have ended, by their expiry tags.

    Args:
        tagged: what the account holds under loadgen's name prefix.
        owner: ARN of the caller.
        now: with a time zone.
    """
    expired = [resource for resource in tagged if resource.is_expired(now)]
    unexpired = [resource for resource in tagged if not resource.is_expired(now)]
    orphans, skipped = list[OrphanedResource](), list[str]()
    for run_id in dict.fromkeys((resource.tags or {}).get(RUN_TAG, "") for resource in tagged):
        orphans += select_orphans({}, expired, run_id=run_id, owner=owner)[0]
        if count := len(select_orphans({}, unexpired, run_id=run_id, owner=owner)[0]):
            skipped.append(f"{count} resources of run {run_id}: it may still be running (loadgen cleanup {run_id})")
    return CleanupScan(orphans, skipped)


async def find_orphans(
    connection: AwsConnection,
    run_id: str,
    *,
    journaled: Mapping[tuple[ResourceKind, str], Existence] = MappingProxyType({}),
    any_owner: bool = False,
) -> CleanupScan:
    """Find what one run left, by its journal and by tags.

    Args:
        connection: to the account.
        run_id: of the run.
        journaled: resources of the run's journal (`JournalState.resources`); empty without a journal.
        any_owner: accept any owner tag. For a Processing job, which runs under its own role.
    """
    tagged, unreadable = await list_tagged_resources(connection.clients.sagemaker)
    owner = None if any_owner else connection.owner
    return CleanupScan(*select_orphans(journaled, tagged, run_id=run_id, owner=owner), unreadable)


async def find_expired_orphans(connection: AwsConnection, now: datetime) -> CleanupScan:
    """Find what the caller's runs left and whose expiry tag has passed; list younger resources as skipped.

    Args:
        connection: to the account.
        now: with a time zone.
    """
    tagged, unreadable = await list_tagged_resources(connection.clients.sagemaker)
    return replace(select_expired(tagged, owner=connection.owner, now=now), unreadable=unreadable)


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
    page = await _retry_read(lambda: api.list_tags(ResourceArn=arn))
    return {tag["Key"]: tag["Value"] for tag in page["Tags"]}


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


async def delete_orphans(
    connection: AwsConnection, orphans: Iterable[OrphanedResource], journal: Journal
) -> ResourceRegistry:
    """Delete resources, and return a registry of those that could not be deleted (`.leftovers()`).

    A cancellation waits until the deletions have ended.

    Args:
        connection: to the account.
        orphans: what to delete.
        journal: records each deletion; `NullJournal()` records none.
    """
    registry = ResourceRegistry(
        journal,
        region=connection.clients.region,
        endpoint_url="" if connection.identity.kind == "aws" else connection.clients.control_url,
    )
    resources = [registry.track(orphan.kind, orphan.name, orphan.existence) for orphan in orphans]
    retry_policy = EMULATOR_RETRY_POLICY if connection.identity.kind == "emulator" else RetryPolicy()
    deleter = ResourceDeleter(connection.clients.sagemaker, registry, retry_policy, random.SystemRandom())
    await shielded(deleter.delete_all(resources))
    return registry

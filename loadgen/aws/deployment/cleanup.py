"""Cleanup: finding what dead runs left in an account, and removing it. Nothing else is ever touched.

What is ours is known from a journal, from tags, or from both. A journal names what its run was about to create, under
names that no one else can have by chance. Tags are believed when name, run, owner and time of creation all agree. Where
both can be read and contradict each other, the thing is left alone, and that is said.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from loadgen.aws.deployment.deletion import ResourceDeleter
from loadgen.aws.deployment.naming import CREATED_TAG, EXPIRES_TAG, NAME_PREFIX, OWNER_TAG, RUN_TAG, tag_value
from loadgen.aws.deployment.resources import Existence, Journal, ResourceKind, ResourceRegistry, TrackedResource
from loadgen.aws.errors import SDK_ERRORS, ErrorKind, classify_error, to_loadgen_error
from loadgen.aws.identity import AwsConnection
from loadgen.aws.retry import EMULATOR_RETRY_POLICY, RetryPolicy
from loadgen.errors import LoadgenError
from loadgen.event_loop import shielded

# Tags are made just before the Create that carries them; an answer that is waited for takes minutes at most.
_MAX_BEFORE_TAG, _MAX_AFTER_TAG = timedelta(minutes=15), timedelta(hours=1)
_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class OrphanedResource:
    """Something that a run may have left.

    Args:
        kind: what it is.
        name: its name.
        run_id: the run that made it.
        existence: how much is known of it.
        evidence: how it was found, in words.
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
    """A thing in the account whose name begins as ours do, with its tags; None when they may not be read."""

    kind: ResourceKind
    name: str
    created: datetime
    tags: Mapping[str, str] | None

    def belongs_to(self, run_id: str, owner: str | None) -> bool:
        """Tell whether tags, name and time agree that this run of this owner made it.

        A tag that was copied to something else does not: the thing is older or younger than its tag says.
        """
        if self.tags is None or self.tags.get(RUN_TAG) != tag_value(run_id) or not run_id:
            return False
        created_at = _parse_timestamp(self.tags.get(CREATED_TAG, ""))
        is_timely = created_at is not None and -_MAX_BEFORE_TAG <= self.created - created_at <= _MAX_AFTER_TAG
        return is_timely and (owner is None or _is_same_owner(self.tags.get(OWNER_TAG, ""), tag_value(owner)))

    def is_expired(self, now: datetime) -> bool:
        """Tell whether its run must be over."""
        expires = _parse_timestamp((self.tags or {}).get(EXPIRES_TAG, ""))
        return expires is not None and expires < now


def _parse_timestamp(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None


def _is_same_owner(theirs: str, ours: str) -> bool:
    # The last part of an assumed role's ARN is the session's name, and another one each day.
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
    """Decide what of an account a run left behind.

    Args:
        journaled: what the run's journal says; empty without one.
        tagged: what the account holds under names like ours.
        run_id: the run's.
        owner: the caller's ARN; None accepts every owner, for a run under another role, such as a Processing job's.

    Returns:
        What is to be removed, endpoints first; and what is left alone although it was noted, in words.
    """
    tagged_by_name = {(thing.kind, thing.name): thing for thing in tagged}
    orphans, skipped = [], []
    for (kind, name), existence in journaled.items():
        resource = tagged_by_name.get((kind, name))
        if resource is None:
            orphans.append(OrphanedResource(kind, name, run_id, existence, "noted in its journal"))
        elif resource.tags is None:
            orphans.append(
                OrphanedResource(
                    kind, name, run_id, Existence.OBSERVED, "noted in its journal; its tags cannot be read"
                )
            )
        elif resource.tags.get(RUN_TAG) == tag_value(run_id):
            orphans.append(OrphanedResource(kind, name, run_id, Existence.OBSERVED, "noted in its journal and tagged"))
        else:
            skipped.append(f"{kind} {name} is noted in the journal, but its tags say that it is not this run's")
    selected = {(thing.kind, thing.name) for thing in orphans}
    orphans += [
        OrphanedResource(thing.kind, thing.name, run_id, Existence.OBSERVED, "tagged")
        for thing in tagged
        if (thing.kind, thing.name) not in selected and thing.belongs_to(run_id, owner)
    ]
    return sorted(orphans, key=lambda thing: (thing.kind is not ResourceKind.ENDPOINT, thing.name)), skipped


async def list_tagged_resources(
    api: Any, name_contains: str = NAME_PREFIX
) -> tuple[list[TaggedResource], list[LoadgenError]]:
    """Look at everything in the account whose name begins as ours do; endpoints before configurations.

    Returns:
        What there is, and the distinct errors because of which some of it may be missing or without tags.
    """
    tagged: list[TaggedResource] = []
    unreadable: dict[str, LoadgenError] = {}
    for kind, pages in (
        (ResourceKind.ENDPOINT, _pages(api.list_endpoints, "Endpoints", name_contains)),
        (ResourceKind.CONFIG, _pages(api.list_endpoint_configs, "EndpointConfigs", name_contains)),
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
                        continue  # it has gone meanwhile
                    tags_error = to_loadgen_error(error, "ListTags", now=time.time())
                    unreadable.setdefault(str(tags_error), tags_error)
                tagged.append(TaggedResource(kind, name, item["CreationTime"], tags))
        except SDK_ERRORS as error:
            list_error = to_loadgen_error(error, f"List{member}s", now=time.time())
            unreadable.setdefault(str(list_error), list_error)
    return tagged, list(unreadable.values())


async def _pages(call: Any, member: str, name_contains: str) -> AsyncIterator[Mapping[str, Any]]:
    pagination: dict[str, str] = {}
    while True:
        page = await _retry_read(lambda: call(NameContains=name_contains, MaxResults=_PAGE_SIZE, **pagination))  # noqa: B023 - awaited here
        for item in page[member]:
            yield item
        if not page.get("NextToken"):
            return
        pagination = {"NextToken": page["NextToken"]}


async def _tags(api: Any, arn: str) -> Mapping[str, str]:
    page = await _retry_read(lambda: api.list_tags(ResourceArn=arn))
    return {tag["Key"]: tag["Value"] for tag in page["Tags"]}


async def _retry_read(call: Any) -> Any:
    """Repeat a call that only reads while it is throttled or its answer is lost."""
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
    """Remove what was found, and return the register of what could not be removed.

    Args:
        connection: the account.
        orphans: what to remove.
        journal: is told what is gone.
    """
    url = "" if connection.identity.kind == "aws" else connection.clients.control_url
    registry = ResourceRegistry(journal, region=connection.clients.region, endpoint_url=url)
    resources: list[TrackedResource] = [registry.track(thing.kind, thing.name, thing.existence) for thing in orphans]
    retry_policy = EMULATOR_RETRY_POLICY if connection.identity.kind == "emulator" else RetryPolicy()
    deleter = ResourceDeleter(connection.clients.sagemaker, registry, retry_policy, random.SystemRandom())
    await shielded(deleter.delete_all(resources))
    return registry

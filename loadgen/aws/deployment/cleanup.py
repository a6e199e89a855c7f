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

from loadgen.aws.deployment.deletion import Removal
from loadgen.aws.deployment.naming import CREATED, EXPIRES, OWNER, PREFIX, RUN, tag_value
from loadgen.aws.deployment.resources import Existence, Holding, Holdings, Journal, Kind
from loadgen.aws.errors import SDK_ERRORS, Trouble, explain, judge
from loadgen.aws.identity import Reached
from loadgen.aws.retry import EMULATED, Pace
from loadgen.event_loop import to_the_end

# Tags are made just before the Create that carries them; an answer that is waited for takes minutes at most.
_BEFORE, _AFTER = timedelta(minutes=15), timedelta(hours=1)
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Found:
    """Something that a run may have left.

    Args:
        kind: what it is.
        name: its name.
        run_id: the run that made it.
        existence: how much is known of it.
        how: how it was found, in words.
    """

    kind: Kind
    name: str
    run_id: str
    existence: Existence
    how: str

    def __str__(self) -> str:
        price = "billable" if self.kind is Kind.ENDPOINT else "costs nothing"
        return f"{self.kind} {self.name} ({price}) of run {self.run_id}, {self.how}"


@dataclass(frozen=True, slots=True)
class Tagged:
    """A thing in the account whose name begins as ours do, with its tags; None when they may not be read."""

    kind: Kind
    name: str
    created: datetime
    tags: Mapping[str, str] | None

    def is_of(self, run_id: str, owner: str) -> bool:
        """Tell whether tags, name and time agree that this run of this owner made it.

        A tag that was copied to something else does not: the thing is older or younger than its tag says.
        """
        if self.tags is None or self.tags.get(RUN) != tag_value(run_id) or not run_id:
            return False
        made = _instant(self.tags.get(CREATED, ""))
        is_timely = made is not None and -_BEFORE <= self.created - made <= _AFTER
        return is_timely and _is_same_owner(self.tags.get(OWNER, ""), tag_value(owner))

    def is_expired(self, now: datetime) -> bool:
        """Tell whether its run must be over."""
        expires = _instant((self.tags or {}).get(EXPIRES, ""))
        return expires is not None and expires < now


def _instant(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None


def _is_same_owner(theirs: str, ours: str) -> bool:
    # The last part of an assumed role's ARN is the session's name, and another one each day.
    def lasting(arn: str) -> str:
        return arn.rpartition("/")[0] if ":assumed-role/" in arn else arn

    return bool(ours) and lasting(theirs) == lasting(ours)


def decide(
    standing: Mapping[tuple[Kind, str], Existence], tagged: Sequence[Tagged], *, run_id: str, owner: str
) -> tuple[list[Found], list[str]]:
    """Decide what of an account a run left behind.

    Args:
        standing: what the run's journal says; empty without one.
        tagged: what the account holds under names like ours.
        run_id: the run's.
        owner: the caller's ARN.

    Returns:
        What is to be removed, endpoints first; and what is left alone although it was noted, in words.
    """
    seen = {(thing.kind, thing.name): thing for thing in tagged}
    found, spared = [], []
    for (kind, name), existence in standing.items():
        thing = seen.get((kind, name))
        if thing is None:
            found.append(Found(kind, name, run_id, existence, "noted in its journal"))
        elif thing.tags is None:
            found.append(Found(kind, name, run_id, Existence.SEEN, "noted in its journal; its tags cannot be read"))
        elif thing.tags.get(RUN) == tag_value(run_id):
            found.append(Found(kind, name, run_id, Existence.SEEN, "noted in its journal and tagged"))
        else:
            spared.append(f"{kind} {name} is noted in the journal, but its tags say that it is not this run's")
    known = {(thing.kind, thing.name) for thing in found}
    found += [
        Found(thing.kind, thing.name, run_id, Existence.SEEN, "tagged")
        for thing in tagged
        if (thing.kind, thing.name) not in known and thing.is_of(run_id, owner)
    ]
    return sorted(found, key=lambda thing: (thing.kind is not Kind.ENDPOINT, thing.name)), spared


async def survey(api: Any, contains: str = PREFIX) -> tuple[list[Tagged], str]:
    """Look at everything in the account whose name begins as ours do; endpoints before configurations.

    Returns:
        What there is, and why not all of it could be seen, in words; empty when it could.
    """
    tagged: list[Tagged] = []
    unseen: dict[str, None] = {}
    for kind, pages in (
        (Kind.ENDPOINT, _pages(api.list_endpoints, "Endpoints", contains)),
        (Kind.CONFIG, _pages(api.list_endpoint_configs, "EndpointConfigs", contains)),
    ):
        member = "Endpoint" if kind is Kind.ENDPOINT else "EndpointConfig"
        try:
            async for listed in pages:
                name = str(listed[f"{member}Name"])
                if not name.startswith(PREFIX):
                    continue
                tags: Mapping[str, str] | None = None
                try:
                    tags = await _tags(api, str(listed[f"{member}Arn"]))
                except SDK_ERRORS as error:
                    if judge(error) is Trouble.MISSING:
                        continue  # it has gone meanwhile
                    unseen[str(explain(error, "ListTags", now=time.time()))] = None
                tagged.append(Tagged(kind, name, listed["CreationTime"], tags))
        except SDK_ERRORS as error:
            unseen[str(explain(error, f"List{member}s", now=time.time()))] = None
    return tagged, "; ".join(unseen)


async def _pages(call: Any, member: str, contains: str) -> AsyncIterator[Mapping[str, Any]]:
    more: dict[str, str] = {}
    while True:
        page = await _patiently(lambda: call(NameContains=contains, MaxResults=_PAGE, **more))  # noqa: B023 - awaited here
        for listed in page[member]:
            yield listed
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}


async def _tags(api: Any, arn: str) -> Mapping[str, str]:
    page = await _patiently(lambda: api.list_tags(ResourceArn=arn))
    return {tag["Key"]: tag["Value"] for tag in page["Tags"]}


async def _patiently(call: Any) -> Any:
    """Repeat a call that only reads while it is throttled or its answer is lost."""
    for pause in Pace(poll=0.2).pauses(30.0, random.SystemRandom()):
        try:
            return await call()
        except SDK_ERRORS as error:
            if judge(error) not in {Trouble.THROTTLED, Trouble.LOST, Trouble.UNREACHED}:
                raise
        await asyncio.sleep(pause)
    return await call()


async def remove(reached: Reached, found: Iterable[Found], journal: Journal) -> Holdings:
    """Remove what was found, and return the register of what could not be removed.

    Args:
        reached: the account.
        found: what to remove.
        journal: is told what is gone.
    """
    url = "" if reached.identity.kind == "aws" else reached.clients.control_url
    holdings = Holdings(journal, region=reached.clients.region, endpoint_url=url)
    held: list[Holding] = [holdings.admit(thing.kind, thing.name, thing.existence) for thing in found]
    pace = EMULATED if reached.identity.kind == "emulator" else Pace()
    removal = Removal(reached.clients.sagemaker, holdings, pace, random.SystemRandom())
    await to_the_end(removal.remove_all(held))
    return holdings

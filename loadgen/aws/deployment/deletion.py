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

from loadgen.aws.deployment.resources import Existence, Holding, Holdings, Kind
from loadgen.aws.errors import SDK_ERRORS, Trouble, judge, text_of
from loadgen.aws.retry import Pace

# DescribeEndpoint's EndpointStatus (botocore service model sagemaker 2017-07-24): those that change by themselves.
CHANGING = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


class Removal:
    """Deletes things of one account."""

    def __init__(self, api: Any, holdings: Holdings, pace: Pace, rng: random.Random) -> None:
        self._api = api
        self._holdings = holdings
        self._pace = pace
        self._rng = rng

    async def remove(self, held: Sequence[Holding]) -> list[Holding]:
        """Delete these things, endpoints first, and return what could not be removed; its entry says why."""
        for holding in held:
            if holding.existence is Existence.ABSENT:
                self._holdings.drop(holding)
        for holding in self._left(held, Kind.ENDPOINT):
            await self._remove(holding, self._api.delete_endpoint, EndpointName=holding.name)
        standing = {holding.name for holding in self._left(held, Kind.ENDPOINT)}
        for holding in self._left(held, Kind.CONFIG):
            if holding.name in standing:
                holding.trouble = "its endpoint still exists"
            else:
                await self._remove(holding, self._api.delete_endpoint_config, EndpointConfigName=holding.name)

        return [holding for holding in self._holdings if holding in held]

    async def remove_all(self, held: Sequence[Holding]) -> None:
        """Delete many things at once, each endpoint before its configuration."""
        names = dict.fromkeys(holding.name for holding in held)
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self.remove([holding for holding in held if holding.name == name]))

    def _left(self, held: Sequence[Holding], kind: Kind) -> list[Holding]:
        return [holding for holding in self._holdings if holding.kind is kind and holding in held]

    async def _remove(self, holding: Holding, delete: Callable[..., Any], **named: str) -> None:
        """Delete until it is known to be gone, or until the budget is used up; never raises."""
        began = time.perf_counter()
        self._holdings.condemn(holding)
        for pause in self._pace.steps(self._pace.removal, self._rng):
            try:
                await delete(**named)
            except SDK_ERRORS as error:
                trouble = judge(error)
                if trouble is Trouble.MISSING:
                    # A thing that no other call has found may still be on its way.
                    if holding.existence is Existence.SEEN or time.perf_counter() - began >= self._pace.settle:
                        self._holdings.drop(holding)
                        return
                else:
                    holding.trouble = text_of(error)
                    is_out = trouble is Trouble.UNREACHED and time.perf_counter() - began >= self._pace.outage
                    if is_out or (trouble is Trouble.REFUSED and not await self._is_changing(holding)):
                        return
            else:
                holding.existence = Existence.SEEN
                holding.trouble = "deletion was accepted and has not been seen to end"
                if holding.kind is Kind.CONFIG:
                    self._holdings.drop(holding)
                    return
                if await self._is_gone(holding):
                    self._holdings.drop(holding)
                    return
            await asyncio.sleep(pause)
        holding.trouble += f" (given up after {self._pace.removal:g} s)"

    async def _is_gone(self, holding: Holding) -> bool:
        """Watch a deletion; False when it ended in something else, or not in time, or out of sight."""
        heard = time.perf_counter()
        for pause in self._pace.steps(self._pace.removal, self._rng):
            try:
                answer = await self._api.describe_endpoint(EndpointName=holding.name)
            except SDK_ERRORS as error:
                trouble, now = judge(error), time.perf_counter()
                if trouble is Trouble.MISSING:
                    return True
                if trouble is not Trouble.UNREACHED:
                    heard = now
                elif now - heard >= self._pace.outage:
                    return False
            else:
                heard = time.perf_counter()
                if answer["EndpointStatus"] not in CHANGING:
                    return False
            await asyncio.sleep(pause)
        return False

    async def _is_changing(self, holding: Holding) -> bool:
        """Tell whether a refused deletion may be accepted later, whatever the refusal's wording was."""
        if holding.kind is not Kind.ENDPOINT:
            return False
        try:
            answer = await self._api.describe_endpoint(EndpointName=holding.name)
        except SDK_ERRORS as error:
            return judge(error) is not Trouble.REFUSED
        return answer["EndpointStatus"] in CHANGING

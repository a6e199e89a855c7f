"""The life of one endpoint: create its config and itself, wait until it is in service, remove every trace.

Rule: from just before a Create call goes out until the thing is known to be gone it stands in the account's Holdings.
Creates are never sent twice blindly: names are ours alone, so "exists" after a lost answer means that the first call
had its effect, and "exists" without one means that the name is someone else's and is never touched.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from loadgen.aws.ending import to_the_end
from loadgen.aws.failure import SDK_ERRORS, Trouble, explain, judge, text_of
from loadgen.aws.holdings import Existence, Holding, Holdings, Kind
from loadgen.aws.naming import variant
from loadgen.errors import LoadgenError, QuotaError, UnavailableError
from loadgen.target import ServerlessConfig

_NAMES_TRIED = 3
# DescribeEndpoint's EndpointStatus (same model): those that change by themselves, and those that never will.
_CHANGING = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})
_BACKOFF_LIMIT = 8.0  # times the poll


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait for what, all in seconds.

    Args:
        poll: between two looks at an endpoint, give or take a third.
        deploy: from Create to InService at most.
        visible: until a config that was just created must be visible to CreateEndpoint.
        patience: for a control plane that throttles or cannot be reached.
        settle: until a Create whose answer was lost must have shown its effect.
        removal: for one deletion, refusals while the endpoint is changing included.
        outage: for a deletion while nothing can be reached.
    """

    poll: float = 3.0
    deploy: float = 1800.0
    visible: float = 60.0
    patience: float = 120.0
    settle: float = 15.0
    removal: float = 900.0
    outage: float = 900.0


class Deployment:
    """One endpoint of ours, from nothing to nothing. Made by `deployed`."""

    def __init__(self, api: Any, holdings: Holdings, pace: Pace, rng: random.Random) -> None:
        self.name = ""
        self.deployed_in = 0.0
        self._api = api
        self._holdings = holdings
        self._pace = pace
        self._rng = rng
        self._held: list[Holding] = []

    def _pauses(self, budget: float) -> Iterator[float]:
        """Yield jittered pauses, each about twice the last, until they would exceed the budget."""
        deadline, pause = time.perf_counter() + budget, self._pace.poll
        while (now := time.perf_counter()) < deadline:
            yield min(pause * self._rng.uniform(0.5, 1.0), deadline - now)
            pause = min(2 * pause, _BACKOFF_LIMIT * self._pace.poll)

    def _steps(self, budget: float) -> Iterator[float]:
        """Yield even pauses, give or take a third, until they would exceed the budget."""
        deadline = time.perf_counter() + budget
        while (now := time.perf_counter()) < deadline:
            yield min(self._pace.poll * self._rng.uniform(2 / 3, 4 / 3), deadline - now)

    # --- creating ---------------------------------------------------------------------------------------------------

    async def create(self, names: Iterator[str], model: str, config: ServerlessConfig, tags: Mapping[str, str]) -> None:
        """Create config and endpoint under the first of `names` that is free."""
        tagged = [{"Key": key, "Value": value} for key, value in tags.items()]
        for name in islice(names, _NAMES_TRIED):
            self.name = name
            arguments = {"EndpointConfigName": name, "ProductionVariants": [variant(model, config)], "Tags": tagged}
            if not await self._create(Kind.CONFIG, name, self._api.create_endpoint_config, arguments):
                continue
            began = time.perf_counter()
            arguments = {"EndpointName": name, "EndpointConfigName": name, "Tags": tagged}
            if await self._create(Kind.ENDPOINT, name, self._api.create_endpoint, arguments):
                await self._in_service()
                self.deployed_in = time.perf_counter() - began
                return
        raise UnavailableError(f"{_NAMES_TRIED} generated names such as {self.name} are taken", hint="try again")

    async def _create(self, kind: Kind, name: str, call: Callable[..., Any], arguments: Mapping[str, Any]) -> bool:
        """Send one Create until its effect is known; False when the name is someone else's."""
        holding = self._holdings.expect(kind, name)
        self._held.append(holding)
        patience, visible = self._pauses(self._pace.patience), self._pauses(self._pace.visible)
        while True:
            # The call in flight is always awaited, so that its effect is known after a cancellation too.
            error = await to_the_end(_attempt(call(**arguments), holding))
            if error is None:
                return True
            trouble = judge(error)
            if trouble is Trouble.EXISTS:
                self._forget(holding)
                return False
            pause = None
            if trouble in {Trouble.LOST, Trouble.THROTTLED, Trouble.UNREACHED}:
                pause = next(patience, None)
            elif trouble is Trouble.MISSING and kind is Kind.ENDPOINT:
                pause = next(visible, None)  # the config is there, but not everywhere yet
            if pause is None:
                raise self._explained(error, kind, name, trouble) from error
            await asyncio.sleep(pause)

    def _explained(self, error: BaseException, kind: Kind, name: str, trouble: Trouble) -> LoadgenError:
        verb = "CreateEndpoint" if kind is Kind.ENDPOINT else "CreateEndpointConfig"
        if trouble is Trouble.MISSING and kind is Kind.ENDPOINT:
            return UnavailableError(
                f"{verb} {name}: its config was not visible after {self._pace.visible:g} s ({text_of(error)})"
            )
        return explain(error, f"{verb} {name}", now=time.time())

    def _forget(self, holding: Holding) -> None:
        self._holdings.drop(holding)
        self._held.remove(holding)

    async def _in_service(self) -> None:
        """Poll until the endpoint is InService.

        Raises:
            UnavailableError: it failed, vanished, or was not ready in time.
        """
        began = heard = time.perf_counter()
        status = "Creating"
        for pause in self._steps(self._pace.deploy):
            try:
                answer = await self._api.describe_endpoint(EndpointName=self.name)
            except SDK_ERRORS as error:
                # Not visible yet, throttled or cut off: only time tells. Anything else is final.
                now, trouble = time.perf_counter(), judge(error)
                if trouble is not Trouble.UNREACHED:
                    heard = now
                if (
                    trouble is Trouble.REFUSED
                    or (trouble is Trouble.MISSING and now - began >= self._pace.visible)
                    or now - heard >= self._pace.patience
                ):
                    raise explain(error, f"DescribeEndpoint {self.name}", now=time.time()) from error
                status = text_of(error)
            else:
                heard = time.perf_counter()
                self._see()
                status = answer["EndpointStatus"]
                if status == "InService":
                    return
                if status not in _CHANGING:
                    raise _failed(self.name, status, answer.get("FailureReason", ""))
            await asyncio.sleep(pause)
        raise UnavailableError(
            f"endpoint {self.name} was not in service after {self._pace.deploy:g} s; last seen: {status}",
            hint="allow more with deploy_timeout, or look at the endpoint's log in CloudWatch",
        )

    def _see(self) -> None:
        for holding in self._held:
            holding.existence = Existence.SEEN  # an endpoint is made from a config that was found

    # --- removing ---------------------------------------------------------------------------------------------------

    async def remove(self) -> None:
        """Delete what is held, endpoints first; what cannot be removed stays in the Holdings with the reason."""
        for holding in [h for h in self._held if h.existence is Existence.ABSENT]:
            self._forget(holding)
        for holding in [h for h in self._held if h.kind is Kind.ENDPOINT]:
            await self._remove(holding, self._api.delete_endpoint, EndpointName=holding.name)
        standing = {h.name for h in self._held if h.kind is Kind.ENDPOINT}
        for holding in [h for h in self._held if h.kind is Kind.CONFIG]:
            if holding.name in standing:
                holding.trouble = "its endpoint still exists"
            else:
                await self._remove(holding, self._api.delete_endpoint_config, EndpointConfigName=holding.name)

    async def _remove(self, holding: Holding, delete: Callable[..., Any], **named: str) -> None:
        """Delete until it is known to be gone, or until the budget is used up; never raises."""
        began = time.perf_counter()
        for pause in self._steps(self._pace.removal):
            try:
                await delete(**named)
            except SDK_ERRORS as error:
                trouble = judge(error)
                if trouble is Trouble.MISSING:
                    # A thing that no other call has found may still be on its way.
                    if holding.existence is Existence.SEEN or time.perf_counter() - began >= self._pace.settle:
                        self._forget(holding)
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
                    self._forget(holding)
                    return
                if await self._is_gone(holding):
                    self._forget(holding)
                    return
            await asyncio.sleep(pause)
        holding.trouble += f" (given up after {self._pace.removal:g} s)"

    async def _is_gone(self, holding: Holding) -> bool:
        """Watch a deletion; False when it ended in something else, or not in time, or out of sight."""
        heard = time.perf_counter()
        for pause in self._steps(self._pace.removal):
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
                if answer["EndpointStatus"] not in _CHANGING:
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
        return answer["EndpointStatus"] in _CHANGING


async def _attempt(call: Awaitable[Any], holding: Holding) -> Exception | None:
    """Make one Create call, note what it says of the thing's existence, and return the error if it failed."""
    before = holding.existence
    holding.existence = max(before, Existence.UNKNOWN)
    try:
        await call
    except SDK_ERRORS as error:
        trouble = judge(error)
        if trouble is Trouble.EXISTS and before is Existence.UNKNOWN:
            holding.existence = Existence.SEEN  # an earlier call, whose answer was lost, had its effect
            return None
        if trouble is not Trouble.LOST:
            holding.existence = before
        return cast("Exception", error)
    holding.existence = Existence.CREATED
    return None


def _failed(name: str, status: str, reason: str) -> LoadgenError:
    message = f"endpoint {name} is {status}: {reason or 'AWS gives no reason'}"
    # A quota can strike after CreateEndpoint was accepted; then it stands in the reason.
    return QuotaError(message) if "ResourceLimitExceeded" in reason else UnavailableError(message)


@asynccontextmanager
async def deployed(
    api: Any,
    holdings: Holdings,
    names: Iterator[str],
    *,
    model: str,
    config: ServerlessConfig,
    tags: Mapping[str, str],
    pace: Pace,
    rng: random.Random,
) -> AsyncIterator[Deployment]:
    """Deploy an endpoint, and remove every trace of it on the way out, whatever happened.

    A cancellation waits for the removal, which takes `pace.removal` seconds at most. What could not be removed stays
    in `holdings`.

    Raises:
        UnavailableError: it failed, or was not in service in time.
        QuotaError: the account refused it.
        AuthError: the caller may not create or tag it; nothing is created untagged.
    """
    deployment = Deployment(api, holdings, pace, rng)
    try:
        await deployment.create(names, model, config, tags)
        yield deployment
    finally:
        await to_the_end(deployment.remove())

"""The life of one endpoint: create its config and itself, wait until it is in service, remove every trace.

Rule: from just before a Create call goes out until the thing is known to be gone it stands in the account's Holdings.
Creates are never sent twice blindly: names are ours alone, so "exists" after a lost answer means that the first call
had its effect, and "exists" without one means that the name is someone else's and is never touched. How things are
removed is removal.py's.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, cast

from loadgen.aws.deployment.deletion import CHANGING, Removal
from loadgen.aws.deployment.naming import variant
from loadgen.aws.deployment.resources import Existence, Holding, Holdings, Kind
from loadgen.aws.errors import SDK_ERRORS, Trouble, explain, judge, text_of
from loadgen.aws.retry import Pace
from loadgen.errors import LoadgenError, QuotaError, UnavailableError
from loadgen.event_loop import to_the_end
from loadgen.workload.serverless_config import ServerlessConfig

_NAMES_TRIED = 3


class Deployment:
    """One endpoint of ours, from nothing to nothing. Made by `deployed`."""

    def __init__(self, api: Any, holdings: Holdings, pace: Pace, rng: random.Random) -> None:
        self.name = ""
        self.deployed_in = 0.0
        self._api = api
        self._holdings = holdings
        self._pace = pace
        self._rng = rng
        self._removal = Removal(api, holdings, pace, rng)
        self._held: list[Holding] = []

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
        patience, visible = (
            self._pace.pauses(self._pace.patience, self._rng),
            self._pace.pauses(self._pace.visible, self._rng),
        )
        while True:
            # The call in flight is always awaited, so that its effect is known after a cancellation too.
            error = await to_the_end(_attempt(call(**arguments), holding))
            if error is None:
                self._holdings.confirm(holding)
                return True
            trouble = judge(error)
            if trouble is Trouble.EXISTS:
                self._holdings.drop(holding)
                self._held.remove(holding)
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

    async def _in_service(self) -> None:
        """Poll until the endpoint is InService.

        Raises:
            UnavailableError: it failed, vanished, or was not ready in time.
        """
        began = heard = time.perf_counter()
        status = "Creating"
        for pause in self._pace.steps(self._pace.deploy, self._rng):
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
                if status not in CHANGING:
                    raise _failed(self.name, status, answer.get("FailureReason", ""))
            await asyncio.sleep(pause)
        raise UnavailableError(
            f"endpoint {self.name} was not in service after {self._pace.deploy:g} s; last seen: {status}",
            hint="allow more with deploy_timeout, or look at the endpoint's log in CloudWatch",
        )

    def _see(self) -> None:
        for holding in self._held:
            holding.existence = Existence.SEEN  # an endpoint is made from a config that was found

    async def remove(self) -> None:
        """Delete what is held; what cannot be removed stays in the Holdings with the reason."""
        self._held = await self._removal.remove(self._held)


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

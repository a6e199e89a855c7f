"""The life of an endpoint against the emulator: whatever goes wrong, nothing is left behind or it is named."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from far_side import until

from loadgen.aws.endpoint import Deployment, deployed
from loadgen.aws.holdings import Holdings, NoJournal
from loadgen.aws.naming import tags
from loadgen.aws.pace import Pace
from loadgen.aws.session import Access, Clients, open_clients
from loadgen.emulator.server import Emulator, Settings, serve
from loadgen.errors import AuthError, QuotaError, UnavailableError
from loadgen.target import ServerlessConfig

CONFIG = ServerlessConfig(2048, 4)
FAST = Pace(poll=0.01, deploy=5.0, visible=0.5, patience=1.0, settle=0.2, removal=2.0, outage=0.2)


@dataclass
class Noted:
    """A journal in memory."""

    entries: list[tuple[str, str, str]] = field(default_factory=list)

    def note(self, event: str, kind: str, name: str) -> None:
        self.entries.append((str(event), str(kind), name))


@dataclass
class World:
    """An emulated account and a way into it."""

    emulator: Emulator
    clients: Clients
    holdings: Holdings
    journal: Noted

    def deploy(self, names: Any = None, *, pace: Pace = FAST, model: str = "instant") -> Any:
        names = names or (f"loadgen-{n}" for n in itertools.count(1))
        given_tags = tags(run_id="r", owner="me", created=datetime(2026, 11, 22, tzinfo=UTC))
        rng = random.Random(1)
        return deployed(
            self.clients.sagemaker,
            self.holdings,
            iter(names),
            model=model,
            config=CONFIG,
            tags=given_tags,
            pace=pace,
            rng=rng,
        )

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        self.emulator.faults.add({"operation": operation, "kind": kind, **more})

    async def standing(self) -> set[str]:
        """Ask the account itself what it holds."""
        endpoints = await self.clients.sagemaker.list_endpoints()
        configs = await self.clients.sagemaker.list_endpoint_configs()
        return {e["EndpointName"] for e in endpoints["Endpoints"]} | {
            "config " + c["EndpointConfigName"] for c in configs["EndpointConfigs"]
        }


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    async with (
        serve(Settings(**({"time_scale": 10_000.0} | settings))) as emulator,
        open_clients(Access(emulator_url=emulator.url)) as clients,
    ):
        journal = Noted()
        yield World(emulator, clients, Holdings(journal, region="us-east-1"), journal)


def test_an_endpoint_is_deployed_tagged_and_removed():
    """It is in service inside the block with our tags and configuration; afterwards the account is empty."""

    async def main() -> None:
        async with world() as w:
            async with w.deploy() as deployment:
                described = await w.clients.sagemaker.describe_endpoint(EndpointName=deployment.name)
                assert described["EndpointStatus"] == "InService"
                serverless = described["ProductionVariants"][0]["CurrentServerlessConfig"]
                assert (serverless["MemorySizeInMB"], serverless["MaxConcurrency"]) == (2048, 4)
                for arn in (
                    described["EndpointArn"],
                    described["EndpointArn"].replace("endpoint/", "endpoint-config/"),
                ):
                    listed = await w.clients.sagemaker.list_tags(ResourceArn=arn)
                    found = {tag["Key"]: tag["Value"] for tag in listed["Tags"]}
                    assert found == {
                        "loadgen:run": "r",
                        "loadgen:owner": "me",
                        "loadgen:created": "2026-11-22T00:00:00+00:00",
                        "loadgen:expires": "2026-11-23T00:00:00+00:00",
                    }
                assert 0 < deployment.deployed_in < 5
                assert w.holdings.lines()
            assert await w.standing() == set()
            assert w.holdings.lines() == []

    asyncio.run(main())


def test_intents_precede_creates_and_are_closed():
    """The journal hears of each name before its Create goes out, and again once it is gone: endpoint, then config."""

    async def main() -> None:
        async with world() as w:
            async with w.deploy():
                opened = list(w.journal.entries)
            kinds = ("endpoint-config", "endpoint")
            assert opened == [(event, kind, "loadgen-1") for kind in kinds for event in ("intent", "created")]
            closed = w.journal.entries[4:]
            assert closed == [(event, kind, "loadgen-1") for kind in reversed(kinds) for event in ("deleting", "gone")]

    asyncio.run(main())


LOST = [
    ("CreateEndpointConfig", "error_before"),
    ("CreateEndpointConfig", "error_after"),
    ("CreateEndpointConfig", "cut"),
    ("CreateEndpoint", "error_before"),
    ("CreateEndpoint", "error_after"),
    ("CreateEndpoint", "cut"),
]


@pytest.mark.parametrize(("operation", "kind"), LOST)
def test_a_lost_answer_to_a_create_is_reconciled(operation, kind):
    """Whether the lost call had its effect or not, there is one endpoint, ours, and it is removed (C55)."""

    async def main() -> None:
        async with world() as w:
            w.fault(operation, kind)
            async with w.deploy():
                assert await w.standing() == {"loadgen-1", "config loadgen-1"}
            assert await w.standing() == set()
            assert w.holdings.lines() == []

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["error_before", "error_after", "cut"])
def test_a_create_that_never_answers_leaves_nothing(kind):
    """When every answer to CreateEndpoint is lost: "exists" settles it if the first had its effect; else it fails."""

    async def main() -> None:
        async with world() as w:
            w.fault("CreateEndpoint", kind, times=0)
            if kind == "error_before":
                with pytest.raises(UnavailableError, match="the service failed"):
                    async with w.deploy(pace=replace(FAST, patience=0.05)):
                        pass
            else:
                async with w.deploy():
                    assert await w.standing() == {"loadgen-1", "config loadgen-1"}
            assert await w.standing() == set()
            assert w.holdings.lines() == []

    asyncio.run(main())


@pytest.mark.parametrize(
    "operation",
    ["CreateEndpointConfig", "CreateEndpoint", "DescribeEndpoint", "DeleteEndpoint", "DeleteEndpointConfig"],
)
def test_a_throttled_control_plane_is_waited_for(operation):
    """Five refusals for too many calls delay each operation and change nothing else (C54)."""

    async def main() -> None:
        async with world() as w:
            w.fault(operation, "throttle", times=5)
            async with w.deploy(pace=replace(FAST, poll=0.002)):
                assert await w.standing() == {"loadgen-1", "config loadgen-1"}
            assert await w.standing() == set()
            assert w.holdings.lines() == []

    asyncio.run(main())


def test_a_throttle_without_end_is_a_quota_error():
    """A control plane that throttles beyond our patience is told as something that may work later (C54)."""

    async def main() -> None:
        async with world() as w:
            w.fault("CreateEndpoint", "throttle", times=0)
            with pytest.raises(QuotaError, match="throttled"):
                async with w.deploy(pace=replace(FAST, patience=0.05)):
                    pass
            w.emulator.faults.clear()
            assert await w.standing() == set()

    asyncio.run(main())


def test_a_config_not_yet_visible_is_waited_for():
    """'Could not find endpoint configuration' just after it was created is eventual consistency (C50)."""
    unseen = {"status": 400, "code": "ValidationException", "message": 'Could not find endpoint configuration "x".'}

    async def main() -> None:
        async with world() as w:
            w.fault("CreateEndpoint", "error_before", times=3, **unseen)
            async with w.deploy():
                pass
            w.fault("CreateEndpoint", "error_before", times=0, **unseen)
            with pytest.raises(UnavailableError, match="not visible"):
                async with w.deploy(pace=replace(FAST, visible=0.05)):
                    pass
            assert await w.standing() == set()

    asyncio.run(main())


def test_a_failed_endpoint_tells_the_reason_word_for_word():
    """FailureReason comes through unchanged, and the failed endpoint is removed (C52)."""
    reason = "The primary container for production variant AllTraffic did not pass the ping health check."

    async def main() -> None:
        async with world() as w:
            w.fault("CreateEndpoint", "fail_deploy", message=reason)
            with pytest.raises(UnavailableError) as caught:
                async with w.deploy():
                    pass
            assert reason in caught.value.message
            assert "loadgen-1" in caught.value.message
            assert await w.standing() == set()

    asyncio.run(main())


def test_a_quota_is_told_as_one():
    """ResourceLimitExceeded at CreateEndpoint is a QuotaError with AWS's text, and the config is removed (C49)."""

    async def main() -> None:
        async with world(quotas="ordinary") as w:
            names = iter(["loadgen-a"])
            with pytest.raises(QuotaError, match="service limit 'Memory size in MB per serverless endpoint' is 3072"):
                async with deployed(
                    w.clients.sagemaker,
                    w.holdings,
                    names,
                    model="instant",
                    config=ServerlessConfig(4096, 1),
                    tags={},
                    pace=FAST,
                    rng=random.Random(1),
                ):
                    pass
            assert await w.standing() == set()
            assert w.holdings.lines() == []

    asyncio.run(main())


def test_an_endpoint_stuck_in_creation_is_named_with_its_command():
    """Past the deadline the deployment fails; AWS refuses to delete it, so it is named with the command (C53)."""

    async def main() -> None:
        async with world() as w:
            w.fault("CreateEndpoint", "status_stuck")
            with pytest.raises(UnavailableError, match=r"not in service after 0.1 s; last seen: Creating"):
                async with w.deploy(pace=replace(FAST, deploy=0.1, removal=0.2)):
                    pass
            endpoint, config = w.holdings.lines()
            assert "in-progress" in endpoint
            assert endpoint.endswith("; aws sagemaker delete-endpoint --endpoint-name loadgen-1 --region us-east-1")
            assert "its endpoint still exists" in config
            assert "delete-endpoint-config --endpoint-config-name loadgen-1" in config
            assert await w.standing() == {"loadgen-1", "config loadgen-1"}

    asyncio.run(main())


DENIED = {"status": 400, "code": "AccessDeniedException"}


def test_a_denied_deletion_is_named_at_once():
    """Nobody who may not delete tries for a quarter of an hour: the endpoint is named with the reason (C46, C57)."""

    async def main() -> None:
        async with world() as w:
            async with w.deploy(pace=replace(FAST, removal=600.0)):
                w.fault("DeleteEndpoint", "error_before", times=0, **DENIED, message="User: u is not authorized")
            endpoint, _config = w.holdings.lines()
            assert "AccessDeniedException: User: u is not authorized" in endpoint

    asyncio.run(main())


def test_a_config_that_stays_is_named_as_free_of_cost():
    """When only the config's deletion fails the endpoint is gone all the same, and the config is named (C59)."""

    async def main() -> None:
        async with world() as w:
            async with w.deploy():
                w.fault("DeleteEndpointConfig", "error_before", times=0, **DENIED, message="no")
            (line,) = w.holdings.lines()
            assert line.startswith("endpoint-config loadgen-1 (costs nothing): AccessDeniedException: no")
            assert await w.standing() == {"config loadgen-1"}

    asyncio.run(main())


def test_a_denied_create_leaves_no_traces_and_no_claims():
    """Refused outright, nothing exists: no lines, no deletes sent, the error names action and resource (C46, C47)."""
    text = "User: arn:aws:iam::1:user/u is not authorized to perform: sagemaker:AddTags on resource: arn:aws:x"

    async def main() -> None:
        async with world() as w:
            w.fault("CreateEndpointConfig", "error_before", **DENIED, message=text)
            with pytest.raises(AuthError, match=r"arn:aws:iam::1:user/u is not allowed sagemaker:AddTags on arn:aws:x"):
                async with w.deploy():
                    pass
            assert w.holdings.lines() == []
            assert await w.standing() == set()

    asyncio.run(main())


def test_a_deletion_by_someone_else_is_a_success():
    """'Could not find' when deleting means that it is gone, which is what was wanted (C56)."""

    async def main() -> None:
        async with world() as w:
            async with w.deploy() as deployment:
                await w.clients.sagemaker.delete_endpoint(EndpointName=deployment.name)
                await w.clients.sagemaker.delete_endpoint_config(EndpointConfigName=deployment.name)
            assert w.holdings.lines() == []

    asyncio.run(main())


def test_a_name_of_someone_else_is_never_touched():
    """A name that is taken is left alone, endpoint and config; the next name is used (C51)."""

    async def main() -> None:
        async with world() as w, w.deploy(["theirs"]) as _:
            theirs = Holdings(NoJournal(), region="us-east-1")
            mine = World(w.emulator, w.clients, theirs, Noted())
            async with mine.deploy(["theirs", "ours"]) as deployment:
                assert deployment.name == "ours"
            assert await w.standing() == {"theirs", "config theirs"}
            with pytest.raises(UnavailableError, match="taken"):
                async with mine.deploy(["theirs"] * 3):
                    pass
            assert await w.standing() == {"theirs", "config theirs"}
            assert theirs.lines() == []

    asyncio.run(main())


def test_an_endpoint_name_taken_under_a_free_config_name_frees_the_config():
    """When only the endpoint's name is taken, the config made for it is removed with the rest."""

    async def main() -> None:
        async with world() as w, w.deploy(["theirs"]):
            await w.clients.sagemaker.delete_endpoint_config(EndpointConfigName="theirs")
            mine = World(w.emulator, w.clients, Holdings(NoJournal(), region="us-east-1"), Noted())
            async with mine.deploy(["theirs", "ours"]):
                assert await w.standing() == {"theirs", "config theirs", "ours", "config ours"}
            assert await w.standing() == {"theirs"}

    asyncio.run(main())


def test_errors_in_the_block_pass_through():
    """What goes wrong while the endpoint is in use is told as it is, after the removal."""

    async def main() -> None:
        async with world() as w:
            with pytest.raises(ZeroDivisionError):
                async with w.deploy():
                    _ = 1 // 0
            assert await w.standing() == set()

    asyncio.run(main())


async def _cancelled_at(w: World, event: str, number: int) -> bool:
    """Deploy and use an endpoint, and cancel when `event` happens for the `number`th time; tell whether it did."""
    count = 0
    task: asyncio.Task[None] | None = None

    def strike(**_: object) -> None:
        nonlocal count
        count += 1
        if count == number and task is not None:
            task.cancel()

    async def use() -> None:
        async with w.deploy(names=[f"loadgen-{event.split('.', maxsplit=1)[0]}-{number}"]):
            await w.clients.sagemaker.describe_model(ModelName="instant")

    w.clients.sagemaker.meta.events.register(event, strike)
    try:
        task = asyncio.create_task(use())
        await asyncio.wait([task])
    finally:
        w.clients.sagemaker.meta.events.unregister(event, strike)
    if count >= number:
        assert task.cancelled()
        return True
    task.result()
    return False


@pytest.mark.parametrize("event", ["request-created.sagemaker", "response-received.sagemaker"])
@pytest.mark.parametrize("time_scale", [10_000.0, 3_000.0])
def test_cancelled_before_or_after_any_call_nothing_is_left(event, time_scale):
    """For every AWS call of a deployment, cancelling just before it goes out or just after its answer leaves nothing (C111, C112)."""

    async def main() -> None:
        async with world(time_scale=time_scale) as w:
            for number in itertools.count(1):
                if not await _cancelled_at(w, event, number):
                    break
                assert await w.standing() == set(), number
                assert w.holdings.lines() == [], number
            assert number > 6  # two creates, a look at least, the use, two deletes, a look

    asyncio.run(main())


def test_a_cancel_while_a_create_is_in_flight_waits_for_it():
    """The Create is delayed at the far side and cancelled meanwhile: it takes effect, and is undone (C111)."""

    async def main() -> None:
        async with world() as w:
            w.fault("CreateEndpoint", "delay", seconds=0.3)

            async def use() -> None:
                async with w.deploy():
                    raise AssertionError("it was cancelled before")

            task = asyncio.create_task(use())
            await until(lambda: any(line.startswith("endpoint loadgen-1") for line in w.holdings.lines()))
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()  # impatience changes nothing
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await w.standing() == set()
            assert w.holdings.lines() == []

    asyncio.run(main())


def test_an_unreachable_service_is_not_waited_for_long():
    """When the far side is gone the removal ends after the outage budget, and what may be left is named (C109)."""

    async def main() -> None:
        async with serve(Settings(time_scale=10_000.0)) as emulator:
            url = emulator.url
        async with open_clients(Access(emulator_url=url)) as clients:
            w = World(emulator, clients, Holdings(NoJournal(), region="us-east-1", endpoint_url=url), Noted())
            deployment = Deployment(clients.sagemaker, w.holdings, replace(FAST, patience=0.1), random.Random(1))
            with pytest.raises(UnavailableError):
                await deployment.create(iter(["loadgen-1"]), "instant", CONFIG, {})
            await deployment.remove()
            assert w.holdings.lines() == []  # a refused connection had no effect, so there is nothing to remove

    asyncio.run(main())


@pytest.mark.parametrize("during", ["deployment", "use", "deletion"])
def test_a_service_that_vanishes_is_given_up_in_time(during):
    """Gone while we deploy, use or delete, the far side is waited for within the budgets, and what it had is named."""
    time_scale = {"deployment": 1.0, "use": 10_000.0, "deletion": 10_000.0}[during]

    async def main() -> None:
        stack = AsyncExitStack()
        emulator = await stack.enter_async_context(serve(Settings(time_scale=time_scale, delete_time=1e6)))
        async with open_clients(Access(emulator_url=emulator.url)) as clients:
            w = World(emulator, clients, Holdings(NoJournal(), region="us-east-1"), Noted())

            async def use() -> None:
                async with w.deploy(pace=replace(FAST, deploy=600.0, removal=600.0, patience=0.1, outage=0.1)):
                    if during == "use":
                        await stack.aclose()

            task = asyncio.create_task(use())
            if during != "use":
                sign = "deletion was accepted" if during == "deletion" else "not removed yet"
                await until(lambda: task.done() or any(sign in line for line in w.holdings.lines()[:1]))
                await stack.aclose()
            await asyncio.wait([task])
            if during == "deployment":
                assert isinstance(task.exception(), UnavailableError)
            else:
                task.result()
            assert [line.split()[0] for line in w.holdings.lines()] == ["endpoint", "endpoint-config"]

    asyncio.run(main())

"""Endpoints are removed whatever happens: denied, refused, taken by someone else, cancelled, or the service gone."""

import asyncio
import itertools
import random
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from loadgen.aws.deployment.endpoint import EndpointDeployment
from loadgen.aws.deployment.resources import NullJournal, ResourceRegistry
from loadgen.aws.session import AwsConnectionConfig, open_clients
from loadgen.emulator.server import Settings, serve
from loadgen.errors import AuthError, UnavailableError
from tests.support.deployments import CONFIG, FAST, DeploymentFixture, MemoryJournal, deployment_fixture
from tests.support.scripted_server import wait_until

DENIED = {"status": 400, "code": "AccessDeniedException"}


def test_a_denied_deletion_is_named_at_once():
    """Nobody who may not delete tries for a quarter of an hour: the endpoint is named with the reason (C46, C57)."""

    async def main() -> None:
        async with deployment_fixture() as w:
            async with w.deploy(retry_policy=replace(FAST, delete_timeout=600.0)):
                w.fault("DeleteEndpoint", "error_before", times=0, **DENIED, message="User: u is not authorized")
            endpoint, _config = w.registry.lines()
            assert "AccessDeniedException: User: u is not authorized" in endpoint

    asyncio.run(main())


def test_a_config_that_stays_is_named_as_free_of_cost():
    """When only the config's deletion fails the endpoint is gone all the same, and the config is named (C59)."""

    async def main() -> None:
        async with deployment_fixture() as w:
            async with w.deploy():
                w.fault("DeleteEndpointConfig", "error_before", times=0, **DENIED, message="no")
            (line,) = w.registry.lines()
            assert line.startswith("endpoint-config loadgen-1 (costs nothing): AccessDeniedException: no")
            assert await w.existing_resources() == {"config loadgen-1"}

    asyncio.run(main())


def test_a_denied_create_leaves_no_traces_and_no_claims():
    """Refused outright, nothing exists: no lines, no deletes sent, the error names action and resource (C46, C47)."""
    text = "User: arn:aws:iam::1:user/u is not authorized to perform: sagemaker:AddTags on resource: arn:aws:x"

    async def main() -> None:
        async with deployment_fixture() as w:
            w.fault("CreateEndpointConfig", "error_before", **DENIED, message=text)
            with pytest.raises(AuthError, match=r"arn:aws:iam::1:user/u is not allowed sagemaker:AddTags on arn:aws:x"):
                async with w.deploy():
                    pass
            assert w.registry.lines() == []
            assert await w.existing_resources() == set()

    asyncio.run(main())


def test_a_deletion_by_someone_else_is_a_success():
    """'Could not find' when deleting means that it is gone, which is what was wanted (C56)."""

    async def main() -> None:
        async with deployment_fixture() as w:
            async with w.deploy() as deployment:
                await w.clients.sagemaker.delete_endpoint(EndpointName=deployment.name)
                await w.clients.sagemaker.delete_endpoint_config(EndpointConfigName=deployment.name)
            assert w.registry.lines() == []

    asyncio.run(main())


def test_a_name_of_someone_else_is_never_touched():
    """A name that is taken is left alone, endpoint and config; the next name is used (C51)."""

    async def main() -> None:
        async with deployment_fixture() as w, w.deploy(["theirs"]) as _:
            theirs = ResourceRegistry(NullJournal(), region="us-east-1")
            mine = DeploymentFixture(w.emulator, w.clients, theirs, MemoryJournal())
            async with mine.deploy(["theirs", "ours"]) as deployment:
                assert deployment.name == "ours"
            assert await w.existing_resources() == {"theirs", "config theirs"}
            with pytest.raises(UnavailableError, match="taken"):
                async with mine.deploy(["theirs"] * 3):
                    pass
            assert await w.existing_resources() == {"theirs", "config theirs"}
            assert theirs.lines() == []

    asyncio.run(main())


def test_an_endpoint_name_taken_under_a_free_config_name_frees_the_config():
    """When only the endpoint's name is taken, the config made for it is removed with the rest."""

    async def main() -> None:
        async with deployment_fixture() as w, w.deploy(["theirs"]):
            await w.clients.sagemaker.delete_endpoint_config(EndpointConfigName="theirs")
            mine = DeploymentFixture(
                w.emulator, w.clients, ResourceRegistry(NullJournal(), region="us-east-1"), MemoryJournal()
            )
            async with mine.deploy(["theirs", "ours"]):
                assert await w.existing_resources() == {"theirs", "config theirs", "ours", "config ours"}
            assert await w.existing_resources() == {"theirs"}

    asyncio.run(main())


def test_errors_in_the_block_pass_through():
    """An exception raised while the endpoint is in use is propagated unchanged, after the deletion."""

    async def main() -> None:
        async with deployment_fixture() as w:
            with pytest.raises(ZeroDivisionError):
                async with w.deploy():
                    _ = 1 // 0
            assert await w.existing_resources() == set()

    asyncio.run(main())


async def _cancelled_at(w: DeploymentFixture, event: str, number: int) -> bool:
    """Deploy and use an endpoint, and cancel when `event` happens for the `number`th time; return whether it did."""
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
        async with deployment_fixture(time_scale=time_scale) as w:
            for number in itertools.count(1):
                if not await _cancelled_at(w, event, number):
                    break
                assert await w.existing_resources() == set(), number
                assert w.registry.lines() == [], number
            assert number > 6  # two creates, a look at least, the use, two deletes, a look

    asyncio.run(main())


def test_a_cancel_while_a_create_is_in_flight_waits_for_it():
    """A Create that is delayed by the service and cancelled meanwhile takes effect and is undone (C111)."""

    async def main() -> None:
        async with deployment_fixture() as w:
            w.fault("CreateEndpoint", "delay", seconds=0.3)

            async def use() -> None:
                async with w.deploy():
                    raise AssertionError("it was cancelled before")

            task = asyncio.create_task(use())
            await wait_until(lambda: any(line.startswith("endpoint loadgen-1") for line in w.registry.lines()))
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()  # impatience changes nothing
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await w.existing_resources() == set()
            assert w.registry.lines() == []

    asyncio.run(main())


def test_an_unreachable_service_is_not_waited_for_long():
    """If the service is unreachable, the deletion ends after `outage_timeout` and the leftovers are listed (C109)."""

    async def main() -> None:
        async with serve(Settings(time_scale=10_000.0)) as emulator:
            url = emulator.url
        async with open_clients(AwsConnectionConfig(emulator_url=url)) as clients:
            w = DeploymentFixture(
                emulator,
                clients,
                ResourceRegistry(NullJournal(), region="us-east-1", endpoint_url=url),
                MemoryJournal(),
            )
            deployment = EndpointDeployment(
                clients.sagemaker, w.registry, replace(FAST, retry_timeout=0.1), random.Random(1)
            )
            with pytest.raises(UnavailableError):
                await deployment.create(iter(["loadgen-1"]), "instant", CONFIG, {})
            await deployment.delete()
            assert w.registry.lines() == []  # a refused connection had no effect, so there is nothing to remove

    asyncio.run(main())


@pytest.mark.parametrize("during", ["deployment", "use", "deletion"])
def test_a_service_that_vanishes_is_given_up_in_time(during):
    """If the service becomes unreachable during deploy, use or delete, the timeouts apply and leftovers are listed."""
    time_scale = {"deployment": 1.0, "use": 10_000.0, "deletion": 10_000.0}[during]

    async def main() -> None:
        stack = AsyncExitStack()
        emulator = await stack.enter_async_context(serve(Settings(time_scale=time_scale, delete_time=1e6)))
        async with open_clients(AwsConnectionConfig(emulator_url=emulator.url)) as clients:
            w = DeploymentFixture(
                emulator, clients, ResourceRegistry(NullJournal(), region="us-east-1"), MemoryJournal()
            )

            async def use() -> None:
                async with w.deploy(
                    retry_policy=replace(
                        FAST, deploy_timeout=600.0, delete_timeout=600.0, retry_timeout=0.1, outage_timeout=0.1
                    )
                ):
                    if during == "use":
                        await stack.aclose()

            task = asyncio.create_task(use())
            if during != "use":
                sign = "the deletion was accepted" if during == "deletion" else "not deleted yet"
                await wait_until(lambda: task.done() or any(sign in line for line in w.registry.lines()[:1]))
                await stack.aclose()
            await asyncio.wait([task])
            if during == "deployment":
                assert isinstance(task.exception(), UnavailableError)
            else:
                task.result()
            assert [line.split()[0] for line in w.registry.lines()] == ["endpoint", "endpoint-config"]

    asyncio.run(main())

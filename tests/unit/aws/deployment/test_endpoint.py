"""The life of an endpoint against the emulator: whatever goes wrong, nothing is left behind or it is named."""

import asyncio
import random
from dataclasses import replace
from unittest import mock

import pytest

from loadgen.aws.deployment.endpoint import deploy_endpoint
from loadgen.errors import QuotaError, UnavailableError
from loadgen.workload.serverless_config import ServerlessConfig
from tests.support.deployments import FAST, deployment_fixture


def test_an_endpoint_is_deployed_tagged_and_removed():
    """It is in service inside the block with our tags and configuration; afterwards the account is empty."""

    async def main() -> None:
        async with deployment_fixture() as w:
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
                assert 0 < deployment.deploy_duration < 5
                assert w.registry.lines()
            assert await w.existing_resources() == set()
            assert w.registry.lines() == []

    asyncio.run(main())


def test_intents_precede_creates_and_are_closed():
    """The journal records each name before its Create and again once it is deleted: endpoint, then config."""

    async def main() -> None:
        async with deployment_fixture() as w:
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
        async with deployment_fixture() as w:
            w.fault(operation, kind)
            async with w.deploy():
                assert await w.existing_resources() == {"loadgen-1", "config loadgen-1"}
            assert await w.existing_resources() == set()
            assert w.registry.lines() == []

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["error_before", "error_after", "cut"])
def test_a_create_that_never_answers_leaves_nothing(kind):
    """When every answer to CreateEndpoint is lost: "exists" settles it if the first had its effect; else it fails."""

    async def main() -> None:
        async with deployment_fixture() as w:
            w.fault("CreateEndpoint", kind, times=0)
            if kind == "error_before":
                with pytest.raises(UnavailableError, match="the service failed"):
                    async with w.deploy(retry_policy=replace(FAST, retry_timeout=0.05)):
                        pass
            else:
                async with w.deploy():
                    assert await w.existing_resources() == {"loadgen-1", "config loadgen-1"}
            assert await w.existing_resources() == set()
            assert w.registry.lines() == []

    asyncio.run(main())


@pytest.mark.parametrize(
    "operation",
    ["CreateEndpointConfig", "CreateEndpoint", "DescribeEndpoint", "DeleteEndpoint", "DeleteEndpointConfig"],
)
def test_a_throttled_control_plane_is_waited_for(operation):
    """Five refusals for too many calls delay each operation and change nothing else (C54)."""

    async def main() -> None:
        async with deployment_fixture() as w:
            w.fault(operation, "throttle", times=5)
            async with w.deploy(retry_policy=replace(FAST, poll_interval=0.002)):
                assert await w.existing_resources() == {"loadgen-1", "config loadgen-1"}
            assert await w.existing_resources() == set()
            assert w.registry.lines() == []

    asyncio.run(main())


def test_a_throttle_without_end_is_a_quota_error():
    """A control plane that throttles beyond `retry_timeout` gives an error that suggests a later retry (C54)."""

    async def main() -> None:
        async with deployment_fixture() as w:
            w.fault("CreateEndpoint", "throttle", times=0)
            with pytest.raises(QuotaError, match="throttled"):
                async with w.deploy(retry_policy=replace(FAST, retry_timeout=0.05)):
                    pass
            w.emulator.faults.clear()
            assert await w.existing_resources() == set()

    asyncio.run(main())


def test_a_config_not_yet_visible_is_waited_for():
    """'Could not find endpoint configuration' just after it was created is eventual consistency (C50)."""
    unseen = {"status": 400, "code": "ValidationException", "message": 'Could not find endpoint configuration "x".'}

    async def main() -> None:
        async with deployment_fixture() as w:
            w.fault("CreateEndpoint", "error_before", times=3, **unseen)
            async with w.deploy():
                pass
            w.fault("CreateEndpoint", "error_before", times=0, **unseen)
            with pytest.raises(UnavailableError, match="not visible"):
                async with w.deploy(retry_policy=replace(FAST, consistency_timeout=0.05)):
                    pass
            assert await w.existing_resources() == set()

    asyncio.run(main())


def test_an_endpoint_deleted_by_another_is_named_as_such():
    """An endpoint that disappears while it is Creating was deleted by another process; one never seen was not visible."""
    gone = {"status": 400, "code": "ValidationException", "message": 'Could not find endpoint "x".'}

    async def main() -> None:
        async with deployment_fixture() as w:
            policy = replace(FAST, consistency_timeout=0.05)
            w.fault("DescribeEndpoint", "error_before", times=0, **gone)
            with pytest.raises(UnavailableError, match=r"loadgen-1 was not visible 0\.05 s after"):
                async with w.deploy(retry_policy=policy):
                    pass
        async with deployment_fixture(time_scale=1.0) as w:
            describe = w.clients.sagemaker.describe_endpoint

            async def describe_once(**arguments):
                answer = dict(await describe(**arguments), EndpointStatus="Creating")
                w.fault("DescribeEndpoint", "error_before", times=0, **gone)
                return answer

            with (
                mock.patch.object(w.clients.sagemaker, "describe_endpoint", describe_once),
                pytest.raises(UnavailableError, match="loadgen-1 was deleted by another process while it was created"),
            ):
                async with w.deploy(retry_policy=replace(policy, delete_timeout=0.1)):
                    pass

    asyncio.run(main())


def test_a_failed_endpoint_tells_the_reason_word_for_word():
    """FailureReason comes through unchanged, and the failed endpoint is removed (C52)."""
    reason = "The primary container for production variant AllTraffic did not pass the ping health check."

    async def main() -> None:
        async with deployment_fixture() as w:
            w.fault("CreateEndpoint", "fail_deploy", message=reason)
            with pytest.raises(UnavailableError) as caught:
                async with w.deploy():
                    pass
            assert reason in caught.value.message
            assert "loadgen-1" in caught.value.message
            assert await w.existing_resources() == set()

    asyncio.run(main())


def test_a_quota_is_told_as_one():
    """ResourceLimitExceeded at CreateEndpoint is a QuotaError with AWS's text, and the config is removed (C49)."""

    async def main() -> None:
        async with deployment_fixture(quotas="ordinary") as w:
            names = iter(["loadgen-a"])
            with pytest.raises(QuotaError, match="service limit 'Memory size in MB per serverless endpoint' is 3072"):
                async with deploy_endpoint(
                    w.clients.sagemaker,
                    w.registry,
                    names,
                    model="instant",
                    config=ServerlessConfig(4096, 1),
                    tags={},
                    retry_policy=FAST,
                    rng=random.Random(1),
                ):
                    pass
            assert await w.existing_resources() == set()
            assert w.registry.lines() == []

    asyncio.run(main())


def test_an_endpoint_stuck_in_creation_is_named_with_its_command():
    """Past the deadline the deployment fails; AWS refuses to delete it, so it is named with the command (C53)."""

    async def main() -> None:
        async with deployment_fixture() as w:
            w.fault("CreateEndpoint", "status_stuck")
            with pytest.raises(UnavailableError, match=r"not in service after 0.1 s; last status: Creating"):
                async with w.deploy(retry_policy=replace(FAST, deploy_timeout=0.1, delete_timeout=0.2)):
                    pass
            endpoint, config = w.registry.lines()
            assert "in-progress" in endpoint
            assert endpoint.endswith("; aws sagemaker delete-endpoint --endpoint-name loadgen-1 --region us-east-1")
            assert "its endpoint still exists" in config
            assert "delete-endpoint-config --endpoint-config-name loadgen-1" in config
            assert await w.existing_resources() == {"loadgen-1", "config loadgen-1"}

    asyncio.run(main())

"""Reaching an account: what it is, what the environment may change, and what is refused before anything is created."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from loadgen.aws.account import AwsAccount, open_account
from loadgen.aws.deployment.resources import Existence, NullJournal, ResourceKind, ResourceRegistry
from loadgen.aws.emulator_api import fetch_server_counts
from loadgen.aws.errors import SDK_ERRORS
from loadgen.aws.existing_endpoint import ExistingEndpointAccount, open_existing
from loadgen.aws.identity import connect, endpoint_kind
from loadgen.aws.retry import RetryPolicy
from loadgen.aws.session import AwsConnectionConfig, open_clients
from loadgen.emulator.server import Emulator, Settings, serve
from loadgen.errors import AuthError, ConfigError, ExitStatus, QuotaError, UnavailableError, UsageError
from loadgen.targets.transport_selection import resolve_transport
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import ServerlessConfig
from tests.support.scripted_server import ConnectionAction, http_response, ok_response, scripted_server

CONNECT = resolve_transport("botocore")
FAST = RetryPolicy(poll_interval=0.01, deploy_timeout=5.0, delete_timeout=5.0)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch, tmp_path):
    """No test may use what the machine has in its home or environment."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@asynccontextmanager
async def emulated(model: str = "instant", **settings: object) -> AsyncIterator[tuple[Emulator, AwsAccount]]:
    async with (
        serve(Settings(**({"time_scale": 10_000.0} | settings))) as emulator,  # type: ignore[arg-type]
        open_account(
            AwsConnectionConfig(emulator_url=emulator.url),
            model=model,
            run_id="r",
            transport_factory=CONNECT,
            retry_policy=FAST,
        ) as account,
    ):
        yield emulator, account


def test_an_emulator_says_that_it_is_one():
    """The identity is `emulator`, from the server's own mark, so that no report can pass for one from AWS (C130)."""

    async def main() -> None:
        async with emulated() as (_, account):
            assert account.identity.kind == "emulator"
            assert account.identity.region == "us-east-1"
            assert len(account.identity.account_id) == 12

    asyncio.run(main())


def test_the_environment_does_not_affect_the_emulator(monkeypatch):
    """Profiles, regions, proxies, endpoints and retry settings of the environment do not reach the emulator's clients."""
    for name, value in {
        "AWS_PROFILE": "no-such-profile",
        "AWS_REGION": "mars-north-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "many",
        "AWS_RETRY_MODE": "no-such-mode",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "AWS_CA_BUNDLE": "/nowhere/bundle.pem",
        "AWS_DEFAULTS_MODE": "no-such-mode",
    }.items():
        monkeypatch.setenv(name, value)

    async def main() -> None:
        async with emulated() as (_, account):
            config = ServerlessConfig(1024, 1)
            await account.check([config])
            async with account.open(config, connections=1, timeout=10.0) as endpoint:
                assert (await endpoint.transport.invoke(Request(b"x"))).status == 200

    asyncio.run(main())


def test_another_server_is_a_custom_endpoint(monkeypatch):
    """AWS_ENDPOINT_URL may name any server of the protocol, here moto; its kind is `custom-endpoint`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")

        async def main() -> None:
            async with open_account(
                AwsConnectionConfig(region="eu-west-1"),
                model="m",
                run_id="r",
                transport_factory=CONNECT,
                retry_policy=FAST,
            ) as account:
                assert account.identity.kind == "custom-endpoint"
                assert (account.identity.region, account.identity.account_id) == ("eu-west-1", "123456789012")
                assert f"http://{host}:{port}" in account.identity.detail
                assert "documented" in account.quotas.source
                with pytest.raises(ConfigError, match=r"no SageMaker model 'm' in account 123456789012, eu-west-1"):
                    await account.check([ServerlessConfig(1024, 1)])
                await account._clients.sagemaker.create_model(
                    ModelName="m", ExecutionRoleArn="arn:aws:iam::1:role/r" * 2
                )
                await account.check([ServerlessConfig(1024, 1)])
                async with account.open(ServerlessConfig(1024, 1), connections=1, timeout=10.0) as endpoint:
                    assert (await endpoint.transport.invoke(Request(b"x"))).status == 200
                listed = await account._clients.sagemaker.list_endpoints()
                assert listed["Endpoints"] == []
                assert account.leftovers() == []
                assert await account.server_counts("m") is None

        asyncio.run(main())
    finally:
        server.stop()


def test_no_region_gives_three_ways_to_set_one(monkeypatch):
    """Without a region nothing is sent, and the error names environment, file and argument (C42)."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")

    async def main() -> None:
        async with connect(AwsConnectionConfig()):
            pass

    with pytest.raises(ConfigError, match="no AWS region") as caught:
        asyncio.run(main())
    assert all(way in caught.value.hint for way in ("AWS_REGION", "~/.aws/config", "region="))


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({"AWS_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
    ],
)
def test_the_region_comes_from_either_variable(monkeypatch, variables, region):
    """AWS_REGION counts as it does for AWS's CLI, before AWS_DEFAULT_REGION; an argument counts before both."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    async def main() -> None:
        async with open_clients(AwsConnectionConfig()) as clients:
            assert clients.region == region
            assert clients.control_url == f"https://api.sagemaker.{region}.amazonaws.com"
        async with open_clients(AwsConnectionConfig(region="us-west-2")) as clients:
            assert clients.region == "us-west-2"

    asyncio.run(main())


def test_no_credentials_is_told_before_anything_is_sent(monkeypatch):
    """Without credentials nothing is sent, and the hint explains how to get them (C43)."""
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)

    async def main() -> None:
        async with scripted_server(lambda _: [ok_response()]) as side:
            monkeypatch.setenv("AWS_ENDPOINT_URL", side.url)
            with pytest.raises(AuthError, match="no usable AWS credentials"):
                async with connect(AwsConnectionConfig(region="us-east-1")):
                    pass
            assert side.requests == []

    asyncio.run(main())


def test_an_unknown_profile_is_named(monkeypatch):
    """A profile that is not in the files is a matter of settings, and named."""
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")

    async def main() -> None:
        async with connect(AwsConnectionConfig(region="us-east-1")):
            pass

    with pytest.raises(ConfigError, match="no-such-profile"):
        asyncio.run(main())


def test_an_expired_token_is_told_at_once(monkeypatch):
    """An expired token that STS refuses is an AuthError for AWS and for custom endpoints (C44)."""
    expired = http_response(
        403,
        b"<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>old</Message></Error></ErrorResponse>",
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")

    async def main() -> None:
        async with scripted_server(lambda _: [expired]) as side:
            monkeypatch.setenv("AWS_ENDPOINT_URL", side.url)
            with pytest.raises(AuthError, match="have expired"):
                async with connect(AwsConnectionConfig(region="us-east-1")):
                    pass

    asyncio.run(main())


@pytest.mark.parametrize(
    ("urls", "kind"),
    [
        (("https://api.sagemaker.us-east-1.amazonaws.com", "https://runtime.sagemaker.us-east-1.amazonaws.com"), "aws"),
        (("https://api.sagemaker.cn-north-1.amazonaws.com.cn",), "aws"),
        (("https://vpce-1.runtime.sagemaker.us-east-1.vpce.amazonaws.com",), "aws"),
        (("https://api.sagemaker.us-east-1.amazonaws.com", "http://127.0.0.1:1"), "custom-endpoint"),
        (("https://amazonaws.com.evil.example",), "custom-endpoint"),
        (("https://evilamazonaws.com",), "custom-endpoint"),
    ],
)
def test_one_foreign_host_makes_a_stand_in(urls, kind):
    """Numbers count as AWS's only when both the control plane and the runtime are AWS's own hosts."""
    assert endpoint_kind(*urls) == kind


def test_what_cannot_work_is_refused_before_anything_is_created():
    """A missing model, a size above its quota and no configuration at all are refused; nothing was created (C48)."""

    async def main() -> None:
        async with emulated(quotas="ordinary") as (emulator, account):
            with pytest.raises(QuotaError, match="3072"):
                await account.check([ServerlessConfig(4096, 1)])
            with pytest.raises(UsageError):
                await account.check([None])
            async with open_account(
                AwsConnectionConfig(emulator_url=emulator.url), model="unknown", run_id="r", transport_factory=CONNECT
            ) as other:
                with pytest.raises(ConfigError, match="'unknown'"):
                    await other.check([ServerlessConfig(1024, 1)])
            assert (await account._clients.sagemaker.list_endpoint_configs())["EndpointConfigs"] == []

    asyncio.run(main())


ONE = {"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/ranker:1"}
MANY = ONE | {"Mode": "MultiModel", "ModelDataUrl": "s3://bucket/models/"}


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"PrimaryContainer": MANY}, "PrimaryContainer.Mode MultiModel"),
        ({"Containers": [MANY]}, "Containers[0].Mode MultiModel"),
        ({"Containers": [ONE, ONE]}, "2 Containers"),
        ({"PrimaryContainer": ONE, "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}}, "VpcConfig"),
        ({"PrimaryContainer": ONE, "EnableNetworkIsolation": True}, "EnableNetworkIsolation"),
        ({"PrimaryContainer": ONE | {"Mode": "SingleModel"}, "EnableNetworkIsolation": False}, ""),
        ({"Containers": [ONE]}, ""),
    ],
    ids=str,
)
def test_a_model_that_serverless_excludes_is_refused_by_the_check_and_by_the_emulator(members, named):
    """The check that a dry run makes too gives CONFIG with the member, and CreateEndpointConfig a ValidationException."""

    async def main() -> None:
        async with emulated() as (emulator, account):
            sagemaker = account._clients.sagemaker
            await sagemaker.create_model(ModelName="m", ExecutionRoleArn="arn:aws:iam::123456789012:role/r", **members)
            serverless = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}
            variant = {"VariantName": "v", "ModelName": "m", "ServerlessConfig": serverless}
            access = AwsConnectionConfig(emulator_url=emulator.url)
            async with open_account(access, model="m", run_id="r", transport_factory=CONNECT) as other:
                if not named:
                    await other.check([ServerlessConfig(1024, 1)])
                    await sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
                    return
                with pytest.raises(ConfigError) as refused:
                    await other.check([ServerlessConfig(1024, 1)])
                assert (named in str(refused.value), refused.value.status) == (True, ExitStatus.CONFIG)
            with pytest.raises(SDK_ERRORS, match=r"ValidationException.*not supported for serverless"):
                await sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])

    asyncio.run(main())


def test_an_existing_endpoint_is_called_and_not_changed():
    """An existing endpoint is invoked, refuses a configuration, and exists afterwards as before."""

    async def main() -> None:
        async with emulated() as (emulator, account):
            access = AwsConnectionConfig(emulator_url=emulator.url)
            async with account.open(ServerlessConfig(1024, 3), connections=1, timeout=10.0) as deployed:
                async with open_existing(access, endpoint=deployed.name, transport_factory=CONNECT) as standing:
                    assert isinstance(standing, ExistingEndpointAccount)
                    await standing.check([None])
                    with pytest.raises(UsageError, match="cannot be reconfigured"):
                        await standing.check([ServerlessConfig(1024, 1)])
                    async with standing.open(None, connections=1, timeout=10.0) as endpoint:
                        assert (endpoint.name, endpoint.deploy_duration) == (deployed.name, 0.0)
                        assert (await endpoint.transport.invoke(Request(b"x"))).status == 200
                    assert standing.leftovers() == []
                described = await account._clients.sagemaker.describe_endpoint(EndpointName=deployed.name)
                assert described["EndpointStatus"] == "InService"
            async with open_existing(access, endpoint="unknown", transport_factory=CONNECT) as standing:
                with pytest.raises(ConfigError, match="unknown"):
                    await standing.check([None])

    asyncio.run(main())


def test_the_ledger_counts_what_was_sent():
    """The emulator's ledger agrees with the requests sent and the replies received."""

    async def main() -> None:
        async with (
            emulated() as (_, account),
            account.open(ServerlessConfig(1024, 1), connections=9, timeout=10.0) as endpoint,
        ):
            replies = await asyncio.gather(*(endpoint.transport.invoke(Request(b"x")) for _ in range(9)))
            counts = await account.server_counts(endpoint.name)
            assert counts is not None
            assert counts["arrivals"] == 9
            assert counts["ok"] == sum(reply.status == 200 for reply in replies)
            assert counts["throttled"] == sum(reply.code == "ThrottlingException" for reply in replies)
            assert counts["hidden_retries"] == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer", [http_response(404, b"{}"), ok_response(b"no JSON"), ok_response(b"[]"), ok_response(b"{}")]
)
def test_an_invalid_ledger_is_an_error(answer):
    """A response that is not a ledger is an error with the URL, never an empty ledger."""

    async def main() -> None:
        async with scripted_server(lambda _: [answer, ConnectionAction.CLOSE]) as side:
            with pytest.raises(UnavailableError, match="returns no ledger"):
                await fetch_server_counts(side.url, "e")

    asyncio.run(main())


def test_the_delete_command_contains_a_custom_endpoint_url():
    """The command that deletes a leftover contains `--endpoint-url` for a custom endpoint."""
    held = ResourceRegistry(NullJournal(), region="eu-west-1", endpoint_url="http://127.0.0.1:5000")
    held.record_intent(ResourceKind.ENDPOINT, "loadgen-x").existence = Existence.UNCERTAIN
    (line,) = held.lines()
    told, _, command = line.partition("; ")
    assert told == "endpoint loadgen-x (billable): its Create may have succeeded"
    assert command == (
        "aws sagemaker delete-endpoint --endpoint-name loadgen-x --region eu-west-1"
        " --endpoint-url http://127.0.0.1:5000"
    )


def test_clients_close_with_their_context():
    """Opening and closing leaves no task and no open client session behind."""

    async def main() -> None:
        before = asyncio.all_tasks()
        async with open_clients(AwsConnectionConfig(emulator_url="http://127.0.0.1:9")) as clients:
            async with clients.runtime(connections=3):
                pass
            assert clients.region == "us-east-1"
            frozen = await (await clients.credentials()).get_frozen_credentials()
            assert (frozen.access_key, frozen.secret_key, frozen.token) == ("emulator", "emulator", None)
        assert asyncio.all_tasks() == before

    asyncio.run(main())

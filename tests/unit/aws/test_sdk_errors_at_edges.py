"""Whatever the SDK raises, at each place where loadgen calls it, is an error of loadgen's with a status other than 70."""

import asyncio
import math
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from loadgen.aws import session
from loadgen.aws.account import AwsAccount
from loadgen.aws.cloudwatch import CloudWatchReader, Interval, MetricsWaitPolicy
from loadgen.aws.deployment.resources import NullJournal
from loadgen.aws.existing_endpoint import ExistingEndpointAccount
from loadgen.aws.identity import connect
from loadgen.aws.quotas import default_quotas, read_quotas
from loadgen.aws.session import AwsConnectionConfig, Clients, open_clients
from loadgen.errors import ExitStatus, LoadgenError
from loadgen.interfaces import Identity, TransportError
from loadgen.measurement.cloudwatch_metrics import UNITS
from loadgen.transport.botocore import BotocoreTransport
from loadgen.workload.request import Request
from tests.support.sdk_errors import CANARY, crossing_errors

ERRORS = pytest.mark.parametrize("error", crossing_errors(), ids=lambda error: type(error).__name__)


class Raising:
    """A client of which each operation raises the error."""

    meta = SimpleNamespace(
        region_name="us-east-1",
        endpoint_url="https://x",
        events=SimpleNamespace(register=lambda *_, **__: None, register_first=lambda *_, **__: None),
    )

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        async def operation(**_: object) -> None:
            raise self._error

        return operation


def clients_of(error: Exception) -> Clients:
    return Clients(None, AwsConnectionConfig(), dict.fromkeys(session._MAX_ATTEMPTS, Raising(error)))


def connection_of(error: Exception) -> Any:
    identity = Identity("aws", "111122223333", "us-east-1", "")
    return SimpleNamespace(clients=clients_of(error), identity=identity, owner="arn")


def assert_explained(caught: LoadgenError, operation: str) -> None:
    assert caught.status is not ExitStatus.INTERNAL
    assert operation in caught.message
    assert caught.hint or caught.message != operation
    assert "\n" not in str(caught)
    assert CANARY not in str(caught)


@ERRORS
@pytest.mark.parametrize("place", ["session", "credentials", "client"])
def test_opening_a_session(monkeypatch, error, place):
    """Making the session, loading its credentials and making a client."""

    def fail(*_: object, **__: object) -> None:
        raise error

    async def fail_later(*_: object, **__: object) -> None:
        raise error

    if place == "session":
        monkeypatch.setattr(session, "_botocore_session", fail)
    elif place == "credentials":
        monkeypatch.setattr("aiobotocore.session.AioSession.get_credentials", fail_later)
    else:
        monkeypatch.setattr("aioboto3.Session.client", fail)

    async def main() -> None:
        async with open_clients(AwsConnectionConfig(emulator_url="http://127.0.0.1:1")):
            raise AssertionError("opened")

    with pytest.raises(LoadgenError) as caught:
        asyncio.run(main())
    assert_explained(caught.value, "Loading credentials of profile" if place == "credentials" else "Reaching AWS")


@ERRORS
def test_the_identity(monkeypatch, error):
    """GetCallerIdentity at AWS; a custom endpoint may lack STS, so there the account is unknown or it is an error."""

    @asynccontextmanager
    async def opened(_config: object):
        yield clients_of(error)

    monkeypatch.setattr("loadgen.aws.identity.open_clients", opened)
    monkeypatch.setattr(Raising.meta, "endpoint_url", "https://sts.us-east-1.amazonaws.com")

    async def main() -> None:
        async with connect(AwsConnectionConfig()):
            raise AssertionError("connected")

    with pytest.raises(LoadgenError) as caught:
        asyncio.run(main())
    assert_explained(caught.value, "GetCallerIdentity")


@ERRORS
def test_the_control_plane(error):
    """DescribeModel, DescribeEndpoint and the quotas: an error that names the call, or the documented quotas."""

    async def main() -> None:
        account = AwsAccount(
            connection_of(error),
            default_quotas("us-east-1", ""),
            model="m",
            run_id="r",
            transport_factory=None,
            retry_policy=None,
            metrics_wait=None,
            journal=NullJournal(),
        )
        with pytest.raises(LoadgenError) as caught:
            await account.check([])
        assert_explained(caught.value, "DescribeModel m")
        existing = ExistingEndpointAccount(connection_of(error), endpoint="e", transport_factory=None)
        try:
            await existing.check([None])
        except LoadgenError as refused:
            assert_explained(refused, "DescribeEndpoint e")
        quotas = await read_quotas(Raising(error), "us-east-1")
        assert "Service Quotas could not be read" in quotas.source

    asyncio.run(main())


@ERRORS
def test_cloudwatch(error):
    """Each metric is unavailable with the reason; the run is not affected."""

    async def main() -> None:
        reader = CloudWatchReader(Raising(error), "e", Interval.from_times(0.0, 60.0), now=lambda: 90.0)
        read = await reader.read(end=60.0, invocations=1, wait_policy=MetricsWaitPolicy())
        assert set(read.unavailable) == set(UNITS)
        assert all(CANARY not in reason for reason in read.unavailable.values())

    asyncio.run(main())


@ERRORS
@pytest.mark.parametrize("place", ["the call", "the body"])
def test_the_data_plane(error, place):
    """A measured call has an outcome: a TransportError, never another exception."""

    async def read() -> bytes:
        raise error

    async def invoke(**_: object) -> dict[str, Any]:
        if place == "the call":
            raise error
        return {"Body": SimpleNamespace(read=read)}

    async def main() -> None:
        client = SimpleNamespace(invoke_endpoint=invoke, meta=Raising.meta)
        with pytest.raises(TransportError) as caught:
            await BotocoreTransport(client, "e").invoke(Request(b"1"))
        assert math.isfinite(caught.value.done)
        assert CANARY not in caught.value.detail

    asyncio.run(main())


@pytest.mark.parametrize("answer", [{}, {"Datapoints": [{}]}, {"Datapoints": [{"Sum": 5, "SampleCount": 5}]}])
def test_incomplete_answers_of_a_stand_in(answer):
    """A stand-in for AWS that leaves members out costs metrics and quotas, or is an error; it is no bug of loadgen."""

    async def reply(**_: object) -> Any:
        return answer

    async def main() -> None:
        client = SimpleNamespace(
            get_metric_statistics=reply, describe_endpoint=reply, list_service_quotas=reply, meta=Raising.meta
        )
        reader = CloudWatchReader(client, "e", Interval.from_times(0.0, 60.0), now=lambda: 9999.0)
        read = await reader.read(end=60.0, invocations=1, wait_policy=MetricsWaitPolicy())
        assert set(read.unavailable) == set(UNITS)
        clients = Clients(None, AwsConnectionConfig(), {"sagemaker": client})
        connection = SimpleNamespace(clients=clients, identity=Identity("aws", "1", "us-east-1", ""), owner="")
        with pytest.raises(LoadgenError) as caught:
            await ExistingEndpointAccount(connection, endpoint="e", transport_factory=None).check([None])
        assert_explained(caught.value, "endpoint e is of unknown status")

    asyncio.run(main())

"""Open the aiobotocore transport to a server of a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loadgen.aws.session import AwsConnectionConfig, open_clients
from loadgen.transport.botocore import BotocoreTransport, TracedSession
from tests.support.scripted_server import http_response


@asynccontextmanager
async def open_botocore_transport(
    url: str, *, connections: int = 4, timeout: float = 20.0
) -> AsyncIterator[BotocoreTransport]:
    async with (
        open_clients(AwsConnectionConfig(emulator_url=url)) as clients,
        clients.runtime(connections=connections, timeout=timeout, http_session=TracedSession) as client,
    ):
        yield BotocoreTransport(client, "an-endpoint")


def error_response(status: int, code: str, body: bytes = b'{"message":null}') -> bytes:
    return http_response(status, body, f"x-amzn-ErrorType: {code}", "Content-Type: application/json")

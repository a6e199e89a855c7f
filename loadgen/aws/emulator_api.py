"""The emulator's own API, beside AWS's: its ledger of requests, and models that behave like a profile."""

import asyncio
import json
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from loadgen.aws.errors import SDK_ERRORS, ErrorKind, classify_error, to_loadgen_error
from loadgen.aws.session import Clients
from loadgen.errors import UnavailableError

_LEDGER_PATH = "/ledger"
_TIMEOUT = 10.0


async def fetch_server_counts(url: str, endpoint: str, *, token: str = "") -> Mapping[str, int]:
    """Return the emulator's integer counts of one endpoint.

    Args:
        url: of the emulator.
        endpoint: name of the endpoint.
        token: of the emulator; empty if it asks for none.

    Raises:
        UnavailableError: the emulator cannot be reached, or its response is not a ledger.
    """
    try:
        async with asyncio.timeout(_TIMEOUT):
            head, body = await _get(url, token)
        endpoints = json.loads(body)["endpoints"] if " 200 " in head else None
        counters = {} if endpoints is None else dict(endpoints.get(endpoint, {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnavailableError(f"the emulator at {url} returns no ledger ({type(error).__name__})") from error
    if endpoints is None:
        raise UnavailableError(f"the emulator at {url} returns no ledger ({head})")
    return {name: count for name, count in counters.items() if isinstance(count, int) and not isinstance(count, bool)}


async def _get(url: str, token: str) -> tuple[str, bytes]:
    """Return status line and body. HTTP/1.0, so the response is not chunked and the server closes the connection."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        token_line = f"X-Amz-Security-Token: {token}\r\n" if token else ""
        writer.write(f"GET {_LEDGER_PATH} HTTP/1.0\r\nHost: {parts.netloc}\r\n{token_line}\r\n".encode("ascii"))
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n", 1)[0].decode("latin-1"), body


# The container variable from which the emulator takes the model's profile.
_PROFILE_VARIABLE = "LOADGEN_PROFILE"


async def create_emulated_model(clients: Clients, model: str, *, profile: str) -> None:
    """Create a model of this name that behaves like the profile; an existing model is not changed.

    Raises:
        LoadgenError: the emulator refused it.
    """
    try:
        await clients.sagemaker.create_model(
            ModelName=model,
            PrimaryContainer={
                "Image": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{profile}:1",
                "Environment": {_PROFILE_VARIABLE: profile},
            },
            ExecutionRoleArn="arn:aws:iam::123456789012:role/emulated-model",
        )
    except SDK_ERRORS as error:
        if classify_error(error) is not ErrorKind.ALREADY_EXISTS:
            raise to_loadgen_error(error, f"CreateModel {model}", now=time.time()) from error

"""Exceptions that can cross the edge to AWS: every class of botocore, aiobotocore and aiohttp, and standard ones."""

import asyncio
import configparser
import inspect
import json
import socket
import ssl
import string
import subprocess
import types

import aiobotocore.response
import aiohttp
import botocore.exceptions as sdk
import botocore.model
import botocore.parsers

CANARY = "secret-canary"

_KEY = types.SimpleNamespace(host="host", port=443, ssl=True, is_ssl=True)
# Base class -> arguments of its exceptions; the first that matches counts, and no match means none.
_AIOHTTP_ARGUMENTS = (
    (aiohttp.ClientConnectorCertificateError, (_KEY, ssl.SSLCertVerificationError("x"))),
    (aiohttp.ClientConnectorError, (_KEY, OSError(111, "refused"))),
    (aiohttp.ClientResponseError, (types.SimpleNamespace(real_url="http://x"), ())),
    (aiohttp.ServerFingerprintMismatch, (b"a", b"b", "host", 443)),
    (aiohttp.InvalidURL, ("http://x",)),
)


def sdk_errors() -> list[Exception]:
    """Return an instance of each exception class of botocore and aiobotocore, with a value for each field."""
    found: list[Exception] = [
        botocore.parsers.ResponseParserError("canary"),
        botocore.model.UndefinedModelAttributeError("canary"),
        aiobotocore.response.AioReadTimeoutError(endpoint_url="http://x", error=TimeoutError()),
    ]
    for _, kind in inspect.getmembers(sdk, inspect.isclass):
        if not issubclass(kind, Exception) or issubclass(kind, Warning):
            continue
        if issubclass(kind, sdk.ClientError):
            found.append(kind({}, "DescribeEndpoint"))
        elif hasattr(kind, "fmt"):
            fields = {name.partition("[")[0] for _, name, _, _ in string.Formatter().parse(kind.fmt) if name}
            if issubclass(kind, sdk.WaiterError):
                fields.add("last_response")
            found.append(kind(**dict.fromkeys(fields, "x")))
        else:
            found.append(kind("x"))
    return found


def aiohttp_errors() -> list[Exception]:
    """Return an instance of each exception class of aiohttp's client."""
    kinds = [kind for _, kind in inspect.getmembers(aiohttp, inspect.isclass) if issubclass(kind, aiohttp.ClientError)]
    return [
        kind(*next((values for base, values in _AIOHTTP_ARGUMENTS if issubclass(kind, base)), ())) for kind in kinds
    ]


def standard_errors() -> list[Exception]:
    """Return standard exceptions that the SDK lets pass; their text may hold what a credential program printed."""
    return [
        EOFError(),
        FileNotFoundError(2, "No such file or directory"),
        PermissionError(13, "Permission denied", "config"),
        IsADirectoryError(21, "Is a directory", "config"),
        OSError("without a number"),
        OSError(28, "No space left on device"),
        BlockingIOError(11, "again"),
        ConnectionResetError(104, "reset"),
        BrokenPipeError(32, "Broken pipe"),
        socket.gaierror(-2, "Name or service not known"),
        ssl.SSLError(1, "wrong version"),
        TimeoutError(),
        asyncio.IncompleteReadError(b"x", 5),
        json.JSONDecodeError("Expecting value", CANARY, 0),
        ValueError("Invalid endpoint: 127.0.0.1:8411"),
        ValueError(CANARY),
        UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, "invalid start byte"),
        UnicodeEncodeError("ascii", CANARY, 0, 1, "ordinal not in range"),
        KeyError(CANARY),
        IndexError(CANARY),
        TypeError(CANARY),
        AttributeError(CANARY),
        OverflowError(CANARY),
        ZeroDivisionError(CANARY),
        RuntimeError(CANARY),
        RecursionError(CANARY),
        NotImplementedError(CANARY),
        AssertionError(CANARY),
        ImportError(CANARY),
        BufferError(CANARY),
        subprocess.TimeoutExpired(CANARY, 1),
        subprocess.CalledProcessError(1, CANARY),
        configparser.MissingSectionHeaderError(CANARY, 1, CANARY),
    ]


def crossing_errors() -> list[Exception]:
    """Return everything above."""
    return [*sdk_errors(), *aiohttp_errors(), *standard_errors()]

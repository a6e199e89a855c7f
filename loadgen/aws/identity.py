"""Connecting to an account: opens the clients and identifies the API endpoint and the caller."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from loadgen.aws.errors import SDK_ERRORS, to_loadgen_error
from loadgen.aws.session import AwsConnectionConfig, Clients, open_clients
from loadgen.errors import AuthError, UnavailableError
from loadgen.interfaces import Identity

# AWS's domains, including VPC endpoints. Source: dnsSuffix and dualStackDnsSuffix in botocore's partitions.json.
_AWS_DOMAINS = (
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".amazonaws.eu",
    ".api.aws",
    ".api.amazonwebservices.com.cn",
    ".c2s.ic.gov",
    ".sc2s.sgov.gov",
    ".cloud.adc-e.uk",
    ".csp.hci.ic.gov",
)
_EMULATOR_HEADER = "x-loadgen-emulator"


@dataclass(frozen=True, slots=True)
class AwsConnection:
    """Open clients, the identity of the account, and the caller's ARN (`owner`)."""

    clients: Clients
    identity: Identity
    owner: str


@asynccontextmanager
async def connect(config: AwsConnectionConfig) -> AsyncIterator[AwsConnection]:
    """Open the clients and call GetCallerIdentity once.

    Raises:
        AuthError, ConfigError, UnavailableError: with a hint.
    """
    async with open_clients(config) as clients:
        kind = endpoint_kind(*clients.urls)
        custom_url = "" if kind == "aws" else next(url for url in clients.urls if endpoint_kind(url) != "aws")
        try:
            caller = await clients.sts.get_caller_identity()
        except SDK_ERRORS as error:
            mapped_error = to_loadgen_error(error, "GetCallerIdentity", now=time.time())
            # A custom endpoint may lack STS; AuthError and UnavailableError are raised for it too.
            if kind == "aws" or isinstance(mapped_error, (AuthError, UnavailableError)):
                raise mapped_error from error
            yield AwsConnection(clients, Identity(kind, "", clients.region, custom_url), "")
            return
        emulator_header = caller["ResponseMetadata"]["HTTPHeaders"].get(_EMULATOR_HEADER, "")
        if emulator_header:
            kind = "emulator"
        identity = Identity(kind, str(caller.get("Account", "")), clients.region, "" if emulator_header else custom_url)
        yield AwsConnection(clients, identity, str(caller.get("Arn", "")))


def endpoint_kind(*urls: str) -> str:
    """Return `aws` if every URL is in a domain of AWS, else `custom-endpoint`.

    Example:
        >>> endpoint_kind("https://api.sagemaker.us-east-1.amazonaws.com"), endpoint_kind("http://localhost:4566")
        ('aws', 'custom-endpoint')
    """
    is_aws = all((urlsplit(url).hostname or "").endswith(_AWS_DOMAINS) for url in urls)
    return "aws" if is_aws else "custom-endpoint"

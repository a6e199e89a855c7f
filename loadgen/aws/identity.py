"""Reaching a place: opening its clients, and finding out what it is and who we are there."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from loadgen.aws.errors import SDK_ERRORS, explain
from loadgen.aws.session import Access, Clients, open_clients
from loadgen.errors import AuthError, UnavailableError
from loadgen.interfaces import Identity

# Domains of AWS's own, VPC endpoints included. Source: dnsSuffix and dualStackDnsSuffix in botocore's partitions.json.
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
class Reached:
    """A place that answered: its clients, who we are there (`owner` is the caller's ARN)."""

    clients: Clients
    identity: Identity
    owner: str


@asynccontextmanager
async def reach(access: Access) -> AsyncIterator[Reached]:
    """Open the clients and ask who we are, once.

    Raises:
        AuthError, ConfigError, UnavailableError: with what to do.
    """
    async with open_clients(access) as clients:
        kind = kind_of(*clients.urls)
        foreign = "" if kind == "aws" else next(url for url in clients.urls if kind_of(url) != "aws")
        try:
            caller = await clients.sts.get_caller_identity()
        except SDK_ERRORS as error:
            failure = explain(error, "GetCallerIdentity", now=time.time())
            # A stand-in need not know STS; one that refuses us does.
            if kind == "aws" or isinstance(failure, (AuthError, UnavailableError)):
                raise failure from error
            yield Reached(clients, Identity(kind, "", clients.region, foreign), "")
            return
        mark = caller["ResponseMetadata"]["HTTPHeaders"].get(_EMULATOR_HEADER, "")
        if mark:
            kind = "emulator"
        identity = Identity(kind, str(caller.get("Account", "")), clients.region, "" if mark else foreign)
        yield Reached(clients, identity, str(caller.get("Arn", "")))


def kind_of(*urls: str) -> str:
    """Tell AWS from a stand-in by the hosts that are called; one foreign host makes a stand-in.

    Example:
        >>> kind_of("https://api.sagemaker.us-east-1.amazonaws.com"), kind_of("http://localhost:4566")
        ('aws', 'stand-in')
    """
    is_aws = all((urlsplit(url).hostname or "").endswith(_AWS_DOMAINS) for url in urls)
    return "aws" if is_aws else "stand-in"

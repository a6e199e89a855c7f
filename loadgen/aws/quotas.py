"""Quotas of an account's serverless endpoints, and deployment waves that fit them.

Only `read_quotas` does I/O. A quota that cannot be read is taken at AWS's documented default: if the real one is lower,
AWS refuses CreateEndpoint, and its message is reported.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loadgen.aws.errors import SDK_ERRORS, error_code
from loadgen.errors import QuotaError
from loadgen.interfaces import Quotas
from loadgen.workload.serverless_config import ServerlessConfig

# Source: SageMaker developer guide, "Serverless Inference", concurrency for each Region (2026-11). Others have 500.
_HIGH_CONCURRENCY_REGIONS = frozenset(
    {
        "us-east-1",
        "us-east-2",
        "us-west-2",
        "ap-southeast-1",
        "ap-southeast-2",
        "ap-northeast-1",
        "eu-central-1",
        "eu-west-1",
    }
)
_DEFAULT_ENDPOINTS = 50
_DEFAULT_MEMORY_MB = 6144
# Source: repost.aws QUY0gXNLrdTH6eqqA4hv5FeA, and messages of refused calls.
_TOTAL_CONCURRENCY_CODE = "L-96300102"
_QUOTA_NAMES = {
    "total_concurrency": re.compile(r"total concurrency .*serverless endpoints", re.IGNORECASE),
    "endpoints": re.compile(r"number of serverless endpoints", re.IGNORECASE),
    "memory_mb": re.compile(r"memory size in MB per serverless endpoint", re.IGNORECASE),
}
# SageMaker has some thousands of quotas, 100 a page.
_MAX_PAGES = 60


def default_quotas(region: str, reason: str) -> Quotas:
    """Return AWS's documented defaults for a region, with the reason for using them.

    Example:
        >>> default_quotas("eu-north-1", "not allowed").total_concurrency
        500
    """
    total = 1000 if region in _HIGH_CONCURRENCY_REGIONS else 500
    source = f"AWS's documented defaults for {region} ({reason}); new accounts often have less"
    return Quotas(_DEFAULT_ENDPOINTS, total, _DEFAULT_MEMORY_MB, source)


def parse_quotas(listed: Iterable[Mapping[str, Any]], region: str) -> Quotas:
    """Select the serverless quotas of a Service Quotas list; those not listed take the documented default."""
    values: dict[str, int] = {}
    for quota in listed:
        if (member := _quota_field(quota)) and "Value" in quota:
            values[member] = int(quota["Value"])
    missing = [member for member in _QUOTA_NAMES if member not in values]
    defaults = default_quotas(region, "Service Quotas does not list them")
    if len(missing) == len(_QUOTA_NAMES):
        return defaults
    source = "Service Quotas"
    if missing:
        source += f"; as documented: {', '.join(missing)}"
    return Quotas(
        values.get("endpoints", defaults.endpoints),
        values.get("total_concurrency", defaults.total_concurrency),
        values.get("memory_mb", defaults.memory_mb),
        source,
    )


def _quota_field(quota: Mapping[str, Any]) -> str:
    if quota.get("QuotaCode") == _TOTAL_CONCURRENCY_CODE:
        return "total_concurrency"
    return next((member for member, name in _QUOTA_NAMES.items() if name.search(str(quota.get("QuotaName", "")))), "")


async def read_quotas(client: Any, region: str) -> Quotas:
    """Read the account's quotas from Service Quotas, or return the documented ones if that fails."""
    listed: list[Mapping[str, Any]] = []
    pagination: dict[str, str] = {}
    try:
        for _ in range(_MAX_PAGES):
            page = await client.list_service_quotas(ServiceCode="sagemaker", MaxResults=100, **pagination)
            listed += [quota for quota in page.get("Quotas", ()) if _quota_field(quota)]
            if not page.get("NextToken") or len({_quota_field(quota) for quota in listed}) == len(_QUOTA_NAMES):
                break
            pagination = {"NextToken": page["NextToken"]}
        return parse_quotas(listed, region)
    except SDK_ERRORS as error:
        return default_quotas(region, f"Service Quotas could not be read: {error_code(error)}")


def check_quota(config: ServerlessConfig, quotas: Quotas) -> None:
    """Refuse a configuration that is above a quota on its own.

    Raises:
        QuotaError: with the quota, its value and a hint.
    """
    hint = "request an increase in Service Quotas (Amazon SageMaker), or measure a smaller configuration"
    source = f"source: {quotas.source}"
    if config.memory_mb > quotas.memory_mb:
        raise QuotaError(
            f"{config}: the quota 'Memory size in MB per serverless endpoint' is {quotas.memory_mb} MB",
            hint=hint,
            details=(source,),
        )
    if config.max_concurrency > quotas.total_concurrency:
        raise QuotaError(
            f"{config}: the quota 'Maximum total concurrency across all serverless endpoints' "
            f"is {quotas.total_concurrency}",
            hint=hint,
            details=(source,),
        )
    if quotas.endpoints < 1:
        raise QuotaError(f"{config}: the quota 'Number of serverless endpoints' is 0", hint=hint, details=(source,))


def deployment_waves(configs: Sequence[ServerlessConfig], quotas: Quotas) -> list[list[ServerlessConfig]]:
    """Split a batch into deployment waves that fit the quotas (first fit).

    Every wave takes minutes to deploy, so a smaller configuration may move to an earlier wave; the order within a wave
    is kept. What the account's other endpoints use is not known; see `smaller_waves`.

    Raises:
        QuotaError: a configuration is above a quota on its own.

    Example:
        >>> quotas = Quotas(endpoints=5, total_concurrency=10, memory_mb=3072, source="an example")
        >>> configs = [ServerlessConfig(1024, n) for n in (8, 4, 2)]
        >>> [[config.max_concurrency for config in wave] for wave in deployment_waves(configs, quotas)]
        [[8, 2], [4]]
    """
    split: list[list[ServerlessConfig]] = []
    for config in configs:
        check_quota(config, quotas)
        for wave in split:
            used = sum(other.max_concurrency for other in wave)
            if len(wave) < quotas.endpoints and used + config.max_concurrency <= quotas.total_concurrency:
                wave.append(config)
                break
        else:
            split.append([config])
    return split


def smaller_waves(refused: Sequence[ServerlessConfig], deployed: int) -> list[list[ServerlessConfig]]:
    """Split the configurations of a wave that a quota refused, because others use a part of it, into smaller waves.

    Args:
        refused: what was not deployed.
        deployed: how many of the wave were: as many are tried at once. With none, half of the wave is.

    Example:
        >>> configs = [ServerlessConfig(1024, n) for n in (2, 4, 8)]
        >>> [len(wave) for wave in smaller_waves(configs, 2)], [len(wave) for wave in smaller_waves(configs, 0)]
        ([2, 1], [1, 1, 1])
    """
    size = max(1, deployed or len(refused) // 2)
    return [list(refused[first : first + size]) for first in range(0, len(refused), size)]

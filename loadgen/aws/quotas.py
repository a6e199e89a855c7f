"""What the account allows across its serverless endpoints, and how to deploy a batch within it.

Reading is one function with I/O; everything decided from what was read is pure. A quota nobody may read is taken at
AWS's documented default: to refuse what AWS might allow is worse than to be refused by AWS, whose refusal comes at
CreateEndpoint and is reported word for word.
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
# Quota -> its code if it is known, and its name. Source: repost.aws QUY0gXNLrdTH6eqqA4hv5FeA and refusals seen.
_TOTAL_CONCURRENCY_CODE = "L-96300102"
_QUOTA_NAMES = {
    "total_concurrency": re.compile(r"total concurrency .*serverless endpoints", re.IGNORECASE),
    "endpoints": re.compile(r"number of serverless endpoints", re.IGNORECASE),
    "memory_mb": re.compile(r"memory size in MB per serverless endpoint", re.IGNORECASE),
}
# SageMaker has some thousands of quotas, a hundred to a page.
_MAX_PAGES = 60


def default_quotas(region: str, reason: str) -> Quotas:
    """Return AWS's documented defaults for a region, saying why they are used.

    Example:
        >>> default_quotas("eu-north-1", "not allowed").total_concurrency
        500
    """
    total = 1000 if region in _HIGH_CONCURRENCY_REGIONS else 500
    source = f"AWS's documented defaults for {region} ({reason}); new accounts often have less"
    return Quotas(_DEFAULT_ENDPOINTS, total, _DEFAULT_MEMORY_MB, source)


def parse_quotas(listed: Iterable[Mapping[str, Any]], region: str) -> Quotas:
    """Choose ours among the quotas that Service Quotas lists; what it does not list is taken as documented."""
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
    """Read the account's quotas from Service Quotas, or the documented ones where that is not possible."""
    listed: list[Mapping[str, Any]] = []
    pagination: dict[str, str] = {}
    try:
        for _ in range(_MAX_PAGES):
            page = await client.list_service_quotas(ServiceCode="sagemaker", MaxResults=100, **pagination)
            listed += [quota for quota in page.get("Quotas", ()) if _quota_field(quota)]
            if not page.get("NextToken") or len({_quota_field(quota) for quota in listed}) == len(_QUOTA_NAMES):
                break
            pagination = {"NextToken": page["NextToken"]}
    except SDK_ERRORS as error:
        return default_quotas(region, f"Service Quotas could not be read: {error_code(error)}")
    return parse_quotas(listed, region)


def check_quota(config: ServerlessConfig, quotas: Quotas) -> None:
    """Refuse a configuration that could not be deployed even alone.

    Raises:
        QuotaError: naming the quota, its value, and what to do.
    """
    hint = "ask for more in Service Quotas (Amazon SageMaker), or measure a smaller configuration"
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
    """Split a batch into deploy waves that fit the quotas, each configuration in the first wave with room for it.

    Every wave costs minutes of deployment, so later and smaller configurations may move up; within a wave the order
    stays. What other endpoints of the account use up is not known here.

    Raises:
        QuotaError: a configuration could not be deployed even alone.

    Example:
        >>> quotas = Quotas(endpoints=5, total_concurrency=10, memory_mb=3072, source="an example")
        >>> [[c.max_concurrency for c in w] for w in deployment_waves([ServerlessConfig(1024, n) for n in (8, 4, 2)], quotas)]
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

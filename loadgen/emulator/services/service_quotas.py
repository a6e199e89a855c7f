"""Service Quotas: the quotas of the account, as its API shows them and as deployments are checked against them."""

from collections.abc import Iterable, Mapping
from typing import Any

from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.protocol.input_validation import Operation, validated
from loadgen.emulator.services.resources import Capacity
from loadgen.emulator.settings import CONCURRENCY_QUOTA, ENDPOINTS_QUOTA, MEMORY_QUOTA, QUOTAS, AccountQuotas, Settings

# L-96300102 is quoted in public; the codes of the other two are not known, so clients must look them up by name.
_QUOTA_CODES = {CONCURRENCY_QUOTA: "L-96300102", MEMORY_QUOTA: "L-A3FAAAA4", ENDPOINTS_QUOTA: "L-EMU00001"}
_DEFAULT_PAGE_SIZE = 100


class ServiceQuotas:
    """The operations that list and get quotas, for the service code `sagemaker`.

    Args:
        settings: settings of the account.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.operations: Mapping[str, Operation] = validated(
            "service-quotas",
            {
                "ListServiceQuotas": self.list_service_quotas,
                "ListAWSDefaultServiceQuotas": self.list_default_quotas,
                "GetServiceQuota": self.get_service_quota,
                "GetAWSDefaultServiceQuota": self.get_default_quota,
            },
        )

    def list_service_quotas(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """List the quotas that apply to the account."""
        return self._list(payload, self._settings.account_quotas)

    def list_default_quotas(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """List the quotas that AWS documents."""
        return self._list(payload, QUOTAS["documented"])

    def get_service_quota(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Return one quota as it applies to the account."""
        return {"Quota": self._find(payload, self._settings.account_quotas)}

    def get_default_quota(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Return one quota as AWS documents it."""
        return {"Quota": self._find(payload, QUOTAS["documented"])}

    def _list(self, payload: Mapping[str, Any], account_quotas: AccountQuotas) -> dict[str, Any]:
        size, token = payload.get("MaxResults", _DEFAULT_PAGE_SIZE), payload.get("NextToken", "0")
        if not token.isdecimal() or len(token) > 9:
            raise ServiceError("IllegalArgumentException", "NextToken is not valid.")
        quotas, first = self._quotas(payload, account_quotas), int(token)
        more = {"NextToken": str(first + size)} if len(quotas) > first + size else {}
        return {"Quotas": quotas[first : first + size], **more}

    def _find(self, payload: Mapping[str, Any], account_quotas: AccountQuotas) -> dict[str, Any]:
        for quota in self._quotas(payload, account_quotas):
            if quota["QuotaCode"] == payload["QuotaCode"]:
                return quota
        raise ServiceError("NoSuchResourceException", "The request failed because the specified quota does not exist.")

    def _quotas(self, payload: Mapping[str, Any], account_quotas: AccountQuotas) -> list[dict[str, Any]]:
        if payload["ServiceCode"] != "sagemaker":
            raise ServiceError(
                "NoSuchResourceException", "The request failed because the specified service does not exist."
            )
        values = {
            CONCURRENCY_QUOTA: account_quotas.total_concurrency,
            ENDPOINTS_QUOTA: account_quotas.endpoints,
            MEMORY_QUOTA: account_quotas.memory_mb,
        }
        prefix = f"arn:aws:servicequotas:{self._settings.region}:{self._settings.account_id}:sagemaker/"
        return [
            {
                "ServiceCode": "sagemaker",
                "ServiceName": "Amazon SageMaker",
                "QuotaArn": prefix + _QUOTA_CODES[name],
                "QuotaCode": _QUOTA_CODES[name],
                "QuotaName": name,
                "Value": float(value),
                "Unit": "None",
                "Adjustable": True,
                "GlobalQuota": False,
            }
            for name, value in values.items()
        ]


def check_quotas(settings: Settings, others: Iterable[Capacity], new: Capacity, current: Capacity | None) -> None:
    """Check a deployment against the account's quotas.

    Args:
        settings: settings of the account.
        others: capacities of the account's other endpoints.
        new: capacity to be deployed.
        current: capacity of the endpoint that is updated; None for a new endpoint.

    Raises:
        ServiceError: ResourceLimitExceeded, with AWS's text.
    """
    limits, unit = settings.account_quotas, settings.quota_unit
    concurrencies = [capacity.max_concurrency for capacity in others]
    if new.memory_mb > limits.memory_mb:
        raise _limit_exceeded(MEMORY_QUOTA, limits.memory_mb, 0, new.memory_mb, "MBs")
    if current is None and len(concurrencies) + 1 > limits.endpoints:
        raise _limit_exceeded(ENDPOINTS_QUOTA, limits.endpoints, len(concurrencies), 1, unit)
    held = current.max_concurrency if current is not None else 0
    used = sum(concurrencies) + held
    requested = new.max_concurrency - held
    if used + requested > limits.total_concurrency:
        raise _limit_exceeded(CONCURRENCY_QUOTA, limits.total_concurrency, used, requested, unit)


def _limit_exceeded(quota: str, limit: int, used: int, requested: int, unit: str) -> ServiceError:
    return ServiceError(
        "ResourceLimitExceeded",
        f"The account-level service limit '{quota}' is {limit} {unit}, with current utilization of {used} {unit} and a "
        f"request delta of {requested} {unit}. Please use AWS Service Quotas to request an increase for this quota. If "
        "AWS Service Quotas is not available, contact AWS support to request an increase for this quota.",
    )

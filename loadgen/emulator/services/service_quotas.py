"""The account itself: who it is (STS) and what it may have (Service Quotas)."""

from collections.abc import Mapping
from typing import Any

from loadgen.emulator.protocol.responses import ServiceError
from loadgen.emulator.settings import CONCURRENCY_QUOTA, ENDPOINTS_QUOTA, MEMORY_QUOTA, QUOTAS, AccountQuotas, Settings

# L-96300102 is quoted in public; for the other two no code is known for certain, so clients must go by the name.
_QUOTA_CODES = {CONCURRENCY_QUOTA: "L-96300102", MEMORY_QUOTA: "L-A3FAAAA4", ENDPOINTS_QUOTA: "L-EMU00001"}
_MAX_PAGE_SIZE = 100


def caller_identity(settings: Settings) -> dict[str, Any]:
    """Answer GetCallerIdentity: every caller is the emulated account's one user."""
    account = settings.account_id
    return {"Arn": f"arn:aws:iam::{account}:user/emulated", "UserId": "AIDAEMULATEDUSER00000", "Account": account}


class ServiceQuotas:
    """ListServiceQuotas, GetServiceQuota, GetAWSDefaultServiceQuota for the service code `sagemaker`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.operations = {
            "ListServiceQuotas": self.list_service_quotas,
            "ListAWSDefaultServiceQuotas": self.list_default_quotas,
            "GetServiceQuota": self.get_service_quota,
            "GetAWSDefaultServiceQuota": self.get_default_quota,
        }

    def list_service_quotas(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Answer what applies to the account."""
        return self._list(payload, self._settings.account_quotas)

    def list_default_quotas(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Answer what AWS documents."""
        return self._list(payload, QUOTAS["documented"])

    def get_service_quota(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Answer one quota as it applies to the account."""
        return {"Quota": self._find(payload, self._settings.account_quotas)}

    def get_default_quota(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Answer one quota as AWS documents it."""
        return {"Quota": self._find(payload, QUOTAS["documented"])}

    def _list(self, payload: Mapping[str, Any], account_quotas: AccountQuotas) -> dict[str, Any]:
        most = payload.get("MaxResults", _MAX_PAGE_SIZE)
        token = payload.get("NextToken") or "0"
        if not isinstance(most, int) or not 1 <= most <= _MAX_PAGE_SIZE or not str(token).isdecimal():
            raise ServiceError("IllegalArgumentException", "MaxResults or NextToken is not valid.")
        quotas, first = self._quotas(payload, account_quotas), int(token)
        more = {"NextToken": str(first + most)} if len(quotas) > first + most else {}
        return {"Quotas": quotas[first : first + most], **more}

    def _find(self, payload: Mapping[str, Any], account_quotas: AccountQuotas) -> dict[str, Any]:
        code = payload.get("QuotaCode")
        for quota in self._quotas(payload, account_quotas):
            if quota["QuotaCode"] == code:
                return quota
        raise ServiceError("NoSuchResourceException", "The request failed because the specified quota does not exist.")

    def _quotas(self, payload: Mapping[str, Any], account_quotas: AccountQuotas) -> list[dict[str, Any]]:
        if payload.get("ServiceCode") != "sagemaker":
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

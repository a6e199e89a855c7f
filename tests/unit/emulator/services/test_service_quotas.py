"""Service Quotas through a real client."""

import pytest
from botocore.exceptions import ClientError

from tests.support.emulator import client, emulated


def test_applied_and_default_quotas_are_returned():
    """With quotas "ordinary" 10, 5 and 3072 are applied, and 1000, 50 and 6144 are AWS's defaults."""
    with emulated(quotas="ordinary") as emulator, client("service-quotas", emulator) as quotas:
        applied = quotas.list_service_quotas(ServiceCode="sagemaker")["Quotas"]
        assert sorted(quota["Value"] for quota in applied) == [5.0, 10.0, 3072.0]
        values = []
        for quota in applied:
            code = {"ServiceCode": "sagemaker", "QuotaCode": quota["QuotaCode"]}
            assert quotas.get_service_quota(**code)["Quota"] == quota
            values.append(quotas.get_aws_default_service_quota(**code)["Quota"]["Value"])
        assert sorted(values) == [50.0, 1000.0, 6144.0]
        first = quotas.list_service_quotas(ServiceCode="sagemaker", MaxResults=2)
        rest = quotas.list_service_quotas(ServiceCode="sagemaker", MaxResults=2, NextToken=first["NextToken"])
        assert first["Quotas"] + rest["Quotas"] == applied
        with pytest.raises(ClientError) as caught:
            quotas.get_service_quota(ServiceCode="sagemaker", QuotaCode="L-00000000")
        assert caught.value.response["Error"]["Code"] == "NoSuchResourceException"

"""STS through a real client."""

import pytest
from botocore.exceptions import ClientError

from tests.support.emulator import client, emulated


def test_the_identity_is_the_emulated_account():
    """GetCallerIdentity returns the account and an ARN in it; any other action is InvalidAction."""
    with emulated() as emulator, client("sts", emulator) as sts:
        identity = sts.get_caller_identity()
        assert identity["Account"] == "123456789012"
        assert identity["Arn"].startswith("arn:aws:iam::123456789012:")
        with pytest.raises(ClientError) as caught:
            sts.get_session_token()
        assert caught.value.response["Error"]["Code"] == "InvalidAction"

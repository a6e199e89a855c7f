"""STS: the identity of the emulated account."""

from collections.abc import Mapping
from typing import Any

from loadgen.emulator.protocol.input_validation import Operation, validated
from loadgen.emulator.settings import Settings


class SecurityTokenService:
    """The operation GetCallerIdentity.

    Args:
        settings: settings of the account.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.operations: Mapping[str, Operation] = validated("sts", {"GetCallerIdentity": self.get_caller_identity})

    def get_caller_identity(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Return the one user of the account, for any signature."""
        account = self._settings.account_id
        return {"Arn": f"arn:aws:iam::{account}:user/emulated", "UserId": "AIDAEMULATEDUSER00000", "Account": account}

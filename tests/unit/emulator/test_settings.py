"""Settings of the emulated account."""

import pytest

from loadgen.emulator.settings import Settings
from loadgen.errors import UsageError


@pytest.mark.parametrize(
    "changes",
    [
        {"profile": "resnet"},
        {"quotas": "generous"},
        {"time_scale": 0.0},
        {"time_scale": float("nan")},
        {"metric_lag": -1.0},
        {"idle": (600.0, 300.0)},
        {"account_id": "12"},
        {"models": {"mine": "resnet"}},
    ],
)
def test_invalid_settings_are_rejected(changes):
    """An invalid setting is a UsageError at construction."""
    with pytest.raises(UsageError):
        Settings(**changes)

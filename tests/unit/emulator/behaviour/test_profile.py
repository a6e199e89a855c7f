"""Profiles: validation and look-up."""

import pytest

from loadgen.emulator.behaviour.profile import Profile, get_profile
from loadgen.errors import UsageError


def test_an_unknown_profile_is_rejected_with_the_known_names():
    """The error has the unknown name and the known ones."""
    with pytest.raises(UsageError, match=r"no profile named 'resnet'.*mobilenet-v2"):
        get_profile("resnet")


@pytest.mark.parametrize("rows", [(), ((2048, 1.0), (1024, 2.0)), ((1024, -1.0),)])
def test_an_invalid_profile_is_rejected(rows):
    """No rows, unordered rows and a negative duration are a UsageError at construction."""
    with pytest.raises(UsageError):
        Profile("wrong", rows)

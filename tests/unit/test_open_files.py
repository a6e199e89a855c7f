"""The limit of open files: how it is read and raised."""

import resource

import pytest

from loadgen import open_files

INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [
        (256, 4096, 4096),
        (256, 1 << 30, 65_536),
        (256, INFINITE, 65_536),
        (4096, 4096, 4096),
        (100_000, 200_000, 100_000),
        (INFINITE, INFINITE, 65_536),
    ],
)
def test_the_soft_limit_is_raised_to_the_hard_one(monkeypatch, soft, hard, raised):
    """The soft limit becomes the hard one, at most 65,536; one that is already higher is kept."""
    limits = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.__setitem__(slice(None), new))
    assert open_files.raise_open_files_limit() == raised
    assert limits[1] == hard

"""Quotas: read where they can be read, and batches split into deploy waves that fit them."""

import asyncio
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.aws.quotas import default_quotas, deployment_waves, parse_quotas, read_quotas
from loadgen.aws.session import AwsConnectionConfig, open_clients
from loadgen.emulator.server import Settings, serve
from loadgen.errors import QuotaError
from loadgen.interfaces import Quotas
from loadgen.workload.serverless_config import MEMORY_SIZES_MB, ServerlessConfig
from tests.support.scripted_server import http_response, scripted_server

CONFIGS = st.lists(st.builds(ServerlessConfig, st.sampled_from(MEMORY_SIZES_MB), st.integers(1, 40)), max_size=25)
QUOTAS = st.builds(Quotas, st.integers(1, 6), st.integers(40, 100), st.just(6144), st.just("made up"))


@given(CONFIGS, QUOTAS)
def test_waves_fit_and_lose_nothing(configs, quotas):
    """Every wave fits both quotas, no wave is empty, and together they hold exactly the batch."""
    split = deployment_waves(configs, quotas)
    for wave in split:
        assert 1 <= len(wave) <= quotas.endpoints
        assert sum(config.max_concurrency for config in wave) <= quotas.total_concurrency
    assert Counter(config for wave in split for config in wave) == Counter(configs)


@given(CONFIGS, QUOTAS)
def test_no_two_waves_could_be_one(configs, quotas):
    """Two neighbouring waves never fit into one: what could have been deployed together was."""
    split = deployment_waves(configs, quotas)
    for first, second in pairwise(split):
        together = [*first, *second]
        total = sum(config.max_concurrency for config in together)
        assert len(together) > quotas.endpoints or total > quotas.total_concurrency


def test_the_default_sweep_on_an_ordinary_account():
    """Six sizes with MaxConcurrency 1 need two waves of an account with five endpoints, in their order."""
    sizes = [ServerlessConfig(size) for size in MEMORY_SIZES_MB]
    split = deployment_waves(sizes, Quotas(5, 10, 6144, "an account"))
    assert [[config.memory_mb for config in wave] for wave in split] == [[1024, 2048, 3072, 4096, 5120], [6144]]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ServerlessConfig(4096, 1), "'Memory size in MB per serverless endpoint' is 3072 MB"),
        (ServerlessConfig(1024, 11), "'Maximum total concurrency across all serverless endpoints' is 10"),
    ],
)
def test_a_configuration_above_a_quota_is_refused(config, message):
    """The refusal names the configuration, the quota, its value, and what to do."""
    with pytest.raises(QuotaError, match=message) as caught:
        deployment_waves([ServerlessConfig(1024, 1), config], Quotas(5, 10, 3072, "an account"))
    assert str(config) in caught.value.message
    assert "Service Quotas" in caught.value.hint
    assert caught.value.details == ("source: an account",)


@pytest.mark.parametrize(("quotas", "expected"), [("ordinary", (5, 10, 3072)), ("documented", (50, 1000, 6144))])
def test_the_accounts_quotas_are_read(quotas, expected):
    """The quotas read are those of the emulated account, and the source is named."""

    async def main() -> None:
        async with (
            serve(Settings(quotas=quotas)) as emulator,
            open_clients(AwsConnectionConfig(emulator_url=emulator.url)) as clients,
        ):
            read = await read_quotas(clients.quotas, "us-east-1")
            assert (read.endpoints, read.total_concurrency, read.memory_mb) == expected
            assert read.source == "Service Quotas"

    asyncio.run(main())


def test_unreadable_quotas_are_the_documented_ones():
    """If the quotas cannot be read, the documented defaults are used, and the source contains the reason."""
    denied = http_response(400, b'{"__type":"AccessDeniedException","Message":"no"}')

    async def main() -> None:
        async with (
            scripted_server(lambda _: [denied]) as side,
            open_clients(AwsConnectionConfig(emulator_url=side.url)) as clients,
        ):
            read = await read_quotas(clients.quotas, "eu-north-1")
        assert (read.endpoints, read.total_concurrency, read.memory_mb) == (50, 500, 6144)
        assert "could not be read: AccessDeniedException" in read.source
        assert "eu-north-1" in read.source

    asyncio.run(main())


def test_a_partial_list_is_completed():
    """What Service Quotas does not list is taken as documented, and named."""
    read = parse_quotas([{"QuotaCode": "L-96300102", "QuotaName": "odd", "Value": 17.0}], "us-east-1")
    assert (read.endpoints, read.total_concurrency, read.memory_mb) == (50, 17, 6144)
    assert read.source == "Service Quotas; as documented: endpoints, memory_mb"


def test_regions_have_their_documented_totals():
    """Eight Regions have 1000, others 500 (developer guide)."""
    assert [default_quotas(region, "").total_concurrency for region in ("us-west-2", "ca-central-1")] == [1000, 500]

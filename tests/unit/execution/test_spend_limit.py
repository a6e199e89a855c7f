"""The spend limit adds up what samples cost, and reports once that it is reached."""

import numpy as np
import pytest

from loadgen import ServerlessConfig
from loadgen.analysis.prices import PriceBook
from loadgen.errors import ConfigError
from loadgen.execution.spend_limit import SpendLimit
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import SAMPLE

# The price list of us-east-1 (2026): USD for a second of 1 GB, and for a GB of data.
USD_PER_GB_SECOND, USD_PER_GB = 0.00002, 0.016


def test_served_and_failed_calls_cost_and_throttled_ones_do_not():
    """Of four calls the ok and the failed one cost their seconds and bytes; the limit is reported once."""
    samples = np.zeros(4, SAMPLE)
    samples["done"] = [2.0, 3.0, 5.0, 7.0]
    samples["outcome"] = [Outcome.OK, Outcome.MODEL_ERROR, Outcome.THROTTLED, Outcome.CANCELLED_IN_FLIGHT]
    samples["request_bytes"], samples["response_bytes"] = 2**28, 2**28
    limit = SpendLimit(PriceBook.builtin(), "us-east-1", limit=1e-4)
    reached = [limit.add_samples(ServerlessConfig(2048), samples)]
    assert limit.spent_usd == pytest.approx(2 * USD_PER_GB_SECOND * (2.0 + 3.0) + 2 * 0.5 * USD_PER_GB)
    reached.append(limit.add_samples(ServerlessConfig(2048), samples))
    assert reached == [True, False]


def test_a_limit_needs_a_price():
    """In a region without prices the spend limit is refused (C64)."""
    with pytest.raises(ConfigError, match="max-spend"):
        SpendLimit(PriceBook.builtin(), "nowhere-1", limit=1.0)

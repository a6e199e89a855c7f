"""The spend limit: what a run has cost so far, and the amount at which it stops."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.cost import BYTES_PER_GB
from loadgen.analysis.prices import Price, PriceBook, PriceUnavailable
from loadgen.errors import ConfigError
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.sample import in_category
from loadgen.workload.serverless_config import ServerlessConfig


class SpendLimit:
    """Counts what a run costs while it goes on, and says when a limit is reached.

    A call is billed for its service time. What is in flight when the limit is reached comes on top, and so do the
    seconds between two looks.

    Args:
        prices: where prices are looked up.
        region: whose prices hold.
        limit: USD.
        on_exceeded: called once, when the limit is reached.

    Raises:
        ConfigError: a price is unknown, so that no limit can be kept.
    """

    def __init__(self, prices: PriceBook, region: str, *, limit: float, on_exceeded: Callable[[], None]) -> None:
        execution, data = prices.serverless(region), prices.data(region)
        if isinstance(execution, PriceUnavailable) or isinstance(data, PriceUnavailable):
            unknown = "; ".join(price.reason for price in (execution, data) if isinstance(price, PriceUnavailable))
            raise ConfigError(f"--max-spend cannot be kept: {unknown}", hint="leave it out, or use another region")
        self.spent_usd = 0.0
        self._execution: Price = execution
        self._data: Price = data
        self._limit = limit
        self._on_exceeded = on_exceeded

    @property
    def is_exceeded(self) -> bool:
        """True when the limit is reached."""
        return self.spent_usd >= self._limit

    def add_samples(self, config: ServerlessConfig, samples: NDArray[np.void]) -> None:
        """Count what these samples of an endpoint of this configuration cost; refused calls cost nothing."""
        was_over = self.is_exceeded
        billed = samples[in_category(OutcomeCategory.OK, samples) | in_category(OutcomeCategory.FAILED, samples)]
        seconds = float((billed["done"] - billed["sent"]).sum())
        size = int(billed["request_bytes"].sum(dtype=np.int64) + billed["response_bytes"].sum(dtype=np.int64))
        self.spent_usd += (
            self._execution.usd * (config.memory_mb / 1024) * seconds + self._data.usd * size / BYTES_PER_GB
        )
        if self.is_exceeded and not was_over:
            self._on_exceeded()

"""The spend limit: what a run has cost so far, and the amount at which it stops."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.cost import GB
from loadgen.analysis.prices import NoPrice, Price, PriceBook
from loadgen.errors import ConfigError
from loadgen.measurement.outcome import Column
from loadgen.measurement.sample import is_in
from loadgen.workload.serverless_config import ServerlessConfig


class Spending:
    """Counts what a run costs while it goes on, and says when a limit is reached.

    A call is billed for its service time. What is in flight when the limit is reached comes on top, and so do the
    seconds between two looks.

    Args:
        prices: where prices are looked up.
        region: whose prices hold.
        limit: USD.
        on_limit: called once, when the limit is reached.

    Raises:
        ConfigError: a price is unknown, so that no limit can be kept.
    """

    def __init__(self, prices: PriceBook, region: str, *, limit: float, on_limit: Callable[[], None]) -> None:
        execution, data = prices.serverless(region), prices.data(region)
        if isinstance(execution, NoPrice) or isinstance(data, NoPrice):
            unknown = "; ".join(price.reason for price in (execution, data) if isinstance(price, NoPrice))
            raise ConfigError(f"--max-spend cannot be kept: {unknown}", hint="leave it out, or use another region")
        self.usd = 0.0
        self._execution: Price = execution
        self._data: Price = data
        self._limit = limit
        self._on_limit = on_limit

    @property
    def is_over(self) -> bool:
        """True when the limit is reached."""
        return self.usd >= self._limit

    def add(self, config: ServerlessConfig, samples: NDArray[np.void]) -> None:
        """Count what these samples of an endpoint of this configuration cost; refused calls cost nothing."""
        was_over = self.is_over
        billed = samples[is_in(Column.OK, samples) | is_in(Column.FAILED, samples)]
        seconds = float((billed["done"] - billed["sent"]).sum())
        size = int(billed["request_bytes"].sum(dtype=np.int64) + billed["response_bytes"].sum(dtype=np.int64))
        self.usd += self._execution.usd * (config.memory_mb / 1024) * seconds + self._data.usd * size / GB
        if self.is_over and not was_over:
            self._on_limit()

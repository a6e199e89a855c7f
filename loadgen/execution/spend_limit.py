"""The spend limit: what a run has cost so far, and the amount at which it stops."""

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.cost import BYTES_PER_GB
from loadgen.analysis.prices import Price, PriceBook, PriceUnavailable
from loadgen.errors import ConfigError
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.sample import in_category
from loadgen.workload.serverless_config import ServerlessConfig


class SpendLimit:
    """Adds up the cost of a run while it goes on.

    A call is billed for its service time. The final cost can exceed the limit by the requests in flight when it is
    reached, and by those completed since the last call of `add_samples`.

    Args:
        prices: the prices to use.
        region: the region of the endpoints.
        limit: USD.

    Raises:
        ConfigError: a price of the region is unknown.
    """

    def __init__(self, prices: PriceBook, region: str, *, limit: float) -> None:
        execution, data = prices.serverless(region), prices.data(region)
        if isinstance(execution, PriceUnavailable) or isinstance(data, PriceUnavailable):
            unknown = "; ".join(price.reason for price in (execution, data) if isinstance(price, PriceUnavailable))
            raise ConfigError(f"--max-spend needs a price: {unknown}", hint="leave it out, or use another region")
        self.spent_usd = 0.0
        self.limit_usd = limit
        self._execution: Price = execution
        self._data: Price = data

    def add_samples(self, config: ServerlessConfig, samples: NDArray[np.void]) -> bool:
        """Add the cost of samples of an endpoint; refused calls cost nothing.

        Args:
            config: the endpoint's configuration.
            samples: dtype SAMPLE, each passed once.

        Returns:
            True when these samples reached the limit; False before and after.
        """
        was_exceeded = self.spent_usd >= self.limit_usd
        billed = samples[in_category(OutcomeCategory.OK, samples) | in_category(OutcomeCategory.FAILED, samples)]
        seconds = float((billed["done"] - billed["sent"]).sum())
        size = int(billed["request_bytes"].sum(dtype=np.int64) + billed["response_bytes"].sum(dtype=np.int64))
        self.spent_usd += (
            self._execution.usd * (config.memory_mb / 1024) * seconds + self._data.usd * size / BYTES_PER_GB
        )
        return self.spent_usd >= self.limit_usd and not was_exceeded

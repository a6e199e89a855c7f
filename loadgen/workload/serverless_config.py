"""ServerlessConfig: the settings of a serverless endpoint and AWS's limits for them."""

from dataclasses import dataclass

from loadgen.errors import UsageError

# Source: botocore service model sagemaker 2017-07-24, ProductionVariantServerlessConfig.
MEMORY_SIZES_MB = (1024, 2048, 3072, 4096, 5120, 6144)
MAX_CONCURRENCY_LIMIT = 200
# Source: SageMaker developer guide, "Serverless Inference": 4 MB each way; botocore's own bound is 6 MiB.
PAYLOAD_LIMIT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, order=True)
class ServerlessConfig:
    """Memory size, MaxConcurrency and provisioned concurrency of a serverless endpoint.

    Args:
        memory_mb: memory size in MB: 1024, 2048, 3072, 4096, 5120 or 6144.
        max_concurrency: requests served concurrently, 1 to 200; further ones are throttled.
        provisioned_concurrency: instances kept warm and billed by the hour, 0 to `max_concurrency`.

    Raises:
        UsageError: a value is outside AWS's limits.
    """

    memory_mb: int
    max_concurrency: int = 1
    provisioned_concurrency: int = 0

    def __post_init__(self) -> None:
        if self.memory_mb not in MEMORY_SIZES_MB:
            raise UsageError(f"memory size is {self.memory_mb!r} MB", hint="must be 1024 to 6144 in steps of 1024")
        if not _is_int_between(self.max_concurrency, 1, MAX_CONCURRENCY_LIMIT):
            raise UsageError(
                f"MaxConcurrency is {self.max_concurrency!r}",
                hint=f"must be an integer from 1 to {MAX_CONCURRENCY_LIMIT}",
            )
        if not _is_int_between(self.provisioned_concurrency, 0, self.max_concurrency):
            raise UsageError(
                f"provisioned concurrency is {self.provisioned_concurrency!r}",
                hint=f"must be an integer from 0 to MaxConcurrency, which is {self.max_concurrency}",
            )

    def __str__(self) -> str:
        return f"{self.memory_mb} MB, MaxConcurrency {self.max_concurrency}"


def _is_int_between(value: object, minimum: int, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum

"""ServerlessConfig: the settings of a serverless endpoint and AWS's limits for them."""

from dataclasses import dataclass

from loadgen.errors import UsageError
from loadgen.validation import to_int

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
        memory_mb = to_int(self.memory_mb, "memory size in MB", MEMORY_SIZES_MB[0], MEMORY_SIZES_MB[-1])
        if memory_mb not in MEMORY_SIZES_MB:
            raise UsageError(f"memory size is {memory_mb} MB", hint="must be 1024 to 6144 in steps of 1024")
        max_concurrency = to_int(self.max_concurrency, "MaxConcurrency", 1, MAX_CONCURRENCY_LIMIT)
        provisioned = to_int(self.provisioned_concurrency, "provisioned concurrency", 0, max_concurrency)
        object.__setattr__(self, "memory_mb", memory_mb)
        object.__setattr__(self, "max_concurrency", max_concurrency)
        object.__setattr__(self, "provisioned_concurrency", provisioned)

    def __str__(self) -> str:
        return f"{self.memory_mb} MB, MaxConcurrency {self.max_concurrency}"

"""Profile: latency, cold start, memory need and deployment of one model. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from loadgen.errors import UsageError


@dataclass(frozen=True, slots=True)
class Profile:
    """The figures of one model behind a serverless endpoint.

    Args:
        name: name of the registered model.
        model_latency: (memory in MB, mean seconds in the container), ascending; a memory size uses the last row at or
            below it.
        jitter: sigma of the lognormal distribution of the model latency.
        overhead: mean time that the service adds to each request, seconds.
        overhead_jitter: sigma of the lognormal distribution of the overhead.
        cold_start: median time for which a request is held while its instance starts, seconds.
        cold_jitter: sigma of the lognormal distribution of the cold start.
        setup_ratio: ModelSetupTime divided by the time held.
        memory_used_mb: memory that serving takes; an endpoint with less fails each request.
        deploy_time: time from CreateEndpoint to InService, seconds.
        deploy_failure: FailureReason of an endpoint that always fails to deploy; empty if it deploys.
        body: body of every response.
        content_type: Content-Type of the responses.

    Raises:
        UsageError: the rows are not ascending, or a duration is negative.
    """

    name: str
    model_latency: tuple[tuple[int, float], ...]
    jitter: float = 0.03
    overhead: float = 0.004
    overhead_jitter: float = 0.25
    cold_start: float = 6.0
    cold_jitter: float = 0.12
    setup_ratio: float = 1.4
    memory_used_mb: int = 700
    deploy_time: float = 150.0
    deploy_failure: str = ""
    body: bytes = b'{"predictions":[0.5]}'
    content_type: str = "application/json"

    def __post_init__(self) -> None:
        if not self.model_latency or list(self.model_latency) != sorted(self.model_latency):
            raise UsageError(f"profile {self.name}: model_latency needs rows in ascending order of memory")
        durations = [self.overhead, self.cold_start, self.deploy_time, *(row[1] for row in self.model_latency)]
        if min(durations) < 0:
            raise UsageError(f"profile {self.name}: a duration is negative: {min(durations):g} s")

    def latency_at(self, memory_mb: int) -> float:
        """Return the mean seconds in the container at this memory size.

        Example:
            >>> PROFILES["mobilenet-v2"].latency_at(6144) == PROFILES["mobilenet-v2"].latency_at(3072)
            True
        """
        latency = self.model_latency[0][1]
        for size, seconds in self.model_latency:
            if size <= memory_mb:
                latency = seconds
        return latency


# The published example of AWS's benchmarking toolkit for MobileNetV2: 102 ms at 2048 MB, 92 ms at 3072 MB and above,
# 4 ms of overhead included; 1024 MB has half the CPU of 2048 MB and is assumed to take twice the time.
_MOBILENET_V2 = Profile(
    name="mobilenet-v2",
    model_latency=((1024, 0.201), (2048, 0.098), (3072, 0.088)),
    cold_start=9.0,
    memory_used_mb=700,
    body=b'{"predictions":[{"label":"tabby","score":0.6127},{"label":"tiger cat","score":0.2713},'
    b'{"label":"Egyptian cat","score":0.0882},{"label":"lynx","score":0.0127},'
    b'{"label":"remote control","score":0.0021}]}',
)
# Cold starts of XGBoost containers: about 6.0 s held (aws-samples/sagemaker-serverless-inf-provisioned-concurrency,
# 2023); OverheadLatency 5.4 to 6.6 s beside a ModelSetupTime of 8.3 to 8.9 s (one public trace, 2026): a ratio of 1.4.
_XGBOOST = Profile(
    name="xgboost",
    model_latency=((1024, 0.004),),
    jitter=0.1,
    cold_start=6.0,
    memory_used_mb=300,
    deploy_time=120.0,
    body=b'{"predictions":[{"score":0.8314}]}',
)
# Cold starts of Hugging Face images: 62 to 90 s (ManuLasker/sagemaker-serverless-inference, 2022, 6144 MB).
_HUGGINGFACE = Profile(
    name="huggingface",
    model_latency=((1024, 1.25), (2048, 0.592), (3072, 0.41), (4096, 0.325), (5120, 0.275), (6144, 0.242)),
    jitter=0.05,
    overhead=0.008,
    cold_start=60.0,
    memory_used_mb=1600,
    deploy_time=300.0,
    body=b'[{"label":"POSITIVE","score":0.9987}]',
)
# Takes no time: measures the cost of the client and of the server itself.
_INSTANT = Profile(
    name="instant", model_latency=((1024, 0.0),), jitter=0.0, overhead=0.0, overhead_jitter=0.0, memory_used_mb=100
)
# Text seen by users of images whose /ping never answers; a crash-looping container took 24 minutes to be Failed.
_FAILS_TO_DEPLOY = Profile(
    name="fails-to-deploy",
    model_latency=((1024, 0.1),),
    deploy_time=1440.0,
    deploy_failure="The primary container for production variant AllTraffic did not pass the ping health check. "
    "Please check CloudWatch logs for this endpoint.",
)
PROFILES: Mapping[str, Profile] = MappingProxyType(
    {p.name: p for p in (_MOBILENET_V2, _XGBOOST, _HUGGINGFACE, _INSTANT, _FAILS_TO_DEPLOY)}
)


def get_profile(name: str) -> Profile:
    """Return a profile by its name.

    Raises:
        UsageError: no profile has that name.
    """
    if name not in PROFILES:
        raise UsageError(f"no profile named {name!r}", hint=f"known: {', '.join(PROFILES)}")
    return PROFILES[name]

"""Settings of the emulated account and of the server.

Where AWS publishes no figure, or sources conflict, the figure is a setting and its description says so.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from loadgen.emulator.behaviour.profile import PROFILES, Profile, get_profile
from loadgen.errors import UsageError
from loadgen.workload.serverless_config import PAYLOAD_LIMIT_BYTES

CONCURRENCY_QUOTA = "Maximum total concurrency that can be allocated across all serverless endpoints"
MEMORY_QUOTA = "Memory size in MB per serverless endpoint"
ENDPOINTS_QUOTA = "Number of serverless endpoints"

_TOKEN = re.compile("[A-Za-z0-9_-]{16,512}")
_HOST_NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")


@dataclass(frozen=True, slots=True)
class AccountQuotas:
    """The quotas of one account in one region."""

    total_concurrency: int
    endpoints: int
    memory_mb: int


QUOTAS: Mapping[str, AccountQuotas] = MappingProxyType(
    {
        # SageMaker developer guide, "Serverless Inference", us-east-1 (2026-11).
        "documented": AccountQuotas(total_concurrency=1000, endpoints=50, memory_mb=6144),
        # Quotas of new accounts, as reported in repost.aws QUY0gXNLrdTH6eqqA4hv5FeA, SuperCowPowers/workbench (2026).
        "ordinary": AccountQuotas(total_concurrency=10, endpoints=5, memory_mb=3072),
    }
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of an emulated account and its server.

    Args:
        profile: profile of models that do not name one.
        seed: seed of all random draws.
        quotas: `documented`, `ordinary` (new accounts), or an AccountQuotas.
        time_scale: factor by which deployments, deletions and cold starts are shorter; service times are unaffected.
        metric_lag: seconds until a minute of metrics can be read (no figure is published).
        models: model name -> profile or its name, registered from the start; each profile is registered under its own
            name as well.
        region: region of the account.
        account_id: 12 digits.
        idle: minimum and maximum lifetime of an idle instance, seconds (not published; 5 to 10 minutes fit reports).
        payload_limit: maximum size of a request's body, bytes (4 MB in the guide, 6 MB on other pages).
        invocation_limit: maximum time in the container per request, seconds.
        delete_time: time for which an endpoint is Deleting, seconds.
        throttles_are_invocations: whether throttled requests count in the Invocations metric (not known).
        throttles_are_4xx: whether throttled requests count in Invocation4XXErrors (not known).
        quota_unit: unit in the ResourceLimitExceeded message for concurrency and endpoints (not known).
        out_of_memory: the container's message when it runs out of memory (exact text not known; clients look for
            "insufficient memory").
        connections: maximum number of open connections; a request on a further one is refused with status 503. The
            limit of open files of the process can lower it.
        body_memory: maximum size of all request bodies that are being received or handled, bytes; beyond it, 503.
        head_timeout: maximum time for a request's head, and again for its body, seconds.
        idle_timeout: maximum time for which an unused connection stays open, seconds.
        runs_jobs: whether the commands of Processing jobs are run, with this user's rights; S3 and the operations on
            jobs then need the token.
        token: what clients send as their session token, 16 or more letters, digits, `-` and `_`; empty for a random one
            if one is needed.
        host_names: names besides those of loopback by which clients reach the server; with one, every request needs the
            token.

    Raises:
        UsageError: a value is invalid.
    """

    profile: str = "mobilenet-v2"
    seed: int = 1
    quotas: str | AccountQuotas = "documented"
    time_scale: float = 1.0
    metric_lag: float = 0.0
    models: Mapping[str, str | Profile] = field(default_factory=dict)
    region: str = "us-east-1"
    account_id: str = "123456789012"
    idle: tuple[float, float] = (300.0, 600.0)
    payload_limit: int = PAYLOAD_LIMIT_BYTES
    invocation_limit: float = 60.0
    delete_time: float = 20.0
    throttles_are_invocations: bool = False
    throttles_are_4xx: bool = False
    quota_unit: str = "Units"
    out_of_memory: str = "The container ran out of memory: insufficient memory to serve the request"
    connections: int = 20_000
    body_memory: int = 256 << 20
    head_timeout: float = 20.0
    idle_timeout: float = 300.0
    runs_jobs: bool = False
    token: str = field(default="", repr=False)
    host_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        get_profile(self.profile)
        if isinstance(self.quotas, str) and self.quotas not in QUOTAS:
            raise UsageError(f"quotas {self.quotas!r}", hint=f"known: {', '.join(QUOTAS)}")
        if not self.time_scale > 0:
            raise UsageError(f"time scale {self.time_scale!r}", hint="1 is real time, 60 makes a minute a second")
        if self.metric_lag < 0:
            raise UsageError(f"metric lag {self.metric_lag!r} s", hint="0 or more")
        if not 0 < self.idle[0] <= self.idle[1]:
            raise UsageError(f"idle {self.idle!r}", hint="give the minimum and the maximum lifetime in seconds")
        if not re.fullmatch(r"\d{12}", self.account_id):
            raise UsageError(f"account id {self.account_id!r}", hint="twelve digits")
        if self.token and not _TOKEN.fullmatch(self.token):
            raise UsageError(
                f"emulator token of {len(self.token)} characters", hint="16 to 512 letters, digits, `-` and `_`"
            )
        for name in self.host_names:
            if not _HOST_NAME.fullmatch(name):
                raise UsageError(f"host name {name!r}", hint="a name without a port, such as emulator")
        for profile in self.models.values():
            if isinstance(profile, str):
                get_profile(profile)

    @property
    def account_quotas(self) -> AccountQuotas:
        """The quotas as figures."""
        return QUOTAS[self.quotas] if isinstance(self.quotas, str) else self.quotas

    def registered_models(self) -> dict[str, Profile]:
        """Return the models that exist from the start, with their profiles."""
        named = {name: get_profile(p) if isinstance(p, str) else p for name, p in self.models.items()}
        return dict(PROFILES) | named

"""Settings: everything about the emulated account and server that can be chosen, with its default.

Where AWS publishes no figure, or sources conflict, the figure is a setting here and its comment says so.
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


@dataclass(frozen=True, slots=True)
class AccountQuotas:
    """What one account may have at once in one region."""

    total_concurrency: int
    endpoints: int
    memory_mb: int


QUOTAS: Mapping[str, AccountQuotas] = MappingProxyType(
    {
        # SageMaker developer guide, "Serverless Inference", us-east-1 (2026-11).
        "documented": AccountQuotas(total_concurrency=1000, endpoints=50, memory_mb=6144),
        # What new accounts are seen to have: repost.aws QUY0gXNLrdTH6eqqA4hv5FeA, SuperCowPowers/workbench (2026).
        "ordinary": AccountQuotas(total_concurrency=10, endpoints=5, memory_mb=3072),
    }
)


@dataclass(frozen=True, slots=True)
class Settings:
    """An emulated account: what it holds, what it allows, how long things take.

    Args:
        profile: the profile of models that name none themselves.
        seed: decides every random draw.
        quotas: `documented`, `ordinary`, or limits of your own.
        time_scale: deploys, deletes and cold starts take this many times less; service times never change.
        metric_lag: seconds before a minute of metrics can be read (none is published).
        models: model name -> profile or its name, registered from the start; every profile is, under its own name.
        idle: an idle instance goes after between so many seconds (not published; 5 to 10 minutes fit what is seen).
        payload_limit: bytes of a request's body (the guide says 4 MB, other pages 6).
        invocation_limit: seconds the container may take.
        delete_time: seconds an endpoint is Deleting.
        throttles_are_invocations: whether refused requests count in the Invocations metric (not known).
        throttles_are_4xx: whether they count in Invocation4XXErrors (not known).
        quota_unit: the unit's name in refusals for concurrency and endpoints (not known).
        out_of_memory: what the container says when memory ran out (the exact text is not known; clients look for
            "insufficient memory").
        connections: open at once; one more is cut.
        head_timeout: seconds for a request's head, and again for its body.
        idle_timeout: seconds an unused connection stays open.
        runs_jobs: True to run the commands of Processing jobs, with this user's rights: whoever can reach the port can.

    Raises:
        UsageError: a value that cannot be meant.
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
    connections: int = 2000
    head_timeout: float = 20.0
    idle_timeout: float = 300.0
    runs_jobs: bool = False

    def __post_init__(self) -> None:
        get_profile(self.profile)
        if isinstance(self.quotas, str) and self.quotas not in QUOTAS:
            raise UsageError(f"quotas {self.quotas!r}", hint=f"known: {', '.join(QUOTAS)}")
        if not self.time_scale > 0:
            raise UsageError(f"time scale {self.time_scale!r}", hint="1 is real time, 60 makes a minute a second")
        if self.metric_lag < 0:
            raise UsageError(f"metric lag {self.metric_lag!r} s is below zero")
        if not 0 < self.idle[0] <= self.idle[1]:
            raise UsageError(f"idle {self.idle!r}", hint="give the least and the greatest number of seconds")
        if not re.fullmatch(r"\d{12}", self.account_id):
            raise UsageError(f"account id {self.account_id!r}", hint="twelve digits")
        for profile in self.models.values():
            if isinstance(profile, str):
                get_profile(profile)

    @property
    def account_quotas(self) -> AccountQuotas:
        """The quotas as figures."""
        return QUOTAS[self.quotas] if isinstance(self.quotas, str) else self.quotas

    def registered_models(self) -> dict[str, Profile]:
        """Return the models that stand from the start, with their profiles."""
        named = {name: get_profile(p) if isinstance(p, str) else p for name, p in self.models.items()}
        return dict(PROFILES) | named

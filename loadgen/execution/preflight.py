"""Preflight checks: what must hold before a run creates anything. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadgen.analysis.prices import PriceBook
from loadgen.aws.quotas import deployment_waves
from loadgen.errors import AuthError, ConfigError
from loadgen.execution.forecast import RunForecast, forecast_run
from loadgen.execution.spend_limit import SpendLimit
from loadgen.interfaces import Account, Identity
from loadgen.scenario.scenario import ScenarioProtocol
from loadgen.workload.serverless_config import ServerlessConfig

DEFAULT_GRACE = 10.0  # seconds for requests in flight after a stop


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """What a run may do.

    Args:
        max_endpoints: how many endpoints it may create; None for `DEFAULT_MAX_ENDPOINTS`.
        max_spend: USD after which it sends no more requests; None for no limit.
        expect_account: the AWS account id it must run in; empty for any.
        grace: seconds for requests in flight after a stop.
        dry_run: True to log the forecast and create nothing.
        resume: True to continue an interrupted run in its output directory.
        state_dir: the directory of the register of unfinished runs; None to keep no register.
    """

    max_endpoints: int | None = None
    max_spend: float | None = None
    expect_account: str = ""
    grace: float = DEFAULT_GRACE
    dry_run: bool = False
    resume: bool = False
    state_dir: Path | None = None

    def check_account(self, identity: Identity) -> None:
        """Check that the credentials belong to the expected account.

        Raises:
            AuthError: they belong to another.
        """
        if self.expect_account and identity.account_id != self.expect_account:
            raise AuthError(
                f"the credentials belong to account {identity.account_id or '(unknown)'}, "
                f"expected {self.expect_account}",
                hint="check AWS_PROFILE, or --expect-account",
            )

    def spend_limit(self, scenario: ScenarioProtocol, identity: Identity) -> SpendLimit | None:
        """Return the spend limit of a scenario; None when there is none.

        Raises:
            ConfigError: the price of an endpoint is unknown.
        """
        if self.max_spend is None:
            return None
        if None in scenario.configs():
            raise ConfigError(
                "--max-spend needs a price, and that of an existing endpoint is unknown", hint="leave it out"
            )
        return SpendLimit(PriceBook.builtin(), identity.region, limit=self.max_spend)


def forecast_for_account(scenario: ScenarioProtocol, account: Account) -> RunForecast:
    """Return the forecast of a scenario under an account's quotas."""
    configs: Sequence[ServerlessConfig] = [c for c in dict.fromkeys(scenario.configs()) if c is not None]
    return forecast_run(
        scenario.possible_steps(),
        scenario.requests,
        account.identity,
        waves=len(deployment_waves(configs, account.quotas)),
        prices=PriceBook.builtin(),
        together=scenario.together,
    )

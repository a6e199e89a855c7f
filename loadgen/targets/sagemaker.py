"""SageMaker: a model in an AWS account. Its endpoints are billed."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from loadgen.aws.deployment.names_and_tags import validate_tags
from loadgen.errors import UsageError
from loadgen.interfaces import Account, Target, Transport
from loadgen.targets.names import validate_resource_name
from loadgen.targets.standalone import open_transport
from loadgen.targets.transport_selection import resolve_transport
from loadgen.workload.serverless_config import ServerlessConfig


@dataclass(frozen=True, slots=True)
class SageMaker:
    """Deploy an existing model of the account, one serverless endpoint for each configuration.

    Credentials, region and endpoint come from the SDK's own chain (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, ...).

    Args:
        model: name of the SageMaker model.
        region: overrides the chain's.
        transport: `auto` or a transport's name.
        deploy_timeout: maximum seconds from CreateEndpoint to InService.
        metrics_timeout: maximum seconds to wait for CloudWatch after a step.
        tags: of every created endpoint, configuration and Processing job, beside loadgen's own, such as a cost center.

    Raises:
        UsageError: an invalid name, timeout or tag, or an unknown transport.

    Example:
        >>> SageMaker("ranker").model
        'ranker'
    """

    model: str
    region: str | None = None
    transport: str = "auto"
    deploy_timeout: float = 1800.0
    metrics_timeout: float = 300.0
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        validate_resource_name("model", self.model)
        resolve_transport(self.transport)
        object.__setattr__(self, "tags", validate_tags(self.tags))
        if not self.deploy_timeout > 0 or not self.metrics_timeout >= 0:
            raise UsageError(
                f"deploy_timeout {self.deploy_timeout!r}, metrics_timeout {self.metrics_timeout!r}",
                hint="deploy_timeout must be above 0 and metrics_timeout at least 0",
            )

    def account(self, *, run_id: str) -> AbstractAsyncContextManager[Account]:
        """Connect to the account. `run_id` is part of the names and tags of created resources."""
        # Scenario files create targets while they load; AWS modules are imported when used.
        from loadgen.aws.account import open_account
        from loadgen.aws.cloudwatch import MetricsWaitPolicy
        from loadgen.aws.retry import RetryPolicy
        from loadgen.aws.session import AwsConnectionConfig

        return open_account(
            AwsConnectionConfig(region=self.region),
            model=self.model,
            run_id=run_id,
            transport_factory=resolve_transport(self.transport),
            retry_policy=RetryPolicy(deploy_timeout=self.deploy_timeout),
            metrics_wait=MetricsWaitPolicy(timeout=self.metrics_timeout),
            extra_tags=self.tags,
        )

    def open(
        self, config: ServerlessConfig, *, connections: int = 10, timeout: float = 300.0
    ) -> AbstractAsyncContextManager[Transport]:
        """Deploy one endpoint and yield its transport, without a run; the endpoint is deleted on exit."""
        return open_transport(self, config, connections=connections, timeout=timeout)

    def for_workers(self, account: Account, endpoint: str) -> Target:
        """Return a target for the workers of other processes."""
        from loadgen.targets.existing import existing_endpoint

        return existing_endpoint(account, endpoint, transport=self.transport)

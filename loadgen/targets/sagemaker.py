"""SageMaker: a model in an AWS account. The only target that costs money."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from loadgen.errors import UsageError
from loadgen.interfaces import Account, Target, Transport
from loadgen.targets.names import validate_resource_name
from loadgen.targets.standalone import open_transport
from loadgen.targets.transport_selection import resolve_transport
from loadgen.workload.serverless_config import ServerlessConfig


@dataclass(frozen=True, slots=True)
class SageMaker:
    """Deploy a model that exists in the account, one serverless endpoint for each configuration.

    Credentials, region and endpoint come from the SDK's own chain (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, ...).

    Args:
        model: name of the SageMaker model.
        region: overrides the chain's.
        transport: `auto` or a transport's name.
        deploy_timeout: seconds from CreateEndpoint to InService at most.
        metrics_timeout: seconds to wait for CloudWatch after a step at most.

    Raises:
        UsageError: a name that AWS would refuse, a duration of nothing, an unknown transport.

    Example:
        >>> SageMaker("ranker").model
        'ranker'
    """

    model: str
    region: str | None = None
    transport: str = "auto"
    deploy_timeout: float = 1800.0
    metrics_timeout: float = 300.0

    def __post_init__(self) -> None:
        validate_resource_name("model", self.model)
        resolve_transport(self.transport)
        if not self.deploy_timeout > 0 or not self.metrics_timeout >= 0:
            raise UsageError("deploy_timeout must be above zero and metrics_timeout not below it")

    def account(self, *, run_id: str) -> AbstractAsyncContextManager[Account]:
        """Reach the account. `run_id` names and tags what will be created."""
        # Scenario files build targets as they load; AWS is imported when it is used.
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
        )

    def open(
        self, config: ServerlessConfig, *, connections: int = 10, timeout: float = 300.0
    ) -> AbstractAsyncContextManager[Transport]:
        """Deploy one endpoint and yield its transport, outside of a run; it is removed on the way out."""
        return open_transport(self, config, connections=connections, timeout=timeout)

    def for_workers(self, account: Account, endpoint: str) -> Target:
        """Describe an endpoint of it for another process."""
        from loadgen.targets.existing import existing_endpoint

        return existing_endpoint(account, endpoint, transport=self.transport)

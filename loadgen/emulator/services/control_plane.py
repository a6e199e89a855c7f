"""The SageMaker control plane: models, endpoint configurations, endpoints, tags.

Operations are synchronous functions of their input and the time; the service's eventual work (a deployment, a
deletion) is a date in endpoint.py. Reading input is input_validation.py's, refusing for want of quota is here.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, TypeVar

from loadgen.emulator.behaviour.fleet import Fleet
from loadgen.emulator.behaviour.ledger import Ledger
from loadgen.emulator.faults import Fault, Faults, Kind
from loadgen.emulator.protocol import input_validation
from loadgen.emulator.protocol.pagination import select
from loadgen.emulator.protocol.responses import AwsError
from loadgen.emulator.services.resources import Capacity, Change, Endpoint, EndpointConfig, Model
from loadgen.emulator.services.variant import read_update, read_variant
from loadgen.emulator.settings import CONCURRENCY_QUOTA, ENDPOINTS_QUOTA, MEMORY_QUOTA, Settings

# The variable of a container that names its profile.
PROFILE_VARIABLE = "LOADGEN_PROFILE"
T = TypeVar("T")


class ControlPlane:
    """The account's models, configurations and endpoints.

    Args:
        settings: of the account.
        faults: what deployments and deletions may meet.
        ledger: an endpoint's books are opened when it is created.
        now: epoch seconds; the registered models date from here.
    """

    def __init__(self, settings: Settings, faults: Faults, ledger: Ledger, now: float) -> None:
        self._settings = settings
        self._ledger = ledger
        self._faults = faults
        self._models: dict[str, Model] = {}
        self._configs: dict[str, EndpointConfig] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._staffed: Counter[str] = Counter()
        self._profiles = settings.registered()
        for name, profile in self._profiles.items():
            payload = {"PrimaryContainer": {"Image": f"emulated/{profile.name}:1"}}
            self._models[name] = Model(name, self._arn("model", name), payload, profile, now)
        self.operations: Mapping[str, Callable[[Mapping[str, Any], float], dict[str, Any] | None]] = {
            "CreateModel": self.create_model,
            "DescribeModel": self.describe_model,
            "DeleteModel": self.delete_model,
            "ListModels": self.list_models,
            "CreateEndpointConfig": self.create_endpoint_config,
            "DescribeEndpointConfig": self.describe_endpoint_config,
            "DeleteEndpointConfig": self.delete_endpoint_config,
            "ListEndpointConfigs": self.list_endpoint_configs,
            "CreateEndpoint": self.create_endpoint,
            "DescribeEndpoint": self.describe_endpoint,
            "UpdateEndpoint": self.update_endpoint,
            "UpdateEndpointWeightsAndCapacities": self.update_capacities,
            "DeleteEndpoint": self.delete_endpoint,
            "ListEndpoints": self.list_endpoints,
            "AddTags": self.add_tags,
            "ListTags": self.list_tags,
            "DeleteTags": self.delete_tags,
        }

    def serving(self, name: str, now: float) -> Endpoint | None:
        """Return the endpoint when it takes requests, settled as of now. The hot path: one look-up."""
        endpoint = self._endpoints.get(name)
        if endpoint is None or not (endpoint.settle(now) and endpoint.is_serving):
            return None
        return endpoint

    # --- models

    def create_model(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Register a model; the container's environment may name its profile."""
        name = input_validation.name(payload, "ModelName")
        if payload.get("ExecutionRoleArn") is not None:
            input_validation.text(payload, "ExecutionRoleArn", longest=2048)
        container = input_validation.structure(payload, "PrimaryContainer")
        containers = input_validation.structures(payload, "Containers", most=15)
        if container is None and not containers:
            raise input_validation.invalid("You must specify either PrimaryContainer or Containers.")
        tags = input_validation.tags(payload)
        environment = input_validation.structure(containers[0] if container is None else container, "Environment") or {}
        profile = environment.get(PROFILE_VARIABLE, self._settings.profile)
        if profile not in self._profiles:
            raise input_validation.invalid(
                f"{PROFILE_VARIABLE} is {profile!r}; the emulator knows {', '.join(self._profiles)}"
            )
        arn = self._arn("model", name)
        if name in self._models:
            raise input_validation.invalid(f'Cannot create already existing model "{arn}".')
        self._models[name] = Model(name, arn, dict(payload), self._profiles[profile], now)
        self._tags[arn] = tags
        return {"ModelArn": arn}

    def describe_model(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Return what CreateModel was given."""
        model = self._find(self._models, "model", input_validation.name(payload, "ModelName"))
        members = ("PrimaryContainer", "Containers", "ExecutionRoleArn", "VpcConfig", "InferenceExecutionConfig")
        given = {member: model.payload[member] for member in members if member in model.payload}
        isolation = bool(model.payload.get("EnableNetworkIsolation", False))
        shown = {"ModelName": model.name, "ModelArn": model.arn, "CreationTime": model.created}
        return shown | given | {"EnableNetworkIsolation": isolation}

    def delete_model(self, payload: Mapping[str, Any], now: float) -> None:  # noqa: ARG002
        """Forget a model; what is deployed from it stays."""
        model = self._find(self._models, "model", input_validation.name(payload, "ModelName"))
        del self._models[model.name]
        self._tags.pop(model.arn, None)

    def list_models(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """List models by page."""
        models, more = select(self._models.values(), payload, orders=("Name", "CreationTime"))
        return {"Models": [{"ModelName": m.name, "ModelArn": m.arn, "CreationTime": m.created} for m in models], **more}

    # --- endpoint configurations

    def create_endpoint_config(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Take a configuration of one serverless variant."""
        name = input_validation.name(payload, "EndpointConfigName")
        variant, model_name, capacity = read_variant(payload)
        tags = input_validation.tags(payload)
        arn = self._arn("endpoint-config", name)
        if name in self._configs:
            raise input_validation.invalid(f'Cannot create already existing endpoint configuration "{arn}".')
        model = self._find(self._models, "model", model_name)
        for member in ("VpcConfig", "EnableNetworkIsolation"):
            if model.payload.get(member):
                raise input_validation.invalid(f"{member} is not supported for serverless endpoints.")
        self._configs[name] = EndpointConfig(name, arn, dict(payload), variant, model, capacity, now, now)
        self._tags[arn] = tags
        return {"EndpointConfigArn": arn}

    def describe_endpoint_config(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Return what CreateEndpointConfig was given."""
        config = self._find(self._configs, "endpoint-config", input_validation.name(payload, "EndpointConfigName"))
        given = {
            member: config.payload[member] for member in ("ProductionVariants", "KmsKeyId") if member in config.payload
        }
        shown = {"EndpointConfigName": config.name, "EndpointConfigArn": config.arn, "CreationTime": config.created}
        return shown | given | {"EnableNetworkIsolation": False}

    def delete_endpoint_config(self, payload: Mapping[str, Any], now: float) -> None:  # noqa: ARG002
        """Forget a configuration; what is deployed from it stays."""
        config = self._find(self._configs, "endpoint-config", input_validation.name(payload, "EndpointConfigName"))
        del self._configs[config.name]
        self._tags.pop(config.arn, None)

    def list_endpoint_configs(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """List configurations by page."""
        configs, more = select(self._configs.values(), payload, orders=("Name", "CreationTime"))
        rows = [{"EndpointConfigName": c.name, "EndpointConfigArn": c.arn, "CreationTime": c.created} for c in configs]
        return {"EndpointConfigs": rows, **more}

    # --- endpoints

    def create_endpoint(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Begin a deployment, if the account's quotas allow it."""
        name = input_validation.name(payload, "EndpointName")
        config_name = input_validation.name(payload, "EndpointConfigName")
        tags = input_validation.tags(payload)
        arn = self._arn("endpoint", name)
        # Names are compared without regard to case when they are created.
        if any(name.lower() == standing.name.lower() for standing in self._standing(now)):
            raise input_validation.invalid(f'Cannot create already existing endpoint "{arn}".')
        config = self._find(self._configs, "endpoint-config", config_name)
        self._check_quotas(config.capacity, None, now)
        change = self._change(config, config.capacity, now, self._faults.take_deploying("CreateEndpoint", name))
        self._endpoints[name] = Endpoint(name, arn, change, now, self._staff)
        self._tags[arn] = tags
        self._ledger.books(name)
        return {"EndpointArn": arn}

    def describe_endpoint(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Return an endpoint's state as of now."""
        return self._endpoint(payload, now).describe()

    def update_endpoint(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Begin to deploy another configuration to an endpoint; the old one serves until then."""
        endpoint = self._endpoint(payload, now)
        config = self._find(self._configs, "endpoint-config", input_validation.name(payload, "EndpointConfigName"))
        self._begin_update("UpdateEndpoint", endpoint, config, config.capacity, now)
        return {"EndpointArn": endpoint.arn}

    def update_capacities(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Begin to change MaxConcurrency and ProvisionedConcurrency of an endpoint."""
        endpoint = self._endpoint(payload, now)
        capacity = read_update(payload, endpoint.config.variant, endpoint.capacity)
        self._begin_update("UpdateEndpointWeightsAndCapacities", endpoint, endpoint.config, capacity, now)
        return {"EndpointArn": endpoint.arn}

    def delete_endpoint(self, payload: Mapping[str, Any], now: float) -> None:
        """Begin to delete an endpoint that is not being changed."""
        endpoint = self._endpoint(payload, now)
        if endpoint.is_in_progress:
            raise input_validation.invalid(f'Cannot update in-progress endpoint "{endpoint.arn}".')
        fault = self._faults.take_deploying("DeleteEndpoint", endpoint.name)
        is_stuck = fault is not None and fault.kind is Kind.STATUS_STUCK
        endpoint.delete(now, float("inf") if is_stuck else now + self._settings.delete_time / self._settings.time_scale)

    def list_endpoints(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """List endpoints by page."""
        endpoints, more = select(self._standing(now), payload, orders=("Name", "CreationTime", "Status"))
        rows = [
            {
                "EndpointName": e.name,
                "EndpointArn": e.arn,
                "CreationTime": e.created,
                "LastModifiedTime": e.modified,
                "EndpointStatus": e.status,
            }
            for e in endpoints
        ]
        return {"Endpoints": rows, **more}

    # --- tags

    def add_tags(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Add tags, or change their values."""
        held = self._tagged(payload, now)
        held.update(input_validation.tags(payload))
        return {"Tags": [{"Key": key, "Value": value} for key, value in held.items()]}

    def list_tags(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Return a resource's tags."""
        return {"Tags": [{"Key": key, "Value": value} for key, value in self._tagged(payload, now).items()]}

    def delete_tags(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Remove tags by their keys."""
        held = self._tagged(payload, now)
        keys = payload.get("TagKeys")
        if not isinstance(keys, list):
            raise input_validation.constraint(None, "tagKeys", "not be null")
        for key in keys:
            held.pop(str(key), None)
        return {}

    # --- inside

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:sagemaker:{self._settings.region}:{self._settings.account_id}:{kind}/{name.lower()}"

    def _find(self, things: Mapping[str, T], kind: str, name: str) -> T:
        if name not in things:
            words = {"endpoint-config": "endpoint configuration"}.get(kind, kind)
            raise input_validation.invalid(f'Could not find {words} "{self._arn(kind, name)}".')
        return things[name]

    def _standing(self, now: float) -> list[Endpoint]:
        for name, endpoint in list(self._endpoints.items()):
            if not endpoint.settle(now):
                del self._endpoints[name]
                self._tags.pop(endpoint.arn, None)
        return list(self._endpoints.values())

    def _endpoint(self, payload: Mapping[str, Any], now: float) -> Endpoint:
        name = input_validation.name(payload, "EndpointName")
        self._standing(now)
        return self._find(self._endpoints, "endpoint", name)

    def _tagged(self, payload: Mapping[str, Any], now: float) -> dict[str, str]:
        arn = input_validation.text(payload, "ResourceArn", longest=256)
        self._standing(now)
        if arn not in self._tags:
            known = [model.arn for model in self._models.values()]
            if arn not in known:
                raise input_validation.invalid(f'Could not find resource "{arn}".')
            self._tags[arn] = {}
        return self._tags[arn]

    def _begin_update(
        self, operation: str, endpoint: Endpoint, config: EndpointConfig, capacity: Capacity, now: float
    ) -> None:
        if endpoint.is_in_progress or endpoint.status == "Failed":
            word = "in-progress" if endpoint.is_in_progress else "failed"
            raise input_validation.invalid(f'Cannot update {word} endpoint "{endpoint.arn}".')
        self._check_quotas(capacity, endpoint, now)
        endpoint.update(self._change(config, capacity, now, self._faults.take_deploying(operation, endpoint.name)), now)

    def _change(self, config: EndpointConfig, capacity: Capacity, now: float, fault: Fault | None) -> Change:
        profile = config.model.profile
        ready = now + profile.deploy_time / self._settings.time_scale
        failure = profile.deploy_failure
        if fault is not None and fault.kind is Kind.FAIL_DEPLOY:
            failure = fault.message or "deployment failed"
        if fault is not None and fault.kind is Kind.STATUS_STUCK:
            ready = float("inf")
        return Change(config, capacity, ready, failure)

    def _staff(self, config: EndpointConfig, capacity: Capacity, now: float) -> Fleet:
        # Endpoint names are made up anew for each run, so the seed goes with what is deployed, and how often it was.
        what = f"{config.model.name}/{capacity.memory_mb}/{capacity.max_concurrency}/{capacity.provisioned}"
        self._staffed[what] += 1
        return Fleet(
            config.model.profile,
            memory_mb=capacity.memory_mb,
            max_concurrency=capacity.max_concurrency,
            provisioned=capacity.provisioned,
            rng=Random(f"{self._settings.seed}/{what}/{self._staffed[what]}"),  # noqa: S311  a simulation
            now=now,
            idle=self._settings.idle,
            time_scale=self._settings.time_scale,
            limit=self._settings.invocation_limit,
        )

    def _check_quotas(self, capacity: Capacity, updated: Endpoint | None, now: float) -> None:
        limits = self._settings.limits
        others = [endpoint for endpoint in self._standing(now) if endpoint is not updated]
        if capacity.memory_mb > limits.memory_mb:
            raise _exceeded(MEMORY_QUOTA, limits.memory_mb, 0, capacity.memory_mb, "MBs")
        unit = self._settings.quota_unit
        if updated is None and len(others) + 1 > limits.endpoints:
            raise _exceeded(ENDPOINTS_QUOTA, limits.endpoints, len(others), 1, unit)
        used = sum(endpoint.capacity.max_concurrency for endpoint in others)
        held = updated.capacity.max_concurrency if updated is not None else 0
        if used + capacity.max_concurrency > limits.total_concurrency:
            delta = capacity.max_concurrency - held
            raise _exceeded(CONCURRENCY_QUOTA, limits.total_concurrency, used + held, delta, unit)


def _exceeded(quota: str, limit: int, used: int, wanted: int, unit: str) -> AwsError:
    return AwsError(
        "ResourceLimitExceeded",
        f"The account-level service limit '{quota}' is {limit} {unit}, with current utilization of {used} {unit} and a "
        f"request delta of {wanted} {unit}. Please use AWS Service Quotas to request an increase for this quota. If "
        "AWS Service Quotas is not available, contact AWS support to request an increase for this quota.",
    )

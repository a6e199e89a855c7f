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
from loadgen.emulator.faults import Fault, FaultKind, Faults
from loadgen.emulator.protocol import input_validation
from loadgen.emulator.protocol.pagination import paginate
from loadgen.emulator.protocol.responses import ServiceError
from loadgen.emulator.services.resources import (
    Capacity,
    EmulatedEndpoint,
    EmulatedModel,
    EndpointConfig,
    PendingDeployment,
)
from loadgen.emulator.services.variant import read_capacity_update, read_variant
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
        self._models: dict[str, EmulatedModel] = {}
        self._configs: dict[str, EndpointConfig] = {}
        self._endpoints: dict[str, EmulatedEndpoint] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._fleet_counts: Counter[str] = Counter()
        self._profiles = settings.registered_models()
        for name, profile in self._profiles.items():
            payload = {"PrimaryContainer": {"Image": f"emulated/{profile.name}:1"}}
            self._models[name] = EmulatedModel(name, self._arn("model", name), payload, profile, now)
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

    def find_serving(self, name: str, now: float) -> EmulatedEndpoint | None:
        """Return the endpoint when it takes requests, settled as of now. The hot path: one look-up."""
        endpoint = self._endpoints.get(name)
        if endpoint is None or not (endpoint.advance_to(now) and endpoint.is_serving):
            return None
        return endpoint

    # --- models

    def create_model(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Register a model; the container's environment may name its profile."""
        name = input_validation.require_name(payload, "ModelName")
        if payload.get("ExecutionRoleArn") is not None:
            input_validation.require_str(payload, "ExecutionRoleArn", max_length=2048)
        container = input_validation.get_struct(payload, "PrimaryContainer")
        containers = input_validation.get_struct_list(payload, "Containers", max_items=15)
        if container is None and not containers:
            raise input_validation.validation_error("You must specify either PrimaryContainer or Containers.")
        tags = input_validation.get_tags(payload)
        environment = (
            input_validation.get_struct(containers[0] if container is None else container, "Environment") or {}
        )
        profile = environment.get(PROFILE_VARIABLE, self._settings.profile)
        if profile not in self._profiles:
            raise input_validation.validation_error(
                f"{PROFILE_VARIABLE} is {profile!r}; the emulator knows {', '.join(self._profiles)}"
            )
        arn = self._arn("model", name)
        if name in self._models:
            raise input_validation.validation_error(f'Cannot create already existing model "{arn}".')
        self._models[name] = EmulatedModel(name, arn, dict(payload), self._profiles[profile], now)
        self._tags[arn] = tags
        return {"ModelArn": arn}

    def describe_model(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Return what CreateModel was given."""
        model = self._find(self._models, "model", input_validation.require_name(payload, "ModelName"))
        members = ("PrimaryContainer", "Containers", "ExecutionRoleArn", "VpcConfig", "InferenceExecutionConfig")
        given = {member: model.payload[member] for member in members if member in model.payload}
        isolation = bool(model.payload.get("EnableNetworkIsolation", False))
        shown = {"ModelName": model.name, "ModelArn": model.arn, "CreationTime": model.created}
        return shown | given | {"EnableNetworkIsolation": isolation}

    def delete_model(self, payload: Mapping[str, Any], now: float) -> None:  # noqa: ARG002
        """Forget a model; what is deployed from it stays."""
        model = self._find(self._models, "model", input_validation.require_name(payload, "ModelName"))
        del self._models[model.name]
        self._tags.pop(model.arn, None)

    def list_models(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """List models by page."""
        models, more = paginate(self._models.values(), payload, sort_fields=("Name", "CreationTime"))
        return {"Models": [{"ModelName": m.name, "ModelArn": m.arn, "CreationTime": m.created} for m in models], **more}

    # --- endpoint configurations

    def create_endpoint_config(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Take a configuration of one serverless variant."""
        name = input_validation.require_name(payload, "EndpointConfigName")
        variant, model_name, capacity = read_variant(payload)
        tags = input_validation.get_tags(payload)
        arn = self._arn("endpoint-config", name)
        if name in self._configs:
            raise input_validation.validation_error(f'Cannot create already existing endpoint configuration "{arn}".')
        model = self._find(self._models, "model", model_name)
        for member in ("VpcConfig", "EnableNetworkIsolation"):
            if model.payload.get(member):
                raise input_validation.validation_error(f"{member} is not supported for serverless endpoints.")
        self._configs[name] = EndpointConfig(name, arn, dict(payload), variant, model, capacity, now, now)
        self._tags[arn] = tags
        return {"EndpointConfigArn": arn}

    def describe_endpoint_config(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Return what CreateEndpointConfig was given."""
        config = self._find(
            self._configs, "endpoint-config", input_validation.require_name(payload, "EndpointConfigName")
        )
        given = {
            member: config.payload[member] for member in ("ProductionVariants", "KmsKeyId") if member in config.payload
        }
        shown = {"EndpointConfigName": config.name, "EndpointConfigArn": config.arn, "CreationTime": config.created}
        return shown | given | {"EnableNetworkIsolation": False}

    def delete_endpoint_config(self, payload: Mapping[str, Any], now: float) -> None:  # noqa: ARG002
        """Forget a configuration; what is deployed from it stays."""
        config = self._find(
            self._configs, "endpoint-config", input_validation.require_name(payload, "EndpointConfigName")
        )
        del self._configs[config.name]
        self._tags.pop(config.arn, None)

    def list_endpoint_configs(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """List configurations by page."""
        configs, more = paginate(self._configs.values(), payload, sort_fields=("Name", "CreationTime"))
        rows = [{"EndpointConfigName": c.name, "EndpointConfigArn": c.arn, "CreationTime": c.created} for c in configs]
        return {"EndpointConfigs": rows, **more}

    # --- endpoints

    def create_endpoint(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Begin a deployment, if the account's quotas allow it."""
        name = input_validation.require_name(payload, "EndpointName")
        config_name = input_validation.require_name(payload, "EndpointConfigName")
        tags = input_validation.get_tags(payload)
        arn = self._arn("endpoint", name)
        # Names are compared without regard to case when they are created.
        if any(name.lower() == standing.name.lower() for standing in self._existing_endpoints(now)):
            raise input_validation.validation_error(f'Cannot create already existing endpoint "{arn}".')
        config = self._find(self._configs, "endpoint-config", config_name)
        self._check_quotas(config.capacity, None, now)
        change = self._pending_deployment(
            config, config.capacity, now, self._faults.consume_for_deployment("CreateEndpoint", name)
        )
        self._endpoints[name] = EmulatedEndpoint(name, arn, change, now, self._create_fleet)
        self._tags[arn] = tags
        self._ledger.counters_for(name)
        return {"EndpointArn": arn}

    def describe_endpoint(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Return an endpoint's state as of now."""
        return self._find_endpoint(payload, now).describe()

    def update_endpoint(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Begin to deploy another configuration to an endpoint; the old one serves until then."""
        endpoint = self._find_endpoint(payload, now)
        config = self._find(
            self._configs, "endpoint-config", input_validation.require_name(payload, "EndpointConfigName")
        )
        self._begin_update("UpdateEndpoint", endpoint, config, config.capacity, now)
        return {"EndpointArn": endpoint.arn}

    def update_capacities(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Begin to change MaxConcurrency and ProvisionedConcurrency of an endpoint."""
        endpoint = self._find_endpoint(payload, now)
        capacity = read_capacity_update(payload, endpoint.config.variant, endpoint.capacity)
        self._begin_update("UpdateEndpointWeightsAndCapacities", endpoint, endpoint.config, capacity, now)
        return {"EndpointArn": endpoint.arn}

    def delete_endpoint(self, payload: Mapping[str, Any], now: float) -> None:
        """Begin to delete an endpoint that is not being changed."""
        endpoint = self._find_endpoint(payload, now)
        if endpoint.is_in_progress:
            raise input_validation.validation_error(f'Cannot update in-progress endpoint "{endpoint.arn}".')
        fault = self._faults.consume_for_deployment("DeleteEndpoint", endpoint.name)
        is_stuck = fault is not None and fault.kind is FaultKind.STATUS_STUCK
        endpoint.delete(now, float("inf") if is_stuck else now + self._settings.delete_time / self._settings.time_scale)

    def list_endpoints(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """List endpoints by page."""
        endpoints, more = paginate(
            self._existing_endpoints(now), payload, sort_fields=("Name", "CreationTime", "Status")
        )
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
        held = self._tags_of(payload, now)
        held.update(input_validation.get_tags(payload))
        return {"Tags": [{"Key": key, "Value": value} for key, value in held.items()]}

    def list_tags(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Return a resource's tags."""
        return {"Tags": [{"Key": key, "Value": value} for key, value in self._tags_of(payload, now).items()]}

    def delete_tags(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Remove tags by their keys."""
        held = self._tags_of(payload, now)
        keys = payload.get("TagKeys")
        if not isinstance(keys, list):
            raise input_validation.constraint_error(None, "tagKeys", "not be null")
        for key in keys:
            held.pop(str(key), None)
        return {}

    # --- inside

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:sagemaker:{self._settings.region}:{self._settings.account_id}:{kind}/{name.lower()}"

    def _find(self, resources: Mapping[str, T], kind: str, name: str) -> T:
        if name not in resources:
            words = {"endpoint-config": "endpoint configuration"}.get(kind, kind)
            raise input_validation.validation_error(f'Could not find {words} "{self._arn(kind, name)}".')
        return resources[name]

    def _existing_endpoints(self, now: float) -> list[EmulatedEndpoint]:
        for name, endpoint in list(self._endpoints.items()):
            if not endpoint.advance_to(now):
                del self._endpoints[name]
                self._tags.pop(endpoint.arn, None)
        return list(self._endpoints.values())

    def _find_endpoint(self, payload: Mapping[str, Any], now: float) -> EmulatedEndpoint:
        name = input_validation.require_name(payload, "EndpointName")
        self._existing_endpoints(now)
        return self._find(self._endpoints, "endpoint", name)

    def _tags_of(self, payload: Mapping[str, Any], now: float) -> dict[str, str]:
        arn = input_validation.require_str(payload, "ResourceArn", max_length=256)
        self._existing_endpoints(now)
        if arn not in self._tags:
            known = [model.arn for model in self._models.values()]
            if arn not in known:
                raise input_validation.validation_error(f'Could not find resource "{arn}".')
            self._tags[arn] = {}
        return self._tags[arn]

    def _begin_update(
        self, operation: str, endpoint: EmulatedEndpoint, config: EndpointConfig, capacity: Capacity, now: float
    ) -> None:
        if endpoint.is_in_progress or endpoint.status == "Failed":
            word = "in-progress" if endpoint.is_in_progress else "failed"
            raise input_validation.validation_error(f'Cannot update {word} endpoint "{endpoint.arn}".')
        self._check_quotas(capacity, endpoint, now)
        endpoint.update(
            self._pending_deployment(
                config, capacity, now, self._faults.consume_for_deployment(operation, endpoint.name)
            ),
            now,
        )

    def _pending_deployment(
        self, config: EndpointConfig, capacity: Capacity, now: float, fault: Fault | None
    ) -> PendingDeployment:
        profile = config.model.profile
        ready = now + profile.deploy_time / self._settings.time_scale
        failure = profile.deploy_failure
        if fault is not None and fault.kind is FaultKind.FAIL_DEPLOY:
            failure = fault.message or "deployment failed"
        if fault is not None and fault.kind is FaultKind.STATUS_STUCK:
            ready = float("inf")
        return PendingDeployment(config, capacity, ready, failure)

    def _create_fleet(self, config: EndpointConfig, capacity: Capacity, now: float) -> Fleet:
        # Endpoint names are made up anew for each run, so the seed goes with what is deployed, and how often it was.
        what = f"{config.model.name}/{capacity.memory_mb}/{capacity.max_concurrency}/{capacity.provisioned}"
        self._fleet_counts[what] += 1
        return Fleet(
            config.model.profile,
            memory_mb=capacity.memory_mb,
            max_concurrency=capacity.max_concurrency,
            provisioned=capacity.provisioned,
            rng=Random(f"{self._settings.seed}/{what}/{self._fleet_counts[what]}"),  # noqa: S311  a simulation
            now=now,
            idle_lifetime=self._settings.idle,
            time_scale=self._settings.time_scale,
            invocation_limit=self._settings.invocation_limit,
        )

    def _check_quotas(self, capacity: Capacity, updated: EmulatedEndpoint | None, now: float) -> None:
        limits = self._settings.account_quotas
        others = [endpoint for endpoint in self._existing_endpoints(now) if endpoint is not updated]
        if capacity.memory_mb > limits.memory_mb:
            raise _limit_exceeded(MEMORY_QUOTA, limits.memory_mb, 0, capacity.memory_mb, "MBs")
        unit = self._settings.quota_unit
        if updated is None and len(others) + 1 > limits.endpoints:
            raise _limit_exceeded(ENDPOINTS_QUOTA, limits.endpoints, len(others), 1, unit)
        used = sum(endpoint.capacity.max_concurrency for endpoint in others)
        held = updated.capacity.max_concurrency if updated is not None else 0
        if used + capacity.max_concurrency > limits.total_concurrency:
            delta = capacity.max_concurrency - held
            raise _limit_exceeded(CONCURRENCY_QUOTA, limits.total_concurrency, used + held, delta, unit)


def _limit_exceeded(quota: str, limit: int, used: int, requested: int, unit: str) -> ServiceError:
    return ServiceError(
        "ResourceLimitExceeded",
        f"The account-level service limit '{quota}' is {limit} {unit}, with current utilization of {used} {unit} and a "
        f"request delta of {requested} {unit}. Please use AWS Service Quotas to request an increase for this quota. If "
        "AWS Service Quotas is not available, contact AWS support to request an increase for this quota.",
    )

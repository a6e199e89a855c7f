"""The SageMaker control plane: models, endpoint configurations, endpoints and their tags.

Operations are synchronous functions of their validated input and the time (epoch seconds). Work that the service does
later (a deployment, a deletion) is an instant in the resource; see resources.py.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any, TypeVar

from loadgen.emulator.behaviour.fleet import Fleet
from loadgen.emulator.behaviour.ledger import Ledger
from loadgen.emulator.faults import Fault, FaultKind, Faults
from loadgen.emulator.protocol.errors import validation_error
from loadgen.emulator.protocol.input_validation import Operation, validated
from loadgen.emulator.protocol.pagination import paginate
from loadgen.emulator.services.resources import (
    Capacity,
    EmulatedEndpoint,
    EmulatedModel,
    EndpointConfig,
    PendingDeployment,
)
from loadgen.emulator.services.service_quotas import check_quotas
from loadgen.emulator.services.stored_inputs import StoredInputs
from loadgen.emulator.services.tags import ResourceTags, read_tags
from loadgen.emulator.services.variant import check_model, read_capacity_update, read_variant
from loadgen.emulator.settings import Settings

# Environment variable of a model's container that names its profile.
PROFILE_VARIABLE = "LOADGEN_PROFILE"
T = TypeVar("T")


class ControlPlane:
    """The account's models, configurations and endpoints.

    Args:
        settings: settings of the account.
        faults: faults that deployments and deletions are checked for.
        ledger: gets the counters of each endpoint that is created.
        now: epoch seconds; creation time of the registered models.
    """

    def __init__(self, settings: Settings, faults: Faults, ledger: Ledger, now: float) -> None:
        self._settings = settings
        self._ledger = ledger
        self._faults = faults
        self._models: dict[str, EmulatedModel] = {}
        self._configs: dict[str, EndpointConfig] = {}
        self._endpoints: dict[str, EmulatedEndpoint] = {}
        self._model_inputs, self._config_inputs = StoredInputs("models"), StoredInputs("endpoint configurations")
        self._tags = ResourceTags()
        self._fleet_counts: Counter[str] = Counter()
        self._profiles = settings.registered_models()
        for name, profile in self._profiles.items():
            payload = {"PrimaryContainer": {"Image": f"emulated/{profile.name}:1"}}
            arn = self._arn("model", name)
            self._models[name] = EmulatedModel(name, arn, payload, profile, now)
            self._tags.add_resource(arn, {})
        self.operations: Mapping[str, Operation] = validated(
            "sagemaker",
            {
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
            },
        )

    def find_serving(self, name: str, now: float) -> EmulatedEndpoint | None:
        """Return the endpoint when it takes requests, settled as of now. The hot path: one look-up."""
        endpoint = self._endpoints.get(name)
        if endpoint is None or not (endpoint.advance_to(now) and endpoint.is_serving):
            return None
        return endpoint

    # --- models

    def create_model(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Create a model; the environment of its first container may name its profile."""
        name = payload["ModelName"]
        containers = payload.get("Containers") or ()
        container = payload.get("PrimaryContainer", containers[0] if containers else None)
        if container is None:
            raise validation_error("You must specify either PrimaryContainer or Containers.")
        tags = read_tags(payload)
        profile = container.get("Environment", {}).get(PROFILE_VARIABLE, self._settings.profile)
        if profile not in self._profiles:
            raise validation_error(f"{PROFILE_VARIABLE} is {profile!r}; known profiles: {', '.join(self._profiles)}")
        arn = self._arn("model", name)
        if _is_taken(name, self._models):
            raise validation_error(f'Cannot create already existing model "{arn}".')
        self._model_inputs.add(name, payload)
        self._models[name] = EmulatedModel(name, arn, dict(payload), self._profiles[profile], now)
        self._tags.add_resource(arn, tags)
        return {"ModelArn": arn}

    def describe_model(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Return the input of CreateModel."""
        model = self._find_model(payload["ModelName"])
        members = ("PrimaryContainer", "Containers", "ExecutionRoleArn", "VpcConfig", "InferenceExecutionConfig")
        given = {member: model.payload[member] for member in members if member in model.payload}
        isolation = bool(model.payload.get("EnableNetworkIsolation", False))
        shown = {"ModelName": model.name, "ModelArn": model.arn, "CreationTime": model.created}
        return shown | given | {"EnableNetworkIsolation": isolation}

    def delete_model(self, payload: Mapping[str, Any], now: float) -> None:  # noqa: ARG002
        """Delete a model; endpoints that were deployed from it are unaffected."""
        model = self._find_model(payload["ModelName"])
        del self._models[model.name]
        self._model_inputs.remove(model.name)
        self._tags.remove_resource(model.arn)

    def list_models(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Return a page of models."""
        models, more = paginate(self._models.values(), payload)
        return {"Models": [{"ModelName": m.name, "ModelArn": m.arn, "CreationTime": m.created} for m in models], **more}

    # --- endpoint configurations

    def create_endpoint_config(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Create a configuration of one serverless variant."""
        name = payload["EndpointConfigName"]
        variant, model_name, capacity = read_variant(payload)
        tags = read_tags(payload)
        arn = self._arn("endpoint-config", name)
        if _is_taken(name, self._configs):
            raise validation_error(f'Cannot create already existing endpoint configuration "{arn}".')
        model = self._find_model(model_name)
        check_model(model.payload)
        self._config_inputs.add(name, payload)
        self._configs[name] = EndpointConfig(name, arn, dict(payload), variant, model, capacity, now, now)
        self._tags.add_resource(arn, tags)
        return {"EndpointConfigArn": arn}

    def describe_endpoint_config(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Return the input of CreateEndpointConfig."""
        config = self._find_config(payload["EndpointConfigName"])
        members = ("ProductionVariants", "KmsKeyId")
        given = {member: config.payload[member] for member in members if member in config.payload}
        shown = {"EndpointConfigName": config.name, "EndpointConfigArn": config.arn, "CreationTime": config.created}
        return shown | given | {"EnableNetworkIsolation": False}

    def delete_endpoint_config(self, payload: Mapping[str, Any], now: float) -> None:  # noqa: ARG002
        """Delete a configuration; endpoints that were deployed from it are unaffected."""
        config = self._find_config(payload["EndpointConfigName"])
        del self._configs[config.name]
        self._config_inputs.remove(config.name)
        self._tags.remove_resource(config.arn)

    def list_endpoint_configs(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Return a page of configurations."""
        configs, more = paginate(self._configs.values(), payload)
        rows = [{"EndpointConfigName": c.name, "EndpointConfigArn": c.arn, "CreationTime": c.created} for c in configs]
        return {"EndpointConfigs": rows, **more}

    # --- endpoints

    def create_endpoint(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Start a deployment, if the account's quotas allow it."""
        name = payload["EndpointName"]
        tags = read_tags(payload)
        arn = self._arn("endpoint", name)
        existing = self._existing_endpoints(now)
        if _is_taken(name, self._endpoints):
            raise validation_error(f'Cannot create already existing endpoint "{arn}".')
        config = self._find_config(payload["EndpointConfigName"])
        check_quotas(self._settings, [endpoint.capacity for endpoint in existing], config.capacity, None)
        fault = self._faults.consume_for_deployment("CreateEndpoint", name)
        pending = self._pending_deployment(config, config.capacity, now, fault)
        self._endpoints[name] = EmulatedEndpoint(name, arn, pending, now, self._create_fleet)
        self._tags.add_resource(arn, tags)
        self._ledger.counters_for(name)
        return {"EndpointArn": arn}

    def describe_endpoint(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Return an endpoint's state as of now."""
        return self._find_endpoint(payload["EndpointName"], now).describe()

    def update_endpoint(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Start to deploy another configuration to an endpoint, which serves the old one until then."""
        endpoint = self._find_endpoint(payload["EndpointName"], now)
        config = self._find_config(payload["EndpointConfigName"])
        self._begin_update("UpdateEndpoint", endpoint, config, config.capacity, now)
        return {"EndpointArn": endpoint.arn}

    def update_capacities(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Start to change MaxConcurrency and ProvisionedConcurrency of an endpoint."""
        endpoint = self._find_endpoint(payload["EndpointName"], now)
        capacity = read_capacity_update(payload, endpoint.config.variant, endpoint.capacity)
        self._begin_update("UpdateEndpointWeightsAndCapacities", endpoint, endpoint.config, capacity, now)
        return {"EndpointArn": endpoint.arn}

    def delete_endpoint(self, payload: Mapping[str, Any], now: float) -> None:
        """Start to delete an endpoint that is not being changed."""
        endpoint = self._find_endpoint(payload["EndpointName"], now)
        if endpoint.is_in_progress:
            raise validation_error(f'Cannot update in-progress endpoint "{endpoint.arn}".')
        fault = self._faults.consume_for_deployment("DeleteEndpoint", endpoint.name)
        is_stuck = fault is not None and fault.kind is FaultKind.STATUS_STUCK
        endpoint.delete(now, float("inf") if is_stuck else now + self._settings.delete_time / self._settings.time_scale)

    def list_endpoints(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Return a page of endpoints."""
        endpoints, more = paginate(self._existing_endpoints(now), payload)
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
        """Add tags to a resource, or change their values."""
        self._existing_endpoints(now)
        self._tags.add(payload["ResourceArn"], read_tags(payload))
        return {"Tags": self._tags.to_list(payload["ResourceArn"])}

    def list_tags(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Return the tags of a resource, in one page."""
        self._existing_endpoints(now)
        return {"Tags": self._tags.to_list(payload["ResourceArn"])}

    def delete_tags(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Remove tags of a resource by their keys."""
        self._existing_endpoints(now)
        self._tags.remove(payload["ResourceArn"], payload["TagKeys"])
        return {}

    # --- private

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:sagemaker:{self._settings.region}:{self._settings.account_id}:{kind}/{name.lower()}"

    def _find(self, resources: Mapping[str, T], kind: str, name: str) -> T:
        if name not in resources:
            noun = {"endpoint-config": "endpoint configuration"}.get(kind, kind)
            raise validation_error(f'Could not find {noun} "{self._arn(kind, name)}".')
        return resources[name]

    def _find_model(self, name: str) -> EmulatedModel:
        return self._find(self._models, "model", name)

    def _find_config(self, name: str) -> EndpointConfig:
        return self._find(self._configs, "endpoint-config", name)

    def _find_endpoint(self, name: str, now: float) -> EmulatedEndpoint:
        self._existing_endpoints(now)
        return self._find(self._endpoints, "endpoint", name)

    def _existing_endpoints(self, now: float) -> list[EmulatedEndpoint]:
        for name, endpoint in list(self._endpoints.items()):
            if not endpoint.advance_to(now):
                del self._endpoints[name]
                self._tags.remove_resource(endpoint.arn)
        return list(self._endpoints.values())

    def _begin_update(
        self, operation: str, endpoint: EmulatedEndpoint, config: EndpointConfig, capacity: Capacity, now: float
    ) -> None:
        if endpoint.is_in_progress or endpoint.status == "Failed":
            state = "in-progress" if endpoint.is_in_progress else "failed"
            raise validation_error(f'Cannot update {state} endpoint "{endpoint.arn}".')
        others = [other.capacity for other in self._existing_endpoints(now) if other is not endpoint]
        check_quotas(self._settings, others, capacity, endpoint.capacity)
        fault = self._faults.consume_for_deployment(operation, endpoint.name)
        endpoint.update(self._pending_deployment(config, capacity, now, fault), now)

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
        # Endpoint names differ between runs, so a fleet is seeded by what is deployed and how often it was.
        deployed = f"{config.model.name}/{capacity.memory_mb}/{capacity.max_concurrency}/{capacity.provisioned}"
        self._fleet_counts[deployed] += 1
        return Fleet(
            config.model.profile,
            memory_mb=capacity.memory_mb,
            max_concurrency=capacity.max_concurrency,
            provisioned=capacity.provisioned,
            rng=Random(f"{self._settings.seed}/{deployed}/{self._fleet_counts[deployed]}"),  # noqa: S311  a simulation
            now=now,
            idle_lifetime=self._settings.idle,
            time_scale=self._settings.time_scale,
            invocation_limit=self._settings.invocation_limit,
        )


def _is_taken(name: str, resources: Iterable[str]) -> bool:
    # ARNs are in lower case: of two names that differ only in case, the second would take over the tags of the first.
    return name.lower() in (other.lower() for other in resources)

"""Reading a serverless variant from the control plane's input; what serverless does not support is rejected. Pure."""

from collections.abc import Mapping
from typing import Any

from loadgen.emulator.protocol.errors import missing_member, validation_error
from loadgen.emulator.services.resources import Capacity
from loadgen.workload.serverless_config import MEMORY_SIZES_MB


def read_variant(payload: Mapping[str, Any]) -> tuple[str, str, Capacity]:
    """Return the variant's name, its model's name and its capacity.

    Args:
        payload: validated input of CreateEndpointConfig.

    Raises:
        ServiceError: more than one variant, not serverless, or a memory size that does not exist.
    """
    variants = payload["ProductionVariants"]
    variant = variants[0]
    # Optional in the service model, which has variants of inference components as well.
    if "ModelName" not in variant:
        raise missing_member("ProductionVariants", 1, "ModelName")
    serverless = variant.get("ServerlessConfig")
    if serverless is None:
        raise validation_error("This emulator deploys serverless variants only: give a ServerlessConfig.")
    if len(variants) > 1 or payload.get("ShadowProductionVariants"):
        raise validation_error("Only one production variant is supported for serverless endpoints.")
    if "InstanceType" in variant or "InitialInstanceCount" in variant:
        raise validation_error("InstanceType and InitialInstanceCount cannot be given together with ServerlessConfig.")
    for member in ("DataCaptureConfig", "VpcConfig", "AsyncInferenceConfig", "EnableNetworkIsolation"):
        if payload.get(member):
            raise validation_error(f"{member} is not supported for serverless endpoints.")
    return variant["VariantName"], variant["ModelName"], _read_capacity(serverless)


def check_model(model: Mapping[str, Any]) -> None:
    """Check that a model can be deployed as a serverless variant.

    Args:
        model: validated input of CreateModel.

    Raises:
        ServiceError: it has a VPC, network isolation, several containers or a multi-model container. The exclusions are
            those of the developer guide, "Serverless Inference"; AWS's texts for them are not published.
    """
    excluded = [member for member in ("VpcConfig", "EnableNetworkIsolation") if model.get(member)]
    containers = model.get("Containers", [])
    if len(containers) > 1:
        excluded.append("An inference pipeline of several Containers")
    if any(container.get("Mode") == "MultiModel" for container in (model.get("PrimaryContainer", {}), *containers)):
        excluded.append("Container Mode MultiModel")
    if excluded:
        raise validation_error(f"{excluded[0]} is not supported for serverless endpoints.")


def _read_capacity(serverless: Mapping[str, Any]) -> Capacity:
    memory = serverless["MemorySizeInMB"]
    if memory not in MEMORY_SIZES_MB:
        sizes = ", ".join(str(size) for size in MEMORY_SIZES_MB)
        raise validation_error(f"MemorySizeInMB {memory} is not supported. Allowed values: {sizes}.")
    max_concurrency = serverless["MaxConcurrency"]
    return Capacity(memory, max_concurrency, _read_provisioned(serverless, max_concurrency, default=0))


def _read_provisioned(serverless: Mapping[str, Any], max_concurrency: int, *, default: int) -> int:
    provisioned: int = serverless.get("ProvisionedConcurrency", default)
    if provisioned > max_concurrency:
        raise validation_error(
            f"ProvisionedConcurrency {provisioned} must be less than or equal to MaxConcurrency {max_concurrency}."
        )
    return provisioned


def read_capacity_update(payload: Mapping[str, Any], variant: str, current: Capacity) -> Capacity:
    """Return the capacity that an input of UpdateEndpointWeightsAndCapacities results in.

    Args:
        payload: validated input.
        variant: name of the endpoint's variant.
        current: capacity of the endpoint; members that the input leaves out keep its values.

    Raises:
        ServiceError: another variant, or ProvisionedConcurrency above MaxConcurrency.
    """
    capacity = current
    for row in payload["DesiredWeightsAndCapacities"]:
        if row["VariantName"] != variant:
            raise validation_error(
                f'The variant name(s) "{row["VariantName"]}" is/are not present within endpoint configuration.'
            )
        serverless = row.get("ServerlessUpdateConfig")
        if serverless is None:
            continue
        max_concurrency = serverless.get("MaxConcurrency", current.max_concurrency)
        default = min(current.provisioned, max_concurrency)
        provisioned = _read_provisioned(serverless, max_concurrency, default=default)
        capacity = Capacity(current.memory_mb, max_concurrency, provisioned)
    return capacity

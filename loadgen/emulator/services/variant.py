"""Reading a serverless variant out of the control plane's input, and refusing what serverless cannot do. Pure."""

from collections.abc import Mapping
from typing import Any

from loadgen.emulator.protocol import input_validation
from loadgen.emulator.services.resources import Capacity
from loadgen.workload.serverless_config import MAX_CONCURRENCY_LIMIT, MEMORY_SIZES_MB

_VARIANT_PATH = "productionVariants.1.member"


def read_variant(payload: Mapping[str, Any]) -> tuple[str, str, Capacity]:
    """Return the variant's name, its model's name and its capacity.

    Raises:
        ServiceError: not exactly one variant, not serverless, or figures out of bounds.
    """
    variants = input_validation.get_struct_list(payload, "ProductionVariants", max_items=10)
    if not variants:
        rule = "not be null" if payload.get("ProductionVariants") is None else "have length greater than or equal to 1"
        raise input_validation.constraint_error(payload.get("ProductionVariants"), "productionVariants", rule)
    variant = variants[0]
    name = input_validation.require_name(variant, "VariantName", member_path=f"{_VARIANT_PATH}.variantName")
    model = input_validation.require_name(variant, "ModelName", member_path=f"{_VARIANT_PATH}.modelName")
    serverless = input_validation.get_struct(
        variant, "ServerlessConfig", member_path=f"{_VARIANT_PATH}.serverlessConfig"
    )
    if serverless is None:
        raise input_validation.validation_error(
            "This emulator deploys serverless variants only: give a ServerlessConfig."
        )
    if len(variants) > 1 or payload.get("ShadowProductionVariants"):
        raise input_validation.validation_error("Only one production variant is supported for serverless endpoints.")
    if variant.get("InstanceType") is not None or variant.get("InitialInstanceCount") is not None:
        raise input_validation.validation_error(
            "InstanceType and InitialInstanceCount cannot be given together with ServerlessConfig."
        )
    for member in ("DataCaptureConfig", "VpcConfig", "AsyncInferenceConfig", "EnableNetworkIsolation"):
        if payload.get(member):
            raise input_validation.validation_error(f"{member} is not supported for serverless endpoints.")
    return name, model, _read_capacity(serverless)


def _read_capacity(serverless: Mapping[str, Any]) -> Capacity:
    place = f"{_VARIANT_PATH}.serverlessConfig"
    memory = input_validation.require_int(
        serverless,
        "MemorySizeInMB",
        member_path=f"{place}.memorySizeInMB",
        minimum=MEMORY_SIZES_MB[0],
        maximum=MEMORY_SIZES_MB[-1],
    )
    if memory not in MEMORY_SIZES_MB:
        sizes = ", ".join(str(size) for size in MEMORY_SIZES_MB)
        raise input_validation.validation_error(f"MemorySizeInMB {memory} is not supported. Allowed values: {sizes}.")
    most = input_validation.require_int(
        serverless, "MaxConcurrency", member_path=f"{place}.maxConcurrency", minimum=1, maximum=MAX_CONCURRENCY_LIMIT
    )
    return Capacity(memory, most, _read_provisioned(serverless, most, place))


def _read_provisioned(serverless: Mapping[str, Any], max_concurrency: int, member_path: str) -> int:
    if serverless.get("ProvisionedConcurrency") is None:
        return 0
    member_path = f"{member_path}.provisionedConcurrency"
    provisioned = input_validation.require_int(
        serverless, "ProvisionedConcurrency", member_path=member_path, minimum=1, maximum=MAX_CONCURRENCY_LIMIT
    )
    if provisioned > max_concurrency:
        raise input_validation.validation_error(
            f"ProvisionedConcurrency {provisioned} must be less than or equal to MaxConcurrency {max_concurrency}."
        )
    return provisioned


def read_capacity_update(payload: Mapping[str, Any], variant: str, current: Capacity) -> Capacity:
    """Return the capacity that UpdateEndpointWeightsAndCapacities asks for; what it leaves out stays.

    Raises:
        ServiceError: another variant, or figures out of bounds.
    """
    rows = input_validation.get_struct_list(payload, "DesiredWeightsAndCapacities", max_items=10)
    if not rows:
        raise input_validation.constraint_error(None, "desiredWeightsAndCapacities", "not be null")
    capacity = current
    for row in rows:
        if input_validation.require_name(row, "VariantName") != variant:
            raise input_validation.validation_error(
                f'The variant name(s) "{row["VariantName"]}" is/are not present within endpoint configuration.'
            )
        serverless = input_validation.get_struct(row, "ServerlessUpdateConfig")
        if serverless is None:
            continue
        place = "desiredWeightsAndCapacities.1.member.serverlessUpdateConfig"
        most = current.max_concurrency
        if serverless.get("MaxConcurrency") is not None:
            most = input_validation.require_int(
                serverless,
                "MaxConcurrency",
                member_path=f"{place}.maxConcurrency",
                minimum=1,
                maximum=MAX_CONCURRENCY_LIMIT,
            )
        is_given = serverless.get("ProvisionedConcurrency") is not None
        provisioned = _read_provisioned(serverless, most, place) if is_given else min(current.provisioned, most)
        capacity = Capacity(current.memory_mb, most, provisioned)
    return capacity

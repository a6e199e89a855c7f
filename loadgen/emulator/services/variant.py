"""Reading a serverless variant out of the control plane's input, and refusing what serverless cannot do. Pure."""

from collections.abc import Mapping
from typing import Any

from loadgen.emulator.protocol import input_validation
from loadgen.emulator.services.resources import Capacity
from loadgen.workload.serverless_config import MAX_CONCURRENCY_LIMIT, MEMORY_SIZES_MB

_PLACE = "productionVariants.1.member"


def read_variant(payload: Mapping[str, Any]) -> tuple[str, str, Capacity]:
    """Return the variant's name, its model's name and its capacity.

    Raises:
        AwsError: not exactly one variant, not serverless, or figures out of bounds.
    """
    variants = input_validation.structures(payload, "ProductionVariants", most=10)
    if not variants:
        rule = "not be null" if payload.get("ProductionVariants") is None else "have length greater than or equal to 1"
        raise input_validation.constraint(payload.get("ProductionVariants"), "productionVariants", rule)
    variant = variants[0]
    name = input_validation.name(variant, "VariantName", place=f"{_PLACE}.variantName")
    model = input_validation.name(variant, "ModelName", place=f"{_PLACE}.modelName")
    serverless = input_validation.structure(variant, "ServerlessConfig", place=f"{_PLACE}.serverlessConfig")
    if serverless is None:
        raise input_validation.invalid("This emulator deploys serverless variants only: give a ServerlessConfig.")
    if len(variants) > 1 or payload.get("ShadowProductionVariants"):
        raise input_validation.invalid("Only one production variant is supported for serverless endpoints.")
    if variant.get("InstanceType") is not None or variant.get("InitialInstanceCount") is not None:
        raise input_validation.invalid(
            "InstanceType and InitialInstanceCount cannot be given together with ServerlessConfig."
        )
    for member in ("DataCaptureConfig", "VpcConfig", "AsyncInferenceConfig", "EnableNetworkIsolation"):
        if payload.get(member):
            raise input_validation.invalid(f"{member} is not supported for serverless endpoints.")
    return name, model, _capacity(serverless)


def _capacity(serverless: Mapping[str, Any]) -> Capacity:
    place = f"{_PLACE}.serverlessConfig"
    memory = input_validation.whole(
        serverless,
        "MemorySizeInMB",
        place=f"{place}.memorySizeInMB",
        least=MEMORY_SIZES_MB[0],
        most=MEMORY_SIZES_MB[-1],
    )
    if memory not in MEMORY_SIZES_MB:
        sizes = ", ".join(str(size) for size in MEMORY_SIZES_MB)
        raise input_validation.invalid(f"MemorySizeInMB {memory} is not supported. Allowed values: {sizes}.")
    most = input_validation.whole(
        serverless, "MaxConcurrency", place=f"{place}.maxConcurrency", least=1, most=MAX_CONCURRENCY_LIMIT
    )
    return Capacity(memory, most, _provisioned(serverless, most, place))


def _provisioned(serverless: Mapping[str, Any], max_concurrency: int, place: str) -> int:
    if serverless.get("ProvisionedConcurrency") is None:
        return 0
    place = f"{place}.provisionedConcurrency"
    provisioned = input_validation.whole(
        serverless, "ProvisionedConcurrency", place=place, least=1, most=MAX_CONCURRENCY_LIMIT
    )
    if provisioned > max_concurrency:
        raise input_validation.invalid(
            f"ProvisionedConcurrency {provisioned} must be less than or equal to MaxConcurrency {max_concurrency}."
        )
    return provisioned


def read_update(payload: Mapping[str, Any], variant: str, held: Capacity) -> Capacity:
    """Return the capacity that UpdateEndpointWeightsAndCapacities asks for; what it leaves out stays.

    Raises:
        AwsError: another variant, or figures out of bounds.
    """
    rows = input_validation.structures(payload, "DesiredWeightsAndCapacities", most=10)
    if not rows:
        raise input_validation.constraint(None, "desiredWeightsAndCapacities", "not be null")
    capacity = held
    for row in rows:
        if input_validation.name(row, "VariantName") != variant:
            raise input_validation.invalid(
                f'The variant name(s) "{row["VariantName"]}" is/are not present within endpoint configuration.'
            )
        serverless = input_validation.structure(row, "ServerlessUpdateConfig")
        if serverless is None:
            continue
        place = "desiredWeightsAndCapacities.1.member.serverlessUpdateConfig"
        most = held.max_concurrency
        if serverless.get("MaxConcurrency") is not None:
            most = input_validation.whole(
                serverless, "MaxConcurrency", place=f"{place}.maxConcurrency", least=1, most=MAX_CONCURRENCY_LIMIT
            )
        is_given = serverless.get("ProvisionedConcurrency") is not None
        provisioned = _provisioned(serverless, most, place) if is_given else min(held.provisioned, most)
        capacity = Capacity(held.memory_mb, most, provisioned)
    return capacity

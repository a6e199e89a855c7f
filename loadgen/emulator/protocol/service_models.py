"""The service models that ship with botocore: which input an operation takes, and within which bounds.

They are loaded once per process, together, at the first call of an operation: botocore's import and the 2 MB of the
sagemaker model take 0.15 s, which would otherwise delay the start, or requests in flight if loaded later.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

_SERVICES = ("sagemaker", "sagemaker-runtime", "cloudwatch", "service-quotas", "sts")


@cache
def _service_models() -> Mapping[str, Any]:
    from botocore.loaders import Loader  # noqa: PLC0415  at the first call, not at the start
    from botocore.model import ServiceModel  # noqa: PLC0415

    # Only botocore's own files: a model in ~/.aws/models would change what the emulator accepts.
    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    return {name: ServiceModel(loader.load_service_model(name, "service-2"), name) for name in _SERVICES}


@cache
def input_shape(service: str, operation: str) -> Any:
    """Return the botocore shape of an operation's input, or None if it takes none.

    Args:
        service: botocore's name of the service, such as `sagemaker` or `cloudwatch`.
        operation: such as `CreateEndpoint`.

    Example:
        >>> input_shape("sagemaker", "DescribeEndpoint").required_members
        ['EndpointName']
    """
    return _service_models()[service].operation_model(operation).input_shape

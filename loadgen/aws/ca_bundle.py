"""The file of trusted certificates that the SDK will use, checked before the first call.

The SDK itself reports a missing file as a failed HTTP call, without its name.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadgen.errors import ConfigError


def check_ca_bundle(session: Any, environment: Mapping[str, str]) -> None:
    """Check that the CA bundle of a botocore session can be loaded.

    Args:
        session: a botocore session.
        environment: of the process.

    Raises:
        ConfigError: it is empty, missing, unreadable or holds no certificate; the message names what sets it.
    """
    path = session.get_config_variable("ca_bundle")
    if path is not None:
        is_variable = environment.get("AWS_CA_BUNDLE") == path
        profile = session.get_config_variable("profile") or "default"
        source = "AWS_CA_BUNDLE" if is_variable else f"ca_bundle of profile {profile} in ~/.aws/config"
    elif "REQUESTS_CA_BUNDLE" in environment:
        path, source = environment["REQUESTS_CA_BUNDLE"], "REQUESTS_CA_BUNDLE"
    else:
        return
    if problem := _problem(str(path)):
        raise ConfigError(
            f"{source} is {str(path)!r}: {problem}",
            hint=f"give a PEM file of trusted certificates, or remove {source.partition(' of ')[0]}",
        )


def _problem(path: str) -> str:
    if not path:
        return "with an empty value the SDK would not verify certificates"
    # PROTOCOL_TLS_CLIENT starts without certificates of the system.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if Path(path).is_dir():
        return "it is a directory; the SDK reads a file"
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        return "it holds no valid certificate"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""

"""Errors of AWS calls: as a LoadgenError (`to_loadgen_error`) and for retry decisions (`classify_error`).

Exceptions of botocore and aiobotocore are mapped here only. Pure: the caller passes the time. A failed measured request
is an Outcome instead (transport/botocore.py).
"""

import asyncio
import configparser
import json
import re
import socket
import subprocess
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, TypeGuard

import aiohttp
import botocore.exceptions as sdk
from botocore.model import UndefinedModelAttributeError
from botocore.parsers import ResponseParserError

from loadgen.aws.response_check import DeniedWithoutReasonError, RedirectError, UnrecognizedResponseError
from loadgen.errors import AuthError, ConfigError, LoadgenError, QuotaError, UnavailableError
from loadgen.measurement.outcome import AUTH_CODES, THROTTLE_CODES
from loadgen.redaction import redact

# Standard exceptions that the SDK lets pass: of credential files and programs, of a prompt without a terminal, of URLs.
STANDARD_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
    ImportError,
    BufferError,
    subprocess.SubprocessError,
    configparser.Error,
)
# Exceptions of any AWS client call.
SDK_ERRORS = (
    sdk.ClientError,
    sdk.BotoCoreError,
    sdk.HTTPClientError,
    aiohttp.ClientError,
    ResponseParserError,
    UndefinedModelAttributeError,
    *STANDARD_ERRORS,
)
_ACCESS_DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized"})
_EXPIRED_TOKEN_CODES = frozenset({"ExpiredToken", "ExpiredTokenException"})
_CLOCK_SKEW_CODES = frozenset(
    {"RequestExpired", "RequestTimeTooSkewed", "InvalidSignatureException", "SignatureDoesNotMatch"}
)
# What is left of the authorization errors: AWS does not accept the credentials themselves.
_INVALID_CREDENTIALS_CODES = AUTH_CODES - _ACCESS_DENIED_CODES - _EXPIRED_TOKEN_CODES - _CLOCK_SKEW_CODES
_QUOTA_CODES = frozenset({"ResourceLimitExceeded", "LimitExceededException", "ServiceQuotaExceededException"})
# Errors before the request was sent.
_NOT_SENT_ERRORS = (sdk.ConnectTimeoutError, sdk.SSLError, sdk.ProxyConnectionError)
_NETWORK_ERRORS = (
    sdk.HTTPClientError,
    sdk.ConnectionError,
    aiohttp.ClientError,
    asyncio.IncompleteReadError,
    ConnectionError,
    TimeoutError,
    socket.gaierror,
)
# A proxy or another server replied in place of AWS.
_RESPONSE_ERRORS = (UnrecognizedResponseError, RedirectError, ResponseParserError)
_CREDENTIAL_ERRORS = (
    sdk.NoCredentialsError,
    sdk.PartialCredentialsError,
    sdk.CredentialRetrievalError,
    sdk.TokenRetrievalError,
    sdk.SSOError,
    sdk.MetadataRetrievalError,
)
_CONFIG_ERRORS = (
    sdk.ProfileNotFound,
    sdk.ConfigParseError,
    sdk.ConfigNotFound,
    sdk.InvalidRegionError,
    sdk.InvalidConfigError,
    sdk.InfiniteLoopConfigError,
    sdk.InvalidRetryConfigurationError,
    sdk.InvalidRetryModeError,
    sdk.InvalidMaxRetryAttemptsError,
    sdk.UnknownRegionError,
    sdk.EndpointVariantError,
)
_DENIED_STATUSES = (401, 403)
# Seconds; AWS refuses a signature with a larger clock skew (IAM user guide, "Signature Version 4": five minutes).
_MAX_CLOCK_SKEW = 300.0
_REGION_HINT = (
    "set AWS_REGION, or write region = ... in ~/.aws/config for the profile, or give the target region=..., "
    "such as SageMaker(model, region='us-east-1')"
)
_NETWORK_HINT = "check the region's name, the network, the proxy and AWS_ENDPOINT_URL"
_SETTINGS_HINT = "check AWS_PROFILE, the AWS_* variables and ~/.aws/config; --debug shows where it failed"
_DENIED_HINT = "check the credentials of AWS_PROFILE and the AWS_* variables, the proxy and AWS_ENDPOINT_URL"
_LOGIN_HINT = "log in again (such as aws sso login) or refresh the credentials of AWS_PROFILE and the AWS_* variables"


class ErrorKind(Enum):
    """Meaning of a control-plane error for a retry."""

    THROTTLED = "throttled: retry after a delay"
    AMBIGUOUS = "the response is lost: the call may have had its effect"
    NOT_SENT = "the request was not sent: the call had no effect"
    NOT_FOUND = "the resource does not exist"
    ALREADY_EXISTS = "a resource of that name exists"
    CONFLICT = "the resource is changing: retry after a delay"
    PERMANENT = "a retry cannot succeed"


def is_local_error(error: BaseException) -> TypeGuard[OSError]:
    """Return whether an error is of this machine's files, not of the network."""
    return isinstance(error, OSError) and not isinstance(error, _NETWORK_ERRORS)


def error_code(error: BaseException) -> str:
    """Return the AWS error code, or the exception's class name if there is none."""
    if isinstance(error, sdk.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def error_message(error: BaseException) -> str:
    """Return the error's message on one line, without botocore's preamble."""
    if isinstance(error, sdk.ClientError):
        message = str(error.response.get("Error", {}).get("Message") or "")
        # The message for a refused signature contains the canonical request, including the session token.
        return f"{error_code(error)}: {redact(' '.join(message.split()))}" if message else error_code(error)
    return redact(" ".join(str(error).split()))


def classify_error(error: BaseException) -> ErrorKind:
    """Classify an error of a control-plane call. Total.

    The control plane distinguishes "not found", "exists" and "in progress" only by the text of a ValidationException.
    Source: messages of SageMaker and of moto.
    """
    if not isinstance(error, sdk.ClientError):
        if isinstance(error, _RESPONSE_ERRORS):
            return ErrorKind.AMBIGUOUS
        if not isinstance(error, _NETWORK_ERRORS):
            return ErrorKind.PERMANENT
        return ErrorKind.NOT_SENT if _is_not_sent(error) else ErrorKind.AMBIGUOUS
    code, text = error_code(error), error_message(error).lower()
    if code in THROTTLE_CODES or "rate exceeded" in text:
        return ErrorKind.THROTTLED
    if _http_status(error.response) >= 500:
        return ErrorKind.AMBIGUOUS
    if "could not find" in text or code == "ResourceNotFound":
        return ErrorKind.NOT_FOUND
    if "already exist" in text:
        return ErrorKind.ALREADY_EXISTS
    if "in-progress" in text or "in progress" in text or code == "ResourceInUse":
        return ErrorKind.CONFLICT
    return ErrorKind.PERMANENT


def _is_not_sent(error: Any) -> bool:
    """Return whether connecting failed: aiobotocore raises EndpointConnectionError for a reset during the call too."""
    if not isinstance(error, sdk.EndpointConnectionError):
        return isinstance(error, _NOT_SENT_ERRORS)
    cause = error.kwargs.get("error")
    return hasattr(cause, "os_error") or isinstance(
        cause, socket.gaierror
    )  # only aiohttp's connector errors have os_error


def to_loadgen_error(error: BaseException, operation: str, *, now: float) -> LoadgenError:
    """Convert an SDK exception to a LoadgenError with a hint.

    Args:
        error: raised by botocore.
        operation: such as `DescribeModel ranker`; the start of the message.
        now: seconds since the epoch, compared with the server's clock.
    """
    if isinstance(error, LoadgenError):
        return error
    if isinstance(error, sdk.ClientError):
        return _from_client_error(error, operation, now)
    text = error_message(error)
    if isinstance(error, sdk.NoRegionError):
        return ConfigError(f"{operation}: no AWS region is set", hint=_REGION_HINT)
    if isinstance(error, _CREDENTIAL_ERRORS):
        return AuthError(
            f"{operation}: no usable AWS credentials ({text})",
            hint="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in (such as aws sso login)",
        )
    if isinstance(error, _CONFIG_ERRORS):
        return ConfigError(f"{operation}: {text}", hint="see AWS_PROFILE, AWS_REGION and ~/.aws/config")
    if isinstance(error, DeniedWithoutReasonError):
        return AuthError(
            f"{operation}: access denied without a reason ({text})",
            hint=_DENIED_HINT,
        )
    if isinstance(error, _RESPONSE_ERRORS):
        # botocore's message ends with the body, which can be a whole page.
        reason = text.partition(" Further retries may succeed")[0].rstrip(".,")
        return UnavailableError(
            f"{operation}: the response is not from AWS ({reason})",
            hint="check the proxy, the network's sign-in page and AWS_ENDPOINT_URL",
        )
    if isinstance(error, _NETWORK_ERRORS):
        return UnavailableError(f"{operation}: {text}", hint=_NETWORK_HINT)
    if isinstance(error, STANDARD_ERRORS):
        return _from_standard_error(error, operation, text)
    if isinstance(error, sdk.ParamValidationError):
        return ConfigError(f"{operation}: {text}", hint="check the names and settings of the target")
    return ConfigError(f"{operation}: {type(error).__name__}: {text}", hint=_SETTINGS_HINT)


def _from_standard_error(error: BaseException, operation: str, text: str) -> LoadgenError:
    """Convert a standard exception. Its text is shown only where it cannot contain a credential."""
    if isinstance(error, EOFError):
        return AuthError(
            f"{operation}: the SDK asks for input, such as an MFA code, and there is no terminal", hint=_LOGIN_HINT
        )
    if isinstance(error, json.JSONDecodeError):
        return AuthError(f"{operation}: a credential program or file did not give JSON", hint=_SETTINGS_HINT)
    if isinstance(error, ValueError) and text.startswith("Invalid endpoint: "):
        url = text.removeprefix("Invalid endpoint: ")
        problem = "is not a valid URL" if url.startswith(("http://", "https://")) else "has no http:// or https://"
        return ConfigError(
            f"{operation}: the endpoint URL {url} {problem}", hint="correct AWS_ENDPOINT_URL or endpoint_url"
        )
    if isinstance(error, (ConnectionError, TimeoutError, socket.gaierror)):
        return UnavailableError(f"{operation}: {type(error).__name__}: {text}", hint=_NETWORK_HINT)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return ConfigError(f"{operation}: {name}{error.strerror or type(error).__name__}", hint=_SETTINGS_HINT)
    return ConfigError(f"{operation}: the SDK failed with {type(error).__name__}", hint=_SETTINGS_HINT)


def _from_client_error(error: Any, operation: str, now: float) -> LoadgenError:
    code, text = error_code(error), error_message(error)
    if code in _ACCESS_DENIED_CODES:
        message, hint = _access_denied_message(text)
        return AuthError(f"{operation}: {message}", hint=hint)
    if code in _EXPIRED_TOKEN_CODES:
        return AuthError(f"{operation}: the AWS credentials have expired ({code})", hint=_LOGIN_HINT)
    skew = _clock_skew(error.response, now)
    if code in _CLOCK_SKEW_CODES:
        if abs(skew) > _MAX_CLOCK_SKEW:
            return AuthError(
                f"{operation}: this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} AWS's",
                hint="set the clock; AWS refuses signatures more than five minutes off",
                details=(text,),
            )
        return AuthError(f"{operation}: the signature was refused ({text})", hint=_LOGIN_HINT)
    if code in _INVALID_CREDENTIALS_CODES:
        return AuthError(f"{operation}: AWS does not accept these credentials ({text})", hint=_LOGIN_HINT)
    if code in _QUOTA_CODES:
        return QuotaError(
            f"{operation}: {text}", hint="request an increase in Service Quotas, or delete endpoints that use it"
        )
    if code in THROTTLE_CODES:
        return QuotaError(f"{operation}: AWS throttled the call and its retries ({text})", hint="try again later")
    if _http_status(error.response) >= 500:
        return UnavailableError(f"{operation}: the service failed ({text})", hint="try again later")
    if _http_status(error.response) in _DENIED_STATUSES:  # such as a proxy's own code, or none
        return AuthError(f"{operation}: access denied ({text})", hint=_DENIED_HINT)
    if _http_status(error.response) == 407:
        return UnavailableError(f"{operation}: the proxy wants credentials ({text})", hint=_NETWORK_HINT)
    return ConfigError(f"{operation}: {text}")


# Source: IAM's messages, "Troubleshoot access denied error messages", IAM user guide. The reason names the type of the
# policy, and since 2025 the policy's ARN: "with an explicit deny in a service control policy: arn:..." or
# "because no permissions boundary allows the sagemaker:CreateModel action".
_ACCESS_DENIED_PATTERN = re.compile(
    r"User: (?P<who>\S+) is not authorized to perform: (?P<action>\S+)(?: on resource: (?P<what>\S+))?(?P<reason>.*)"
)
# Types of policy -> who can change them. A permission of the caller's own role does not help against these.
_POLICY_OWNERS = {
    "service control policy": "the administrators of your AWS organization",
    "resource control policy": "the administrators of your AWS organization",
    "permissions boundary": "the administrator who set the boundary of this role",
    "session policy": "the operator who starts the session",
    "resource-based policy": "the owner of the resource",
    "vpc endpoint policy": "the owner of the VPC endpoint",
}


def _access_denied_message(text: str) -> tuple[str, str]:
    """Return the message, which keeps IAM's reason, and a hint that fits the reason."""
    found = _ACCESS_DENIED_PATTERN.search(text)
    if found is None:
        return f"not allowed ({text})", "request the permission, or use another AWS_PROFILE"
    what = f" on {found['what']}" if found["what"] else ""
    reason = found["reason"].strip(" .")
    message = f"{found['who']} is not allowed {found['action']}{what}{' ' if reason else ''}{reason}"
    return message, _access_denied_hint(found["action"].rstrip(".,"), reason.lower())


def _access_denied_hint(action: str, reason: str) -> str:
    if "emulator's token" in reason:
        return "an emulator that was started anew has another token"
    is_explicit = "explicit deny" in reason
    policy = next((name for name in _POLICY_OWNERS if name in reason), "")
    if policy:
        change = "to remove the deny" if is_explicit else f"to allow {action}"
        # An organization's policy applies to every role of the account.
        other = "account" if "control policy" in policy else "role"
        return f"ask {_POLICY_OWNERS[policy]} {change} ({policy}), or use another {other}"
    if is_explicit:
        return f"a policy denies {action}: a further permission does not help; remove the deny, or use another role"
    return f"request the permission {action}, or use another AWS_PROFILE"


def _http_status(response: Mapping[str, Any]) -> int:
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _clock_skew(response: Mapping[str, Any], now: float) -> float:
    """Return the seconds by which this clock is ahead of the server's Date header; 0 without a Date."""
    date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return now - parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return 0.0

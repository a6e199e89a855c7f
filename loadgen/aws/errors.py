"""What an AWS error means: for the user (`explain`) and for whoever decides whether to try again (`judge`).

The one edge at which exceptions of botocore and aiobotocore become ours. Pure: tables and functions of values; the
caller brings the clock. What happens to a measured request is an Outcome instead (transport/botocore.py).
"""

import re
import socket
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import botocore.exceptions as sdk

from loadgen.errors import AuthError, ConfigError, InternalError, LoadgenError, QuotaError, UnavailableError
from loadgen.redaction import redact

# What every call of an AWS client can raise.
SDK_ERRORS = (sdk.ClientError, sdk.BotoCoreError, sdk.HTTPClientError)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized"})
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException"})
_SKEWED = frozenset({"RequestExpired", "RequestTimeTooSkewed", "InvalidSignatureException", "SignatureDoesNotMatch"})
_UNKNOWN_CALLER = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
    }
)
_QUOTA = frozenset({"ResourceLimitExceeded", "LimitExceededException", "ServiceQuotaExceededException"})
_THROTTLED = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
    }
)
# Nothing of the request can have reached the service.
_UNREACHED = (sdk.ConnectTimeoutError, sdk.SSLError, sdk.ProxyConnectionError)
_NETWORK = (sdk.HTTPClientError, sdk.ConnectionError)
_NO_CREDENTIALS = (
    sdk.NoCredentialsError,
    sdk.PartialCredentialsError,
    sdk.CredentialRetrievalError,
    sdk.TokenRetrievalError,
    sdk.SSOError,
    sdk.MetadataRetrievalError,
)
_BAD_SETTINGS = (
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
# AWS refuses a signature that is further off than this (IAM user guide, "Signature Version 4": five minutes).
_SKEW_LIMIT = 300.0
_REGION_HINT = (
    "set AWS_REGION, or write region = ... in ~/.aws/config for the profile, or give the target region=..., "
    "such as SageMaker(model, region='us-east-1')"
)
_LOGIN_HINT = "log in again (such as aws sso login) or refresh what AWS_PROFILE and the AWS_* variables point to"


class Trouble(Enum):
    """What a control-plane error means for the question whether to try again."""

    THROTTLED = "refused for now: wait, then again"
    LOST = "the answer is lost: the call may have had its effect"
    UNREACHED = "nothing arrived: the call had no effect"
    MISSING = "the thing named does not exist"
    EXISTS = "a thing of that name exists"
    BUSY = "the thing is changing: wait, then again"
    REFUSED = "no, and no again"


def code_of(error: BaseException) -> str:
    """Return the AWS error code, or the exception's class name where the service gave none."""
    if isinstance(error, sdk.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def text_of(error: BaseException) -> str:
    """Return the error's message on one line, without botocore's preamble."""
    if isinstance(error, sdk.ClientError):
        message = str(error.response.get("Error", {}).get("Message") or "")
        # A refused signature is answered with the whole canonical request, session token included.
        return f"{code_of(error)}: {redact(' '.join(message.split()))}" if message else code_of(error)
    return redact(" ".join(str(error).split()))


def judge(error: BaseException) -> Trouble:
    """Decide what an error of a control-plane call means. Total.

    The control plane tells "not found", "exists" and "in progress" apart by the text of a ValidationException only.
    Source: shared error texts seen with SageMaker, and moto's wording of the same.
    """
    if not isinstance(error, sdk.ClientError):
        if not isinstance(error, _NETWORK):
            return Trouble.REFUSED
        return Trouble.UNREACHED if _is_unreached(error) else Trouble.LOST
    code, text = code_of(error), text_of(error).lower()
    if code in _THROTTLED or "rate exceeded" in text:
        return Trouble.THROTTLED
    if _status(error.response) >= 500:
        return Trouble.LOST
    if "could not find" in text or code == "ResourceNotFound":
        return Trouble.MISSING
    if "already exist" in text:
        return Trouble.EXISTS
    if "in-progress" in text or "in progress" in text or code == "ResourceInUse":
        return Trouble.BUSY
    return Trouble.REFUSED


def _is_unreached(error: Any) -> bool:
    """Tell whether the connection failed: aiobotocore says EndpointConnectionError of a reset in mid-call too."""
    if not isinstance(error, sdk.EndpointConnectionError):
        return isinstance(error, _UNREACHED)
    cause = error.kwargs.get("error")
    return hasattr(cause, "os_error") or isinstance(cause, socket.gaierror)  # aiohttp: only connector errors have one


def explain(error: BaseException, doing: str, *, now: float) -> LoadgenError:
    """Turn an exception of the SDK into ours, with what was being done and what to do about it.

    Args:
        error: what botocore raised.
        doing: such as `DescribeModel ranker`; begins the message.
        now: seconds since the epoch, to compare with the server's clock.
    """
    if isinstance(error, LoadgenError):
        return error
    if isinstance(error, sdk.ClientError):
        return _explain_answer(error, doing, now)
    text = text_of(error)
    if isinstance(error, sdk.NoRegionError):
        return ConfigError(f"{doing}: no AWS region is set", hint=_REGION_HINT)
    if isinstance(error, _NO_CREDENTIALS):
        return AuthError(
            f"{doing}: no usable AWS credentials ({text})",
            hint="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in (such as aws sso login)",
        )
    if isinstance(error, _BAD_SETTINGS):
        return ConfigError(f"{doing}: {text}", hint="see AWS_PROFILE, AWS_REGION and ~/.aws/config")
    if isinstance(error, _NETWORK):
        return UnavailableError(
            f"{doing}: {text}", hint="check the region's name, the network, the proxy and AWS_ENDPOINT_URL"
        )
    if isinstance(error, sdk.ParamValidationError):
        return InternalError(f"{doing}: {text}")
    return ConfigError(f"{doing}: {type(error).__name__}: {text}")


def _explain_answer(error: Any, doing: str, now: float) -> LoadgenError:
    code, text = code_of(error), text_of(error)
    if code in _DENIED:
        return AuthError(f"{doing}: {_denied(text)}", hint="ask for the permission, or use another AWS_PROFILE")
    if code in _EXPIRED:
        return AuthError(f"{doing}: the AWS credentials have expired ({code})", hint=_LOGIN_HINT)
    skew = _skew(error.response, now)
    if code in _SKEWED:
        if abs(skew) > _SKEW_LIMIT:
            return AuthError(
                f"{doing}: this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} AWS's",
                hint="set the clock; AWS refuses signatures more than five minutes off",
                details=(text,),
            )
        return AuthError(f"{doing}: the signature was refused ({text})", hint=_LOGIN_HINT)
    if code in _UNKNOWN_CALLER:
        return AuthError(f"{doing}: AWS does not know these credentials ({text})", hint=_LOGIN_HINT)
    if code in _QUOTA:
        return QuotaError(f"{doing}: {text}", hint="ask for more in Service Quotas, or deploy less at once")
    if code in _THROTTLED:
        return QuotaError(f"{doing}: AWS throttled the call again and again ({text})", hint="try again later")
    if _status(error.response) >= 500:
        return UnavailableError(f"{doing}: the service failed ({text})", hint="try again later")
    return ConfigError(f"{doing}: {text}")


# Source: the wording of IAM's refusals, "Troubleshoot access denied error messages", IAM user guide.
_DENIAL = re.compile(
    r"User: (?P<who>\S+) is not authorized to perform: (?P<action>\S+)(?: on resource: (?P<what>\S+))?"
)


def _denied(text: str) -> str:
    found = _DENIAL.search(text)
    if found is None:
        return f"not allowed ({text})"
    what = f" on {found['what']}" if found["what"] else ""
    return f"{found['who']} is not allowed {found['action']}{what}"


def _status(response: Mapping[str, Any]) -> int:
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _skew(response: Mapping[str, Any], now: float) -> float:
    """Return how far this machine's clock is ahead of the server's Date header; 0 when there is none."""
    date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return now - parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return 0.0

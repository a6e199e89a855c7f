"""Outcomes: the closed list of what can happen to a request, their categories, and the classification of replies.

Rule: every scheduled request has exactly one outcome. An unknown error is OTHER, which is a failure; it is never OK.
"""

from enum import IntEnum, StrEnum
from types import MappingProxyType

from loadgen.workload.request import Reply


class OutcomeCategory(StrEnum):
    """The category in which tables count an outcome. Every outcome has exactly one."""

    OK = "ok"
    THROTTLED = "throttled"
    FAILED = "failed"
    UNFINISHED = "unfinished"  # no reply, caused by the generator: dropped, cancelled, lost with its worker


# The categories whose samples have a latency, in the order of the columns of `Run.window_counts`.
COMPLETED_CATEGORIES = (OutcomeCategory.OK, OutcomeCategory.THROTTLED, OutcomeCategory.FAILED)


class Outcome(IntEnum):
    """What happened to one request. The numbers are stored on disk: append new ones, never renumber."""

    OK = 0
    # the service replied
    THROTTLED = 1
    NOT_READY = 2
    MODEL_OOM = 3
    MODEL_ERROR = 4
    VALIDATION_ERROR = 5
    AUTH = 6
    SERVER_5XX = 7
    REDIRECT = 8
    OTHER = 9
    CHECK_FAILED = 10
    SCRIPT_ERROR = 11
    # the network
    DNS = 20
    CONNECT_REFUSED = 21
    CONNECT_TIMEOUT = 22
    TLS = 23
    PROXY = 24
    RESET = 25
    STALE_KEEPALIVE = 26
    TRUNCATED = 27
    PROTOCOL = 28
    OVERSIZE = 29
    TIMEOUT_WRITE = 30
    TIMEOUT_TTFB = 31
    TIMEOUT_BODY = 32
    TIMEOUT_TOTAL = 33
    # this machine
    FD_EXHAUSTED = 40
    PORTS_EXHAUSTED = 41
    DROPPED = 42
    CANCELLED_IN_FLIGHT = 43
    LOST_WITH_WORKER = 44

    @property
    def category(self) -> OutcomeCategory:
        """The category that counts this outcome."""
        return _CATEGORIES.get(self, OutcomeCategory.FAILED)

    @property
    def label(self) -> str:
        """The name in files and tables, such as `model_error`."""
        return self.name.lower()


_CATEGORIES = MappingProxyType(
    {
        Outcome.OK: OutcomeCategory.OK,
        Outcome.THROTTLED: OutcomeCategory.THROTTLED,
        Outcome.DROPPED: OutcomeCategory.UNFINISHED,
        Outcome.CANCELLED_IN_FLIGHT: OutcomeCategory.UNFINISHED,
        Outcome.LOST_WITH_WORKER: OutcomeCategory.UNFINISHED,
    }
)
# Error codes that every AWS service can return. Source: "Common Error Types", AWS API references (2026-11), and the
# throttling codes of botocore (botocore/retries/standard.py) that SageMaker, STS, S3 and CloudWatch return.
THROTTLE_CODES = frozenset(
    {
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
ACCESS_DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException", "NotAuthorized", "UnauthorizedOperation"})
EXPIRED_TOKEN_CODES = frozenset({"ExpiredToken", "ExpiredTokenException"})
SIGNATURE_CODES = frozenset(
    {"InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch"}
)
INVALID_CREDENTIALS_CODES = frozenset(
    {
        "IncompleteSignature",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "UnrecognizedClientException",
    }
)
AUTH_CODES = ACCESS_DENIED_CODES | EXPIRED_TOKEN_CODES | SIGNATURE_CODES | INVALID_CREDENTIALS_CODES

# Source of the other codes: botocore service model sagemaker-runtime 2017-05-13, errors of InvokeEndpoint.
_OUTCOME_BY_CODE = MappingProxyType(
    {
        **dict.fromkeys(THROTTLE_CODES, Outcome.THROTTLED),
        **dict.fromkeys(AUTH_CODES, Outcome.AUTH),
        "ModelNotReadyException": Outcome.NOT_READY,
        "ModelError": Outcome.MODEL_ERROR,
        "ValidationError": Outcome.VALIDATION_ERROR,
        "ValidationException": Outcome.VALIDATION_ERROR,
        "InternalFailure": Outcome.SERVER_5XX,
        "InternalServerError": Outcome.SERVER_5XX,
        "InternalDependencyException": Outcome.SERVER_5XX,
        "ServiceUnavailable": Outcome.SERVER_5XX,
        "ServiceUnavailableException": Outcome.SERVER_5XX,
    }
)
# A model container that runs out of memory is reported as a ModelError with one of these texts. The first is the one
# that AWS's sm-serverless-benchmarking searches for; the second occurs in amazon-sagemaker-examples#2815.
_OUT_OF_MEMORY = ("insufficient memory", "memory utilization is high", "out of memory")


def classify(reply: Reply) -> Outcome:
    """Return the outcome of a reply: by its error code, then by its status. Total: every reply has an outcome.

    Example:
        >>> classify(Reply(400, 0.0, 0.1, 0.1, code="ThrottlingException"))
        <Outcome.THROTTLED: 1>
        >>> classify(Reply(418, 0.0, 0.1, 0.1))
        <Outcome.OTHER: 9>
    """
    if 200 <= reply.status < 300 and not reply.code:
        return Outcome.OK
    outcome = _OUTCOME_BY_CODE.get(reply.code)
    if outcome is Outcome.MODEL_ERROR:
        message = reply.message.lower()
        return Outcome.MODEL_OOM if any(text in message for text in _OUT_OF_MEMORY) else outcome
    if outcome is not None:
        return outcome
    if 500 <= reply.status < 600:
        return Outcome.SERVER_5XX
    if 300 <= reply.status < 400:
        return Outcome.REDIRECT
    return Outcome.OTHER

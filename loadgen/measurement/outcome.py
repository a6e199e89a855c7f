"""Outcome: the closed list of what can happen to a request, and the two total functions that decide which it was.

Every scheduled request has exactly one outcome. What is not known is OTHER, a failure: never OK.
"""

from enum import IntEnum, StrEnum
from types import MappingProxyType

from loadgen.workload.request import Reply


class OutcomeCategory(StrEnum):
    """Where an outcome is counted in tables; every outcome is in exactly one."""

    OK = "ok"
    THROTTLED = "throttled"
    FAILED = "failed"
    UNFINISHED = "unfinished"  # no answer, by our own doing: dropped, cut short by a stop, lost with its worker


class Outcome(IntEnum):
    """What happened to one request. The numbers are stored in samples: add at the end, never renumber."""

    OK = 0
    # the service answered
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
        """The table column that counts this outcome."""
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
# AWS error codes of a refusal for the caller's rate. Source: botocore/retries/standard.py, ThrottledRetryableChecker,
# without the codes of other services (SlowDown, ...) and without LimitExceededException, which is a quota here.
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
# AWS error codes of a refusal for the caller's identity, permission, clock or signature.
AUTH_CODES = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnauthorizedOperation",
        "UnrecognizedClientException",
    }
)
# Source: botocore service model sagemaker-runtime 2017-05-13 and the errors every AWS service can answer.
_OUTCOME_BY_CODE = MappingProxyType(
    dict.fromkeys(THROTTLE_CODES, Outcome.THROTTLED)
    | dict.fromkeys(AUTH_CODES, Outcome.AUTH)
    | {
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
# A container that ran out of memory shows as a ModelError. The first is what AWS's own benchmarking toolkit looks for;
# the second is seen in amazon-sagemaker-examples#2815.
_OUT_OF_MEMORY = ("insufficient memory", "memory utilization is high", "out of memory")


def classify(reply: Reply) -> Outcome:
    """Decide the outcome of a reply: by its error code, then by its status. Total: knows an answer for every reply.

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
        text = reply.message.lower()
        return Outcome.MODEL_OOM if any(words in text for words in _OUT_OF_MEMORY) else outcome
    if outcome is not None:
        return outcome
    if 500 <= reply.status < 600:
        return Outcome.SERVER_5XX
    if 300 <= reply.status < 400:
        return Outcome.REDIRECT
    return Outcome.OTHER

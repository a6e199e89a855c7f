"""Outcomes: the list is closed, classification is total, and an unknown error is never OK."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import Outcome, OutcomeCategory, classify
from loadgen.workload.request import Reply

# (status, code, message) -> outcome. Source: the service's documentation and recorded replies.
REPLIES = [
    ((200, "", ""), Outcome.OK),
    ((201, "", ""), Outcome.OK),
    ((400, "ThrottlingException", ""), Outcome.THROTTLED),
    ((429, "ThrottlingException", ""), Outcome.THROTTLED),
    ((400, "RequestThrottled", ""), Outcome.THROTTLED),
    ((400, "RequestThrottledException", ""), Outcome.THROTTLED),
    ((429, "ModelNotReadyException", "still starting"), Outcome.NOT_READY),
    ((424, "ModelError", 'Received server error (500) from model with message "x"'), Outcome.MODEL_ERROR),
    ((424, "ModelError", "Please increase: insufficient memory"), Outcome.MODEL_OOM),
    ((424, "ModelError", "container memory utilization is HIGH"), Outcome.MODEL_OOM),
    ((400, "ValidationError", "oversize body"), Outcome.VALIDATION_ERROR),
    ((403, "AccessDeniedException", ""), Outcome.AUTH),
    ((403, "ExpiredTokenException", ""), Outcome.AUTH),
    ((403, "InvalidSignatureException", ""), Outcome.AUTH),
    ((400, "NotAuthorized", ""), Outcome.AUTH),
    ((403, "OptInRequired", ""), Outcome.AUTH),
    ((403, "RequestTimeTooSkewed", ""), Outcome.AUTH),
    ((403, "UnauthorizedOperation", ""), Outcome.AUTH),
    ((500, "InternalFailure", ""), Outcome.SERVER_5XX),
    ((503, "ServiceUnavailable", ""), Outcome.SERVER_5XX),
    ((502, "", "<html>bad gateway</html>"), Outcome.SERVER_5XX),
    ((530, "InternalDependencyException", ""), Outcome.SERVER_5XX),
    ((530, "", ""), Outcome.SERVER_5XX),
    ((301, "", ""), Outcome.REDIRECT),
    ((307, "", ""), Outcome.REDIRECT),
    ((403, "", ""), Outcome.OTHER),
    ((418, "", ""), Outcome.OTHER),
    ((400, "NeverHeardOf", ""), Outcome.OTHER),
    ((200, "NeverHeardOf", ""), Outcome.OTHER),
    ((0, "", ""), Outcome.OTHER),
    ((999, "", ""), Outcome.OTHER),
    ((101, "", ""), Outcome.OTHER),
]


@pytest.mark.parametrize(("reply", "outcome"), REPLIES)
def test_a_reply_has_the_outcome_of_its_code_and_status(reply, outcome):
    """The error code decides, then the status; an unknown error is OTHER."""
    status, code, message = reply
    assert classify(Reply(status, 0, 0, 0, code=code, message=message)) is outcome


@given(st.integers(-1000, 2000), st.text(), st.text())
def test_only_a_2xx_reply_without_an_error_code_is_ok(status, code, message):
    """Every reply has an outcome; OK requires a 2xx status and no error code."""
    outcome = classify(Reply(status, 0, 0, 0, code=code, message=message))
    assert isinstance(outcome, Outcome)
    assert (outcome is Outcome.OK) == (200 <= status < 300 and not code)


def test_outcome_numbers_never_change():
    """Samples on disk store these numbers, so they are fixed here."""
    assert {o.name: int(o) for o in Outcome} == {
        "OK": 0,
        "THROTTLED": 1,
        "NOT_READY": 2,
        "MODEL_OOM": 3,
        "MODEL_ERROR": 4,
        "VALIDATION_ERROR": 5,
        "AUTH": 6,
        "SERVER_5XX": 7,
        "REDIRECT": 8,
        "OTHER": 9,
        "CHECK_FAILED": 10,
        "SCRIPT_ERROR": 11,
        "DNS": 20,
        "CONNECT_REFUSED": 21,
        "CONNECT_TIMEOUT": 22,
        "TLS": 23,
        "PROXY": 24,
        "RESET": 25,
        "STALE_KEEPALIVE": 26,
        "TRUNCATED": 27,
        "PROTOCOL": 28,
        "OVERSIZE": 29,
        "TIMEOUT_WRITE": 30,
        "TIMEOUT_TTFB": 31,
        "TIMEOUT_BODY": 32,
        "TIMEOUT_TOTAL": 33,
        "FD_EXHAUSTED": 40,
        "PORTS_EXHAUSTED": 41,
        "DROPPED": 42,
        "CANCELLED_IN_FLIGHT": 43,
        "LOST_WITH_WORKER": 44,
    }


def test_every_outcome_has_one_category():
    """One outcome is ok, one throttled, three unfinished; all others are failed."""
    by_category = {category: {o for o in Outcome if o.category is category} for category in OutcomeCategory}
    assert by_category[OutcomeCategory.OK] == {Outcome.OK}
    assert by_category[OutcomeCategory.THROTTLED] == {Outcome.THROTTLED}
    assert by_category[OutcomeCategory.UNFINISHED] == {
        Outcome.DROPPED,
        Outcome.CANCELLED_IN_FLIGHT,
        Outcome.LOST_WITH_WORKER,
    }
    assert sum(map(len, by_category.values())) == len(Outcome)


def test_labels_are_unique():
    """The label in files identifies one outcome."""
    assert all(Outcome[o.label.upper()] is o for o in Outcome)


def test_a_transport_error_has_outcome_cause_and_instants():
    """The error has outcome, cause and instants, and its text contains outcome and cause."""
    error = TransportError(Outcome.RESET, "peer closed", sent=1.0, done=2.5, pool_wait=0.5)
    assert (error.outcome, error.detail, error.sent, error.done, error.pool_wait) == (
        Outcome.RESET,
        "peer closed",
        1,
        2.5,
        0.5,
    )
    assert str(error) == "reset: peer closed"

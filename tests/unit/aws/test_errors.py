"""AWS errors: the message and hint for the user, and the kind for a retry."""

from email.utils import formatdate

import botocore.exceptions as sdk
import pytest

from loadgen.aws.errors import SDK_ERRORS, ErrorKind, classify_error, to_loadgen_error
from loadgen.errors import AuthError, ConfigError, ExitStatus, LoadgenError, QuotaError, UnavailableError
from loadgen.measurement.outcome import AUTH_CODES, THROTTLE_CODES, Outcome, classify
from loadgen.workload.request import Reply
from tests.support.sdk_errors import crossing_errors

NOW = 1_800_000_000.0


def answer(code: str, message: str = "", status: int = 400, date: float = NOW) -> sdk.ClientError:
    meta = {"HTTPStatusCode": status, "HTTPHeaders": {"date": formatdate(date, usegmt=True)}}
    return sdk.ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": meta}, "Anything")


EXPLAINED = [
    (sdk.NoRegionError(), ConfigError, "no AWS region", "AWS_REGION"),
    (sdk.NoCredentialsError(), AuthError, "no usable AWS credentials", "AWS_PROFILE"),
    (sdk.PartialCredentialsError(provider="env", cred_var="x"), AuthError, "no usable", "AWS_PROFILE"),
    (sdk.TokenRetrievalError(provider="sso", error_msg="old"), AuthError, "no usable", "sso login"),
    (sdk.ProfileNotFound(profile="nope"), ConfigError, "nope", "AWS_PROFILE"),
    (sdk.EndpointConnectionError(endpoint_url="http://x"), UnavailableError, "http://x", "region"),
    (sdk.SSLError(endpoint_url="http://x", error="e"), UnavailableError, "SSL", "network"),
    (sdk.ReadTimeoutError(endpoint_url="http://x"), UnavailableError, "timeout", "network"),
    (sdk.ParamValidationError(report="r"), ConfigError, "r", "the target"),
    (answer("ExpiredTokenException", "old"), AuthError, "have expired", "log in again"),
    (answer("UnrecognizedClientException", "who"), AuthError, "does not accept", "log in again"),
    (answer("ResourceLimitExceeded", "The account-level service limit"), QuotaError, "service limit", "Service Quotas"),
    (answer("ThrottlingException", "Rate exceeded"), QuotaError, "and its retries", "later"),
    (answer("InternalFailure", "", 500), UnavailableError, "the service failed", "later"),
    (answer("ValidationException", "1 validation error"), ConfigError, "1 validation error", ""),
    (answer("AccessDenied", "Not today"), AuthError, "not allowed (AccessDenied: Not today)", "permission"),
]


@pytest.mark.parametrize(("error", "kind", "text", "hint"), EXPLAINED, ids=lambda value: type(value).__name__)
def test_each_sdk_error_has_a_message_and_a_hint(error, kind, text, hint):
    """Every error of the SDK becomes one of ours, beginning with what was being done (C42, C43, C44, C46, C54)."""
    explained = to_loadgen_error(error, "CreateEndpoint x", now=NOW)
    assert type(explained) is kind
    assert explained.message.startswith("CreateEndpoint x: ")
    assert text in explained.message
    assert hint in explained.hint


DENIAL = "User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: sagemaker:CreateEndpoint on resource: arn:aws:sagemaker:us-east-1:1:endpoint/e"


def test_a_refusal_names_action_and_resource():
    """IAM's sentence is cut to who, what and on what (C46)."""
    explained = to_loadgen_error(answer("AccessDeniedException", DENIAL), "CreateEndpoint e", now=NOW)
    assert explained.message == (
        "CreateEndpoint e: arn:aws:sts::1:assumed-role/r/s is not allowed sagemaker:CreateEndpoint"
        " on arn:aws:sagemaker:us-east-1:1:endpoint/e"
    )


REASONS = [
    ("with an explicit deny in a service control policy", "AWS organization to remove the deny", "request"),
    ("with an explicit deny in a service control policy: arn:aws:organizations::1:policy/p", "AWS organ", "request"),
    ("because no service control policy allows the sagemaker:CreateEndpoint action", "AWS organization", "request"),
    ("with an explicit deny in a resource control policy", "AWS organization", "request"),
    ("because no permissions boundary allows the sagemaker:CreateEndpoint action", "set the boundary", "request"),
    ("because no session policy allows the sagemaker:CreateEndpoint action", "starts the session", "request"),
    ("with an explicit deny in a VPC endpoint policy", "owner of the VPC endpoint", "request"),
    ("with an explicit deny in an identity-based policy", "does not help; remove the deny", "request"),
    ("with an explicit deny", "does not help; remove the deny", "request"),
    ("because no identity-based policy allows the sagemaker:CreateEndpoint action", "request the permission", "ask "),
]


@pytest.mark.parametrize(("reason", "hint", "not_hint"), REASONS)
def test_a_refusal_keeps_its_reason_and_the_hint_fits_it(reason, hint, not_hint):
    """The reason after the resource is kept whole, and a permission is suggested only where it can help (C46)."""
    for end in ("", "."):
        error = answer("AccessDeniedException", f"{DENIAL} {reason}{end}")
        explained = to_loadgen_error(error, "CreateEndpoint e", now=NOW)
        assert explained.message.endswith(f"endpoint/e {reason}")
        assert hint in explained.hint
        assert not_hint not in explained.hint


def test_a_refusal_without_a_resource_keeps_its_reason():
    """Messages without a resource name the action in the hint, and keep their reason."""
    text = "User: u is not authorized to perform: sts:AssumeRole because no session policy allows the sts:AssumeRole action"
    explained = to_loadgen_error(answer("AccessDenied", text), "AssumeRole", now=NOW)
    assert explained.message.endswith(
        "u is not allowed sts:AssumeRole because no session policy allows the sts:AssumeRole action"
    )
    assert "sts:AssumeRole" in explained.hint


@pytest.mark.parametrize(("ahead", "words"), [(601, "601 s ahead of"), (-601, "601 s behind")])
@pytest.mark.parametrize("code", ["InvalidSignatureException", "RequestExpired", "SignatureDoesNotMatch"])
def test_a_wrong_clock_is_told_by_the_servers_date(code, ahead, words):
    """Ten minutes off, the refusal of a signature names the difference and the direction (C60)."""
    explained = to_loadgen_error(answer(code, "Signature expired", date=NOW - ahead), "DescribeModel m", now=NOW)
    assert type(explained) is AuthError
    assert words in explained.message
    assert "set the clock" in explained.hint


def test_a_bad_signature_with_a_right_clock_is_about_keys():
    """With the clocks in step the same refusal is about the credentials."""
    explained = to_loadgen_error(answer("SignatureDoesNotMatch", "no match"), "DescribeModel m", now=NOW)
    assert "the signature was refused" in explained.message


@pytest.mark.parametrize("code", ["403", "WafBlocked", "InvalidAccessKeyId", ""])
@pytest.mark.parametrize("status", [401, 403])
def test_a_denial_without_a_code_of_aws_is_a_denial(code, status):
    """HTTP 401 and 403 mean missing permission whatever the code, such as a firewall's; a proxy's 407 does not."""
    explained = to_loadgen_error(answer(code, "Forbidden", status), "DescribeModel m", now=NOW)
    assert type(explained) is AuthError
    assert explained.message.startswith("DescribeModel m: access denied (")
    assert type(to_loadgen_error(answer(code, "", 407), "DescribeModel m", now=NOW)) is UnavailableError


def test_errors_of_ours_pass_through():
    """What is explained already stays as it is."""
    error = QuotaError("q")
    assert to_loadgen_error(error, "x", now=NOW) is error


JUDGED = [
    (answer("ThrottlingException"), ErrorKind.THROTTLED),
    (answer("ValidationException", "Rate exceeded"), ErrorKind.THROTTLED),
    (answer("InternalFailure", "", 500), ErrorKind.AMBIGUOUS),
    (answer("ServiceUnavailable", "", 503), ErrorKind.AMBIGUOUS),
    (sdk.ReadTimeoutError(endpoint_url="u"), ErrorKind.AMBIGUOUS),
    (sdk.ConnectionClosedError(endpoint_url="u"), ErrorKind.AMBIGUOUS),
    (sdk.EndpointConnectionError(endpoint_url="u", error=ConnectionResetError()), ErrorKind.AMBIGUOUS),
    (sdk.ConnectTimeoutError(endpoint_url="u"), ErrorKind.NOT_SENT),
    (sdk.SSLError(endpoint_url="u", error="e"), ErrorKind.NOT_SENT),
    (answer("ValidationException", 'Could not find endpoint "arn:x".'), ErrorKind.NOT_FOUND),
    (answer("ValidationException", "Could not find model 'arn:x'"), ErrorKind.NOT_FOUND),
    (answer("ValidationException", 'Cannot create already existing endpoint "arn:x".'), ErrorKind.ALREADY_EXISTS),
    (answer("ValidationException", 'Cannot update in-progress endpoint "arn:x".'), ErrorKind.CONFLICT),
    (answer("ValidationException", "1 validation error detected"), ErrorKind.PERMANENT),
    (answer("AccessDeniedException", "no", 403), ErrorKind.PERMANENT),
    (sdk.NoCredentialsError(), ErrorKind.PERMANENT),
]


@pytest.mark.parametrize(("error", "trouble"), JUDGED)
def test_each_error_is_judged(error, trouble):
    """Only what may have had its effect is LOST, only what cannot have had one is NOT_SENT (C54, C55, C56)."""
    assert classify_error(error) is trouble


@pytest.mark.parametrize("code", sorted(THROTTLE_CODES))
def test_each_throttle_code_is_a_throttle_in_both_planes(code):
    """A throttle code has one meaning: THROTTLED for a measured request, a retry for a control-plane call."""
    assert classify(Reply(400, 0.0, 0.1, 0.1, code=code)) is Outcome.THROTTLED
    assert classify_error(answer(code)) is ErrorKind.THROTTLED


@pytest.mark.parametrize("code", sorted(AUTH_CODES))
def test_each_auth_code_is_an_auth_error_in_both_planes(code):
    """An authorization code has one meaning: AUTH for a measured request, AuthError for a control-plane call."""
    assert classify(Reply(403, 0.0, 0.1, 0.1, code=code)) is Outcome.AUTH
    assert isinstance(to_loadgen_error(answer(code, status=403), "DescribeModel m", now=NOW), AuthError)


@pytest.mark.parametrize("error", crossing_errors(), ids=lambda error: type(error).__name__)
def test_nothing_that_the_sdk_raises_is_a_bug_of_loadgen(error):
    """Each exception of the SDK, and each standard one it lets pass, has a status other than 70, and one line."""
    assert isinstance(error, SDK_ERRORS)
    explained = to_loadgen_error(error, "DescribeEndpoint e", now=NOW)
    assert isinstance(explained, LoadgenError)
    assert explained.status is not ExitStatus.INTERNAL
    assert explained.message.startswith("DescribeEndpoint e: ")
    assert "\n" not in str(explained)
    assert "secret-canary" not in str(explained)
    assert explained.hint or isinstance(error, sdk.ClientError)
    assert isinstance(classify_error(error), ErrorKind)


@pytest.mark.parametrize(
    ("url", "problem"),
    [("127.0.0.1:8411", "has no http://"), ("localhost", "has no http://"), ("http://a b", "is not a valid URL")],
)
def test_an_endpoint_url_is_named_with_what_is_wrong(url, problem):
    """The SDK's ValueError for a URL names the URL, the mistake and the variable."""
    explained = to_loadgen_error(ValueError(f"Invalid endpoint: {url}"), "Reaching AWS", now=NOW)
    assert type(explained) is ConfigError
    assert f"{url} {problem}" in explained.message
    assert "AWS_ENDPOINT_URL" in explained.hint

"""The errors of a signature, in the codes and words of each service."""

from collections.abc import Sequence
from datetime import timedelta

from loadgen.emulator.protocol.errors import ServiceError

_QUERY_SERVICES = frozenset({"monitoring", "sts"})
_CONSULT = "Consult the service documentation for details."


class SignatureErrors:
    """Builds the errors of one service.

    S3's codes are those of its API reference, "List of error codes"; those of CloudWatch and STS are of "Common errors"
    of the query APIs; the JSON services have the names of their exceptions.

    Args:
        service: signing name, such as `s3`, `sagemaker`, `monitoring`.
    """

    def __init__(self, service: str) -> None:
        self.service = service

    def missing(self) -> ServiceError:
        """Build the error of a request without a signature."""
        if self.service == "s3":
            return ServiceError("AccessDenied", "Access Denied", 403)
        return self._error("MissingAuthenticationToken", "Missing Authentication Token", 403)

    def incomplete(self, message: str) -> ServiceError:
        """Build the error of a signature that lacks a part, or has one that cannot be read."""
        if self.service == "s3":
            text = f"The authorization header is malformed; {message}"
            return ServiceError("AuthorizationHeaderMalformed", text, 400)
        return self._error("IncompleteSignature", message, 400)

    def unknown_key(self, access_key: str) -> ServiceError:
        """Build the error of an access key that the account does not have."""
        if self.service == "s3":
            message = "The AWS Access Key Id you provided does not exist in our records."
            return ServiceError("InvalidAccessKeyId", message, 403, {"AWSAccessKeyId": access_key[:128]})
        code = "InvalidClientTokenId" if self.service in _QUERY_SERVICES else "UnrecognizedClientException"
        return ServiceError(code, "The security token included in the request is invalid.", 403)

    def mismatch(self, detail: str) -> ServiceError:
        """Build the error of another signature than the one that the account's key gives.

        Args:
            detail: what the server signed; sent by S3 only, as AWS does.
        """
        text = "The request signature we calculated does not match the signature you provided."
        if self.service == "s3":
            message = f"{text} Check your key and signing method."
            return ServiceError("SignatureDoesNotMatch", message, 403, {"CanonicalRequest": detail[:2000]})
        return self._mismatch(f"{text} Check your AWS Secret Access Key and signing method. {_CONSULT}")

    def mismatch_of_date(self, date: str, timestamp: str) -> ServiceError:
        """Build the error of a credential scope of another day than the request's time."""
        message = f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}' "
        message += f"!= '{timestamp[:8]}', from '{timestamp}'."
        return self.incomplete(message) if self.service == "s3" else self._mismatch(message)

    def wrong_region(self, given: str, expected: str) -> ServiceError:
        """Build the error of a credential scope of another region."""
        if self.service == "s3":
            error = self.incomplete(f"the region '{given}' is wrong; expecting '{expected}'")
            return ServiceError(error.code, error.message, error.status, {"Region": expected})
        return self._mismatch("Credential should be scoped to a valid region. ")

    def wrong_service(self, given: str, expected: str) -> ServiceError:
        """Build the error of a credential scope of another service."""
        if self.service == "s3":
            return self.incomplete(f"incorrect service '{given}'. This endpoint belongs to '{expected}'.")
        return self._mismatch(f"Credential should be scoped to correct service: '{expected}'. ")

    def skewed(self, signed: str, now: str, skew: timedelta, *, is_early: bool) -> ServiceError:
        """Build the error of a request that was signed too long ago, or in the future."""
        if self.service == "s3":
            message = "The difference between the request time and the current time is too large."
            return ServiceError("RequestTimeTooSkewed", message, 403, {"RequestTime": signed, "ServerTime": now})
        minutes = int(skew.total_seconds() // 60)
        if is_early:
            return self._mismatch(f"Signature expired: {signed} is now earlier than {now} - {minutes} min.")
        return self._mismatch(f"Signature not yet current: {signed} is still later than {now} + {minutes} min.")

    def request_expired(self) -> ServiceError:
        """Build the error of a presigned request after its time."""
        if self.service == "s3":
            return ServiceError("AccessDenied", "Request has expired", 403)
        return self._mismatch("Signature expired: the presigned request has expired.")

    def unsigned_headers(self, names: Sequence[str]) -> ServiceError:
        """Build S3's error of x-amz- headers that the signature does not cover."""
        message = "There were headers present in the request which were not signed"
        return ServiceError("AccessDenied", message, 403, {"HeadersNotSigned": ", ".join(names)[:500]})

    def missing_payload_hash(self) -> ServiceError:
        """Build S3's error of a request that does not say how its body is signed."""
        message = "Missing required header for this request: x-amz-content-sha256"
        return ServiceError("InvalidRequest", message, 400)

    def wrong_payload_hash(self, given: str, computed: str) -> ServiceError:
        """Build S3's error of a body with another hash."""
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        extra = {"ClientComputedContentSHA256": given[:128], "S3ComputedContentSHA256": computed}
        return ServiceError("XAmzContentSHA256Mismatch", message, 400, extra)

    def _mismatch(self, message: str) -> ServiceError:
        code = "SignatureDoesNotMatch" if self.service in _QUERY_SERVICES else "InvalidSignatureException"
        return ServiceError(code, message, 403)

    def _error(self, code: str, message: str, status: int) -> ServiceError:
        shown = message.encode("ascii", "replace").decode("ascii")  # headers may have bytes that are not UTF-8
        return ServiceError(code if self.service in _QUERY_SERVICES else f"{code}Exception", shown, status)

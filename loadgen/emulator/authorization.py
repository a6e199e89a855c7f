"""Authorization: whether a request has the token and the signature that this emulator asks for.

The rules are in `access.py` and `protocol/signatures.py`; here they are applied to requests. The token is checked
before the body is read: a client without it gets no memory. The signature is checked afterwards: it covers the body.
"""

from collections.abc import Callable, Container

from aiohttp import web

from loadgen.emulator.access import TOKEN_HEADER, AccessPolicy, denial
from loadgen.emulator.protocol.http_server import joined_headers
from loadgen.emulator.protocol.signatures import (
    SignedRequest,
    query_security_token,
    signing_name,
    verify_signature,
)
from loadgen.emulator.services.runtime import is_invocation
from loadgen.emulator.settings import Settings


class Authorization:
    """Checks the requests of one emulator.

    Args:
        settings: settings of the account, with its signing keys.
        access: which requests need the token.
        job_operations: names of the operations on Processing jobs.
        clock: epoch seconds.
    """

    def __init__(
        self, settings: Settings, access: AccessPolicy, job_operations: Container[str], clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._access = access
        self._job_operations = job_operations
        self._clock = clock
        self.verifies_signatures = bool(settings.signing_keys)

    def check_token(self, request: web.BaseRequest, service: str) -> None:
        """Check that a request has the token, if it needs it.

        Args:
            request: a request whose body need not have arrived.
            service: service in the scope of its signature, empty if there is none.

        Raises:
            ServiceError: it needs the token and does not have it.
        """
        if not self._access.token:
            return
        target, (path, _, query) = request.headers.get("X-Amz-Target"), request.raw_path.partition("?")
        operation = "" if target is None else target.partition(".")[2]
        # SDKs send it in the query string of a presigned URL.
        given = request.headers.get(TOKEN_HEADER) or query_security_token(query)
        if self._access.is_permitted(given, is_protected=service == "s3" or operation in self._job_operations):
            return
        code = "AccessDeniedException"
        if service == "s3":
            action, code = "s3:*", "AccessDenied"
        elif target is not None:
            action = f"sagemaker:{operation}"
        elif path == "/":
            action, code = f"{service or 'cloudwatch'}:*", "AccessDenied"
        else:
            action = "sagemaker:InvokeEndpoint" if is_invocation(request.method, path) else path
        raise denial(action, code=code, account_id=self._settings.account_id)

    def check_signature(self, request: web.BaseRequest, service: str, body: bytes, *, body_hash: str = "") -> None:
        """Check the signature of a request, if the account has signing keys and the request is one to AWS.

        Args:
            request: a request whose body has arrived.
            service: service in the scope of its signature, empty if there is none.
            body: the body.
            body_hash: SHA-256 of a body that was not kept, in hex; then `body` is empty.

        Raises:
            ServiceError: there is no valid signature.
        """
        if not self.verifies_signatures:
            return
        path, _, query = request.raw_path.partition("?")
        name = "s3" if service == "s3" else signing_name(request.headers.get("X-Amz-Target"), path, service)
        if not name:
            return
        verify_signature(
            SignedRequest(request.method, path, query, joined_headers(request), body, body_hash),
            keys=self._settings.signing_keys,
            region=self._settings.region,
            service=name,
            now=self._clock(),
        )

"""HTTP sessions of the control plane's clients: they follow no redirect, and a call ends within a time.

aiobotocore follows redirects with the request's signature, to any host, and its read timeout starts again with each
byte that arrives. The transport of measured requests has a session of its own (transport/botocore.py).
"""

from typing import Any, ClassVar

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession

CALL_TIMEOUT = 120.0  # seconds of one attempt, from its start to the last byte of the response


class _Requests:
    """An aiohttp session that follows no redirect."""

    __slots__ = ("_limits", "_session")

    def __init__(self, session: aiohttp.ClientSession, limits: dict[str, Any]) -> None:
        self._session = session
        self._limits = limits

    def request(self, method: str, **options: Any) -> Any:
        return self._session.request(method, allow_redirects=False, **self._limits, **options)


class NoRedirectSession(AIOHTTPSession):  # type: ignore[misc]
    """Follow no redirect: a signature is valid for one host. For the `s3` client, whose downloads may take long."""

    call_timeout: ClassVar[float | None] = None

    async def _get_session(self, proxy_url: str | None) -> _Requests:
        session = await super()._get_session(proxy_url)
        if self.call_timeout is None:
            return _Requests(session, {})
        limits = aiohttp.ClientTimeout(
            total=self.call_timeout,
            sock_connect=session.timeout.sock_connect,
            sock_read=session.timeout.sock_read,
        )
        return _Requests(session, {"timeout": limits})


class ControlPlaneSession(NoRedirectSession):
    """Follow no redirect, and end a call whose response does not end."""

    call_timeout = CALL_TIMEOUT

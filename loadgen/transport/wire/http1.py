"""ResponseParser: a strict parser of HTTP/1.1 responses. No sockets, no clock.

Rule: anything that is not certainly one complete response to one request is an error. If it is not certain where the
next response would begin, `is_reusable` is False and the connection is closed.

One regular expression checks the head against the grammar of RFC 9112, and makes the usual response (head and
Content-Length) cheap: it is parsed without a callback. httptools (llhttp in strict mode) parses chunked bodies. Where
this parser and httptools or h11 differ, this one is stricter; tests/support/http_responses.py lists each case.

See error_response.py for the content of errors, timeouts.py for timeouts.
"""

import re
from typing import NamedTuple

import httptools

# Status line, header lines, empty line. RFC 9112 sections 4 and 5: no line folding, no space before the colon, no bare
# CR or LF, no NUL or other control character but the tab. The possessive quantifiers keep it linear on any input.
_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [\t -~\x80-\xff]*+)?\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)*+)\r\n"
)
_HTTP_1_PREFIX = b"HTTP/1."
_DIGITS = re.compile(rb"\d{1,18}")  # 18 digits stay below 2**63
_FORBIDDEN_BYTES = re.compile(rb"[^\t\r\n -~\x80-\xff]|(?<!\r)\n|\r(?!\n|$)")
HEAD_LIMIT = 64 * 1024  # bytes; AWS's load balancers allow 64 K for all headers of a response
HEADERS_LIMIT = 256  # lines; http.client allows 100
INTERIM_LIMIT = 16  # 1xx responses before the final one
BODY_LIMIT = 32 * 1024 * 1024  # bytes; InvokeEndpoint returns at most 6 MiB
# Bytes of chunked framing accepted beyond 16 for each byte of body; one-byte chunks need at most 6.
_FRAMING_LIMIT = 64 * 1024


class ParsedResponse(NamedTuple):
    """One complete response.

    Args:
        status: HTTP status.
        head: status line and headers as received.
        head_lower: the same in lower case.
        body: without its framing.
        is_reusable: whether the next request may use the connection.
        has_trailing_bytes: whether bytes of no response followed.
        keep_alive_timeout: seconds of the Keep-Alive header; 0 without it.
    """

    status: int
    head: bytes
    head_lower: bytes
    body: bytes
    is_reusable: bool
    has_trailing_bytes: bool
    keep_alive_timeout: int = 0


class ProtocolError(Exception):
    """The response is not valid HTTP/1.1; the message quotes nothing of it."""


class OversizeError(Exception):
    """The response body is larger than the limit."""


class _BodyFraming(NamedTuple):
    """Framing of a body: `length` is -1 if chunked, -2 if it ends with the connection."""

    length: int
    is_reusable: bool
    keep_alive_timeout: int


_CHUNKED = -1
_UNTIL_EOF = -2


def header_value(head: bytes, head_lower: bytes, name: bytes) -> bytes | None:
    """Return the first value of a header, or None if it is absent.

    Args:
        head: as in ParsedResponse.
        head_lower: the same in lower case, computed once for all lookups.
        name: in lower case.
    """
    at = head_lower.find(b"\r\n%b:" % name)
    if at < 0:
        return None
    start = at + len(name) + 3
    return head[start : head.index(b"\r\n", start)].strip(b" \t")


def _header_values(head_lower: bytes, name: bytes) -> list[bytes]:
    return [
        line[len(name) + 1 :].strip(b" \t")
        for line in head_lower.split(b"\r\n")[1:]
        if line.startswith(name) and line[len(name) : len(name) + 1] == b":"
    ]


def _tokens(values: list[bytes]) -> list[bytes]:
    return [token.strip(b" \t") for value in values for token in value.split(b",")]


class ResponseParser:
    """Parse the responses of one connection, one after the other.

    Args:
        body_limit: maximum bytes of a body.

    Not usable after an error: the connection must be closed.
    """

    __slots__ = (
        "_body_framing",
        "_body_size",
        "_buffer",
        "_chunked",
        "_head",
        "_head_lower",
        "_interim_count",
        "_parts",
        "_remaining",
        "_status",
        "body_limit",
    )

    def __init__(self, *, body_limit: int = BODY_LIMIT) -> None:
        self.body_limit = body_limit
        self._buffer = b""
        self._interim_count = 0
        self._reset()

    def _reset(self) -> None:
        self._head = b""
        self._head_lower = b""
        self._status = 0
        self._body_framing = _BodyFraming(0, is_reusable=False, keep_alive_timeout=0)
        self._remaining = 0
        self._body_size = 0
        self._parts: list[bytes] = []
        self._chunked: _ChunkedBody | None = None

    def feed(self, data: bytes) -> ParsedResponse | None:
        """Parse the next bytes; return the response if they complete it.

        Args:
            data: at least one byte.

        Raises:
            ProtocolError: the bytes are not part of a valid response.
            OversizeError: the body, or its Content-Length, is above the limit.
        """
        if self._head:
            return self._feed_body(data)
        if not self._buffer:
            match = _HEAD.match(data)
            if match is not None:
                return self._on_head(data, match)
        return self._feed_head(data)

    def feed_eof(self) -> ParsedResponse | None:
        """Handle the end of stream; return the response if that completes it, None if it was truncated."""
        if self._head and self._body_framing.length == _UNTIL_EOF:
            return self._complete(b"".join(self._parts), has_trailing_bytes=False)
        return None

    # --- the head ----------------------------------------------------------------------------------------------------

    def _feed_head(self, data: bytes) -> ParsedResponse | None:
        """Extend an incomplete head; raise as soon as it cannot become valid."""
        seen = len(self._buffer)
        buffer = self._buffer + data
        if not (buffer.startswith(_HTTP_1_PREFIX) or _HTTP_1_PREFIX.startswith(buffer)):
            raise ProtocolError("the response does not begin with HTTP/1.")
        end = buffer.find(b"\r\n\r\n", max(0, seen - 3))
        if end < 0:
            if len(buffer) > HEAD_LIMIT:
                raise ProtocolError(f"the head is longer than {HEAD_LIMIT} bytes")
            if _FORBIDDEN_BYTES.search(buffer, max(0, seen - 1)):
                raise ProtocolError("a control character in the head")
            self._buffer = buffer
            return None
        self._buffer = b""
        match = _HEAD.match(buffer)
        if match is None:
            raise ProtocolError("a line of the head is malformed")
        return self._on_head(buffer, match)

    def _on_head(self, data: bytes, match: re.Match[bytes]) -> ParsedResponse | None:
        end = match.end()
        head = data[:end]
        status = int(match[2])
        if end > HEAD_LIMIT or (end > HEADERS_LIMIT and head.count(b"\r\n") > HEADERS_LIMIT + 2):
            raise ProtocolError(f"the head has more than {HEAD_LIMIT} bytes or {HEADERS_LIMIT} headers")
        if status < 200:
            return self._on_interim_response(status, data[end:])
        lowered = head.lower()
        # The usual response first: one Content-Length, and no header that changes its meaning.
        at = lowered.find(b"\r\ncontent-length:")
        if (
            at > 0
            and status not in {204, 304}
            and match[1] == b"1"
            and lowered.find(b"\r\ncontent-length:", at + 1) < 0
            and b"\r\ntransfer-encoding:" not in lowered
            and b"\r\nkeep-alive:" not in lowered
        ):
            length = self._parse_length(lowered[at + 17 : lowered.index(b"\r\n", at + 17)].strip(b" \t"))
            at = lowered.find(b"\r\nconnection:")
            is_reusable = (
                at < 0
                # nginx sends this header each time; a second Connection header is still looked for.
                or (
                    lowered.startswith(b"\r\nconnection: keep-alive\r\n", at)
                    and lowered.find(b"\r\nconnection:", at + 1) < 0
                )
                or b"close" not in _tokens(_header_values(lowered, b"connection"))
            )
            size = len(data) - end
            if size == length:
                self._interim_count = 0
                return ParsedResponse(status, head, lowered, data[end:], is_reusable, False)  # noqa: FBT003 - faster by place
            self._body_framing = _BodyFraming(length, is_reusable, 0)
        else:
            self._body_framing = self._parse_framing(status, lowered, is_http_1_0=match[1] == b"0")
        self._head = head
        self._head_lower = lowered
        self._status = status
        return self._begin_body(data[end:])

    def _on_interim_response(self, status: int, rest: bytes) -> ParsedResponse | None:
        if status == 101:
            raise ProtocolError("status 101 Switching Protocols, which was not requested")
        self._interim_count += 1
        if self._interim_count > INTERIM_LIMIT:
            raise ProtocolError(f"more than {INTERIM_LIMIT} interim responses")
        return self.feed(rest) if rest else None

    def _parse_length(self, value: bytes) -> int:
        if not _DIGITS.fullmatch(value):
            raise ProtocolError("Content-Length is not a decimal number")
        length = int(value)
        if length > self.body_limit:
            raise OversizeError(f"Content-Length is {length} bytes, limit {self.body_limit}")
        return length

    def _parse_framing(self, status: int, head_lower: bytes, *, is_http_1_0: bool) -> _BodyFraming:
        """Decide how the body ends. Source: RFC 9112 section 6.3; where that allows repair, this parser raises."""
        options = _tokens(_header_values(head_lower, b"connection"))
        is_reusable = b"keep-alive" in options if is_http_1_0 else True
        is_reusable = is_reusable and b"close" not in options
        kept_for = _keep_alive_timeout(head_lower)
        lengths = _header_values(head_lower, b"content-length")
        codings = _header_values(head_lower, b"transfer-encoding")
        if codings and lengths:
            raise ProtocolError("both Transfer-Encoding and Content-Length")
        if codings and (codings != [b"chunked"] or is_http_1_0):
            raise ProtocolError("a Transfer-Encoding other than chunked, once, in HTTP/1.1")
        if len(set(lengths)) > 1:
            raise ProtocolError("two different Content-Lengths")
        length = self._parse_length(lengths[0]) if lengths else 0
        if status in {204, 304}:
            return _BodyFraming(0, is_reusable, kept_for)
        if codings:
            return _BodyFraming(_CHUNKED, is_reusable, kept_for)
        if lengths:
            return _BodyFraming(length, is_reusable, kept_for)
        return _BodyFraming(_UNTIL_EOF, is_reusable=False, keep_alive_timeout=0)

    # --- the body ----------------------------------------------------------------------------------------------------

    def _begin_body(self, data: bytes) -> ParsedResponse | None:
        self._remaining = self._body_framing.length
        if self._remaining == _CHUNKED:
            self._chunked = _ChunkedBody(self.body_limit)
        if self._remaining == 0 or data:
            return self._feed_body(data)
        return None

    def _feed_body(self, data: bytes) -> ParsedResponse | None:
        if self._chunked is not None:
            return (
                self._complete(self._chunked.body(), self._chunked.has_trailing_bytes)
                if self._chunked.feed(data)
                else None
            )
        size = len(data)
        if self._body_framing.length == _UNTIL_EOF:
            self._body_size += size
            if self._body_size > self.body_limit:
                raise OversizeError(f"the body exceeds {self.body_limit} bytes")
            self._parts.append(data)
            return None
        if size < self._remaining:
            self._remaining -= size
            self._parts.append(data)
            return None
        is_followed = size > self._remaining
        self._parts.append(data[: self._remaining] if is_followed else data)
        return self._complete(b"".join(self._parts), is_followed)

    def _complete(self, body: bytes, has_trailing_bytes: bool) -> ParsedResponse:  # noqa: FBT001 - a field of the answer
        frame = self._body_framing
        answer = ParsedResponse(
            self._status,
            self._head,
            self._head_lower,
            body,
            frame.is_reusable and not has_trailing_bytes,
            has_trailing_bytes,
            frame.keep_alive_timeout,
        )
        self._interim_count = 0
        self._reset()
        return answer


def _keep_alive_timeout(head_lower: bytes) -> int:
    """Read `Keep-Alive: timeout=N`. Source: RFC 2068 section 19.7.1.1; a hint, so an invalid value counts as absent."""
    for token in _tokens(_header_values(head_lower, b"keep-alive")):
        name, _, value = token.partition(b"=")
        if name.strip() == b"timeout" and _DIGITS.fullmatch(value.strip()):
            return int(value)
    return 0


class _ChunkedBody:
    """A chunked body, parsed by httptools, which is given a fixed head so that only the framing is its input."""

    __slots__ = (
        "_body_size",
        "_fed_bytes",
        "_is_done",
        "_is_primed",
        "_limit",
        "_parser",
        "_parts",
        "_tail",
        "has_trailing_bytes",
    )

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._body_size = 0
        self._fed_bytes = 0
        self._tail = b""
        self._is_done = False
        self._is_primed = False
        self.has_trailing_bytes = False
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self._is_primed = True

    def body(self) -> bytes:
        """Return the complete body."""
        return b"".join(self._parts)

    def feed(self, data: bytes) -> bool:
        """Parse the next bytes; return True when the body is complete.

        Raises:
            ProtocolError: invalid chunked framing, or far more framing than body.
            OversizeError: the body is above the limit.
        """
        if not data:
            return False
        self._fed_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._is_done:
                raise ProtocolError(f"chunked body: {error}") from error
            self.has_trailing_bytes = True
        if self._body_size > self._limit:
            raise OversizeError(f"the body exceeds {self._limit} bytes")
        if self._fed_bytes - self._body_size > _FRAMING_LIMIT + 16 * self._body_size:
            raise ProtocolError("chunked body: far more framing than body")
        self._tail = (self._tail + data[-6:])[-6:]
        if self._is_done and (not self._tail.endswith(b"\r\n\r\n") or self._tail == b"\r\n\r\n\r\n"):
            # llhttp skips empty lines between responses; here they count as trailing bytes.
            self.has_trailing_bytes = True
        return self._is_done

    def on_message_begin(self) -> None:
        """Record that another response begins (httptools callback)."""
        if self._is_primed:
            self.has_trailing_bytes = True

    def on_body(self, body: bytes) -> None:
        """Store a part of the body (httptools callback)."""
        if self._is_done:
            return
        self._body_size += len(body)
        if self._body_size <= self._limit:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """Record that the body is complete (httptools callback)."""
        self._is_done = True

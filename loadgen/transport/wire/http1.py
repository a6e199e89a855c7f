"""HTTP/1.1 answers, read strictly: bytes in, whole answers out. No sockets, no clock.

Rule: what is not certainly one whole answer to one request is an error, never a guess. A connection whose answer left
the least doubt about where the next one would begin says so (`is_reusable` false), and is not used again.

The head is held to the grammar of RFC 9112 by one expression, which also makes the usual answer (a head and a
Content-Length) cheap: it is read without a callback. A chunked body is read by httptools (llhttp in strict mode). Where
this reader and httptools or h11 disagree, this one is the stricter; tests/test_http1.py lists each case.

What does not belong here: what an answer *means* (answer.py), deadlines (deadlines.py).
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
_START = b"HTTP/1."
_DIGITS = re.compile(rb"\d{1,18}")  # 18 digits stay below 2**63
_ODD = re.compile(rb"[^\t\r\n -~\x80-\xff]|(?<!\r)\n|\r(?!\n|$)")
HEAD_LIMIT = 64 * 1024  # bytes; AWS's load balancers allow 64 K for all headers of an answer
HEADERS_LIMIT = 256  # lines; http.client allows 100
INTERIM_LIMIT = 16  # 1xx answers before the real one
BODY_LIMIT = 32 * 1024 * 1024  # bytes; InvokeEndpoint itself answers at most 6 MiB
# Bytes of chunked framing that are borne beyond 16 for each byte of body, which one-byte chunks need at most six of.
_FRAMING_LIMIT = 64 * 1024


class Answer(NamedTuple):
    """One whole answer.

    `head` is the status line and the headers as they came, `lowered` the same in lower case; `is_reusable` tells that
    the next request may use the connection; `is_followed` that bytes came after the answer which belong to nothing;
    `kept_for` is how many seconds the peer said it keeps an idle connection, 0 when it did not say.
    """

    status: int
    head: bytes
    lowered: bytes
    body: bytes
    is_reusable: bool
    is_followed: bool
    kept_for: int = 0


class ProtocolError(Exception):
    """The peer did not speak HTTP/1.1 as we allow it; the text says where, and quotes nothing of the answer."""


class OversizeError(Exception):
    """The answer's body is larger than the limit."""


class _Frame(NamedTuple):
    """What a head says about its body: `length` is -1 when chunked, -2 when it ends with the connection."""

    length: int
    is_reusable: bool
    kept_for: int


_CHUNKED = -1
_UNTIL_END = -2


def field(head: bytes, lowered: bytes, name: bytes) -> bytes | None:
    """Return the first value of a header, or None when it is not there.

    Args:
        head: as an Answer holds it.
        lowered: the same in lower case; searching for the name needs no copy of the whole for each.
        name: in lower case.
    """
    at = lowered.find(b"\r\n%b:" % name)
    if at < 0:
        return None
    start = at + len(name) + 3
    return head[start : head.index(b"\r\n", start)].strip(b" \t")


def _fields(lowered: bytes, name: bytes) -> list[bytes]:
    return [
        line[len(name) + 1 :].strip(b" \t")
        for line in lowered.split(b"\r\n")[1:]
        if line.startswith(name) and line[len(name) : len(name) + 1] == b":"
    ]


def _tokens(values: list[bytes]) -> list[bytes]:
    return [token.strip(b" \t") for value in values for token in value.split(b",")]


class Reader:
    """Read the answers of one connection, one after the other.

    Args:
        body_limit: bytes a body may have.

    Not safe for use after an error: the connection must be closed.
    """

    __slots__ = (
        "_buffer",
        "_chunked",
        "_frame",
        "_head",
        "_interims",
        "_left",
        "_lowered",
        "_parts",
        "_size",
        "_status",
        "body_limit",
    )

    def __init__(self, *, body_limit: int = BODY_LIMIT) -> None:
        self.body_limit = body_limit
        self._buffer = b""
        self._interims = 0
        self._reset()

    def _reset(self) -> None:
        self._head = b""
        self._lowered = b""
        self._status = 0
        self._frame = _Frame(0, is_reusable=False, kept_for=0)
        self._left = 0
        self._size = 0
        self._parts: list[bytes] = []
        self._chunked: _Chunked | None = None

    def feed(self, data: bytes) -> Answer | None:
        """Take the next bytes; return the answer if they complete it.

        Args:
            data: at least one byte.

        Raises:
            ProtocolError: they cannot be part of an answer that we allow.
            OversizeError: the body is, or says it will be, above the limit.
        """
        if self._head:
            return self._body(data)
        if not self._buffer:
            match = _HEAD.match(data)
            if match is not None:
                return self._headed(data, match)
        return self._gather(data)

    def end(self) -> Answer | None:
        """Take the end of the stream; return the answer if that is what completes it, else None: it was cut short."""
        if self._head and self._frame.length == _UNTIL_END:
            return self._whole(b"".join(self._parts), is_followed=False)
        return None

    # --- the head --------------------------------------------------------------------------------------------------

    def _gather(self, data: bytes) -> Answer | None:
        """Add to a head that is not whole yet, refusing at once what can never become one."""
        seen = len(self._buffer)
        buffer = self._buffer + data
        if not (buffer.startswith(_START) or _START.startswith(buffer)):
            raise ProtocolError("the answer does not begin as HTTP/1 does")
        end = buffer.find(b"\r\n\r\n", max(0, seen - 3))
        if end < 0:
            if len(buffer) > HEAD_LIMIT:
                raise ProtocolError(f"the head is longer than {HEAD_LIMIT} bytes")
            if _ODD.search(buffer, max(0, seen - 1)):
                raise ProtocolError("a control character in the head")
            self._buffer = buffer
            return None
        self._buffer = b""
        match = _HEAD.match(buffer)
        if match is None:
            raise ProtocolError("a line of the head is malformed")
        return self._headed(buffer, match)

    def _headed(self, data: bytes, match: re.Match[bytes]) -> Answer | None:
        end = match.end()
        head = data[:end]
        status = int(match[2])
        if end > HEAD_LIMIT or (end > HEADERS_LIMIT and head.count(b"\r\n") > HEADERS_LIMIT + 2):
            raise ProtocolError(f"the head has more than {HEAD_LIMIT} bytes or {HEADERS_LIMIT} headers")
        if status < 200:
            return self._interim(status, data[end:])
        lowered = head.lower()
        # The usual answer first: a length given once, and nothing that changes what it means.
        at = lowered.find(b"\r\ncontent-length:")
        if (
            at > 0
            and status not in {204, 304}
            and match[1] == b"1"
            and lowered.find(b"\r\ncontent-length:", at + 1) < 0
            and b"\r\ntransfer-encoding:" not in lowered
            and b"\r\nkeep-alive:" not in lowered
        ):
            length = self._length(lowered[at + 17 : lowered.index(b"\r\n", at + 17)].strip(b" \t"))
            at = lowered.find(b"\r\nconnection:")
            is_reusable = (
                at < 0
                # What nginx says each time; a second such header is looked for all the same.
                or (
                    lowered.startswith(b"\r\nconnection: keep-alive\r\n", at)
                    and lowered.find(b"\r\nconnection:", at + 1) < 0
                )
                or b"close" not in _tokens(_fields(lowered, b"connection"))
            )
            size = len(data) - end
            if size == length:
                self._interims = 0
                return Answer(status, head, lowered, data[end:], is_reusable, False)  # noqa: FBT003 - faster by place
            self._frame = _Frame(length, is_reusable, 0)
        else:
            self._frame = self._framing(status, lowered, is_old=match[1] == b"0")
        self._head = head
        self._lowered = lowered
        self._status = status
        return self._begin(data[end:])

    def _interim(self, status: int, rest: bytes) -> Answer | None:
        if status == 101:
            raise ProtocolError("switching protocols, which was not asked for")
        self._interims += 1
        if self._interims > INTERIM_LIMIT:
            raise ProtocolError(f"more than {INTERIM_LIMIT} interim answers")
        return self.feed(rest) if rest else None

    def _length(self, value: bytes) -> int:
        if not _DIGITS.fullmatch(value):
            raise ProtocolError("Content-Length is no plain number")
        length = int(value)
        if length > self.body_limit:
            raise OversizeError(f"a body of {length} bytes; at most {self.body_limit} are read")
        return length

    def _framing(self, status: int, lowered: bytes, *, is_old: bool) -> _Frame:
        """Decide how the body ends. Source: RFC 9112 section 6.3; where it allows repair, we refuse."""
        options = _tokens(_fields(lowered, b"connection"))
        is_reusable = b"keep-alive" in options if is_old else True
        is_reusable = is_reusable and b"close" not in options
        kept_for = _kept_for(lowered)
        lengths = _fields(lowered, b"content-length")
        codings = _fields(lowered, b"transfer-encoding")
        if codings and lengths:
            raise ProtocolError("both Transfer-Encoding and Content-Length")
        if codings and (codings != [b"chunked"] or is_old):
            raise ProtocolError("a Transfer-Encoding other than chunked, once, in HTTP/1.1")
        if len(set(lengths)) > 1:
            raise ProtocolError("two different Content-Lengths")
        length = self._length(lengths[0]) if lengths else 0
        if status in {204, 304}:
            return _Frame(0, is_reusable, kept_for)
        if codings:
            return _Frame(_CHUNKED, is_reusable, kept_for)
        if lengths:
            return _Frame(length, is_reusable, kept_for)
        return _Frame(_UNTIL_END, is_reusable=False, kept_for=0)

    # --- the body --------------------------------------------------------------------------------------------------

    def _begin(self, data: bytes) -> Answer | None:
        self._left = self._frame.length
        if self._left == _CHUNKED:
            self._chunked = _Chunked(self.body_limit)
        if self._left == 0 or data:
            return self._body(data)
        return None

    def _body(self, data: bytes) -> Answer | None:
        if self._chunked is not None:
            return self._whole(self._chunked.body(), self._chunked.is_followed) if self._chunked.feed(data) else None
        size = len(data)
        if self._frame.length == _UNTIL_END:
            self._size += size
            if self._size > self.body_limit:
                raise OversizeError(f"a body of more than {self.body_limit} bytes")
            self._parts.append(data)
            return None
        if size < self._left:
            self._left -= size
            self._parts.append(data)
            return None
        is_followed = size > self._left
        self._parts.append(data[: self._left] if is_followed else data)
        return self._whole(b"".join(self._parts), is_followed)

    def _whole(self, body: bytes, is_followed: bool) -> Answer:  # noqa: FBT001 - a field of the answer
        frame = self._frame
        answer = Answer(
            self._status,
            self._head,
            self._lowered,
            body,
            frame.is_reusable and not is_followed,
            is_followed,
            frame.kept_for,
        )
        self._interims = 0
        self._reset()
        return answer


def _kept_for(lowered: bytes) -> int:
    """Read `Keep-Alive: timeout=N`. Source: RFC 2068 section 19.7.1.1; a hint, so what cannot be read says nothing."""
    for token in _tokens(_fields(lowered, b"keep-alive")):
        name, _, value = token.partition(b"=")
        if name.strip() == b"timeout" and _DIGITS.fullmatch(value.strip()):
            return int(value)
    return 0


class _Chunked:
    """A chunked body, read by httptools. It is given a head of our own, so that nothing but the framing can differ."""

    __slots__ = ("_is_done", "_is_open", "_limit", "_parser", "_parts", "_read", "_size", "_tail", "is_followed")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._read = 0
        self._tail = b""
        self._is_done = False
        self._is_open = False
        self.is_followed = False
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self._is_open = True

    def body(self) -> bytes:
        """Return the whole body."""
        return b"".join(self._parts)

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; return True when the body is whole.

        Raises:
            ProtocolError: not chunked framing, or far more framing than body.
            OversizeError: the body is above the limit.
        """
        if not data:
            return False
        self._read += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._is_done:
                raise ProtocolError(f"chunked body: {error}") from error
            self.is_followed = True
        if self._size > self._limit:
            raise OversizeError(f"a body of more than {self._limit} bytes")
        if self._read - self._size > _FRAMING_LIMIT + 16 * self._size:
            raise ProtocolError("chunked body: far more framing than body")
        self._tail = (self._tail + data[-6:])[-6:]
        if self._is_done and (not self._tail.endswith(b"\r\n\r\n") or self._tail == b"\r\n\r\n\r\n"):
            # llhttp skips empty lines between answers; here they are bytes that belong to nothing.
            self.is_followed = True
        return self._is_done

    def on_message_begin(self) -> None:
        """Note that httptools sees another answer begin (its name for this callback)."""
        if self._is_open:
            self.is_followed = True

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body (httptools's name for this callback)."""
        if self._is_done:
            return
        self._size += len(body)
        if self._size <= self._limit:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """Note that the body is whole (httptools's name for this callback)."""
        self._is_done = True

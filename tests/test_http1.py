"""Reading HTTP/1.1 answers: whole, in pieces, followed, broken; with h11 as the second opinion."""

import itertools
import random

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.transport.http1 import (
    HEAD_LIMIT,
    HEADERS_LIMIT,
    INTERIM_LIMIT,
    OversizeError,
    ProtocolError,
    Reader,
    field,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

# name -> (bytes, status, body, reusable)
GOOD = {
    "length": (OK + b"Content-Length: 5\r\n\r\nhello", 200, b"hello", True),
    "length zero": (OK + b"Content-Length: 0\r\n\r\n", 200, b"", True),
    "length, odd case and spaces": (OK + b"cOnTeNt-LeNgTh:\t 5 \r\n\r\nhello", 200, b"hello", True),
    "length with leading zeros": (OK + b"Content-Length: 0005\r\n\r\nhello", 200, b"hello", True),
    "equal lengths twice (C82)": (
        OK + b"Content-Length: 5\r\nX: y\r\nContent-Length: 5\r\n\r\nhello",
        200,
        b"hello",
        True,
    ),
    "close (C89)": (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False),
    "close among others (C89)": (OK + b"Connection: foo, Close\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False),
    "keep-alive": (OK + b"Connection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", True),
    "chunked": (CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, b"abcde", True),
    "chunked, empty": (CHUNKED + b"0\r\n\r\n", 200, b"", True),
    "chunked, extension and trailer": (CHUNKED + b"A;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n", 200, b"0123456789", True),
    "chunked and close": (
        OK + b"Connection: close\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        200,
        b"a",
        False,
    ),
    "no reason": (b"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\na", 200, b"a", True),
    "no reason, no space": (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", 200, b"a", True),
    "latin-1 reason and value": (b"HTTP/1.1 200 \xe9t\xe9\r\nX: \xff\r\nContent-Length: 1\r\n\r\na", 200, b"a", True),
    "status 999 (C84)": (b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n", 999, b"", True),
    "1xx first (C83)": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na", 200, b"a", True),
    "several 1xx (C83)": (
        b"HTTP/1.1 103 E\r\nLink: x\r\n\r\n" * 3 + OK + b"Content-Length: 1\r\n\r\na",
        200,
        b"a",
        True,
    ),
    "204 (C92)": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "304 with a length (C92)": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, b"", True),
    "1.0 with keep-alive (C89)": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
        200,
        b"a",
        True,
    ),
    "1.0 with length (C89)": (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", 200, b"a", False),
    "gzip is not decoded (C88)": (
        OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00",
        200,
        b"\x1f\x8b\x00",
        True,
    ),
    "redirect (C91)": (b"HTTP/1.1 307 T\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", 307, b"", True),
}
# Ended by the end of the stream.
UNTIL_END = {
    "1.0 until the end (C89)": (b"HTTP/1.0 200 OK\r\n\r\nabc", 200, b"abc"),
    "1.1 until the end": (OK + b"\r\nabc", 200, b"abc"),
    "until the end, empty": (OK + b"X: y\r\n\r\n", 200, b""),
}
BAD = {
    "C81 size is no hex": CHUNKED + b"zz\r\nabc\r\n",
    "C81 size 2^64": CHUNKED + b"10000000000000000\r\nabc",
    "C81 negative size": CHUNKED + b"-1\r\nabc",
    "C81 plus": CHUNKED + b"+1\r\na\r\n",
    "C81 0x": CHUNKED + b"0x1\r\na\r\n",
    "C81 space before size": CHUNKED + b" 1\r\na\r\n",
    "C81 bare LF after size": CHUNKED + b"1\na\r\n0\r\n\r\n",
    "C81 longer than it says": CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    "C81 extension flood": CHUNKED + b"1;" + b"x" * 70_000 + b"\r\na\r\n0\r\n\r\n",
    "C81 many extensions": CHUNKED + (b"1;" + b"x" * 900 + b"\r\na\r\n") * 90,
    "C81 trailer with NUL": CHUNKED + b"0\r\nT: \x00\r\n\r\n",
    "C81 trailer without colon": CHUNKED + b"0\r\nTrailer\r\n\r\n",
    "C81 trailer flood": CHUNKED + b"0\r\n" + b"T: v\r\n" * 20_000,
    "C82 TE and CL": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "C82 CL and TE": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
    "C82 two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "C82 minus": OK + b"Content-Length: -1\r\n\r\n",
    "C82 plus": OK + b"Content-Length: +5\r\n\r\nhello",
    "C82 list": OK + b"Content-Length: 5,5\r\n\r\nhello",
    "C82 list with space": OK + b"Content-Length: 5, 5\r\n\r\nhello",
    "C82 hex": OK + b"Content-Length: 0x5\r\n\r\nhello",
    "C82 letter": OK + b"Content-Length: 5a\r\n\r\nhello",
    "C82 empty": OK + b"Content-Length:\r\n\r\nhello",
    "C82 spaces within": OK + b"Content-Length: 1 0\r\n\r\nhello",
    "C82 19 digits": OK + b"Content-Length: 1000000000000000000\r\n\r\n",
    "C82 another coding": OK + b"Transfer-Encoding: gzip\r\n\r\n",
    "C82 two codings": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "C82 chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "C82 chunked in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "C83 too many 1xx": b"HTTP/1.1 100 C\r\n\r\n" * 10_000,
    "C83 switching": b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\n\r\n",
    "C84 long line": OK + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "C84 many headers": OK + b"X:\r\n" * 10_000 + b"\r\n",
    "C84 NUL in value": OK + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "C84 bare CR": OK + b"X: a\rb\r\nContent-Length: 0\r\n\r\n",
    "C84 bare LF": OK + b"X: a\nContent-Length: 0\r\n\r\n",
    "C84 only LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "C84 fold": OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "C84 no colon": OK + b"Xab\r\nContent-Length: 0\r\n\r\n",
    "C84 space before colon": OK + b"Content-Length : 0\r\n\r\n",
    "C84 empty name": OK + b": a\r\n\r\n",
    "C84 0.9": b"<html>hello</html>",
    "C84 status -1": b"HTTP/1.1 -1 x\r\n\r\n",
    "C84 status 000": b"HTTP/1.1 000 x\r\n\r\n",
    "C84 status 2000": b"HTTP/1.1 2000 x\r\n\r\n",
    "C84 two spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "C84 2.0": b"HTTP/2.0 200 OK\r\n\r\n",
    "C84 lower case": b"http/1.1 200 OK\r\n\r\n",
    "C84 TLS alert": b"\x15\x03\x01\x00\x02\x02\x0a",
    "C84 empty line first": b"\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    "C84 NUL in reason": b"HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n",
    "C77 another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
}
# What h11 0.16 accepts and we refuse, and why. Nothing is the other way round.
STRICTER_THAN_H11 = {
    "C81 extension flood": "no cap on framing in h11",
    "C82 TE and CL": "h11 lets Transfer-Encoding win; the order of the two decides nothing but who is cheated",
    "C82 list": "RFC 9112 section 6.3 leaves a list of equal lengths to the reader; we allow repeated lines only",
    "C82 list with space": "the same",
    "C82 chunked in 1.0": "RFC 9112 section 6.1: a peer of HTTP/1.0 cannot mean it",
    "C84 bare LF": "h11 ends a line at a bare LF",
    "C84 only LF": "the same",
    "C84 fold": "RFC 9112 section 5.2 has it obsolete",
}
# What the strict llhttp accepts, or has not refused yet, and we refuse.
STRICTER_THAN_HTTPTOOLS = {
    "C81 extension flood": "no cap on framing",
    "C81 many extensions": "the same",
    "C81 trailer flood": "the same",
    "C82 19 digits": "a length that nobody can mean",
    "C82 another coding": "we asked for none",
    "C82 two codings": "the same",
    "C82 chunked twice": "RFC 9112 section 6.1 forbids it",
    "C82 chunked in 1.0": "RFC 9112 section 6.1: a peer of HTTP/1.0 cannot mean it",
    "C83 too many 1xx": "no cap",
    "C84 long line": "no cap",
    "C84 many headers": "no cap",
    "C84 status 000": "RFC 9110 section 15 begins at 100",
    "C84 2.0": "not a version of this protocol",
    "C84 empty line first": "llhttp skips it, and with it a surplus byte",
    "C84 NUL in reason": "a control character",
}


def fed(data, cuts=()):
    """Feed data cut at these places; return all answers, the last reader, and whether one was followed."""
    reader = Reader()
    answers = []
    edges = [0, *sorted(set(cuts) - {0, len(data)}), len(data)]
    for start, end in itertools.pairwise(edges):
        answer = reader.feed(data[start:end])
        if answer is not None:
            answers.append(answer)
    return answers, reader


def every_way(data, seed=0):
    """The cuts: none, every byte, and a hundred random ones."""
    yield ()
    if len(data) < 5000:
        yield range(len(data))
    dice = random.Random(seed)
    for _ in range(100 if len(data) < 5000 else 5):
        yield [dice.randrange(len(data) + 1) for _ in range(dice.randint(1, 6))]


@pytest.mark.parametrize("name", GOOD)
def test_an_answer_is_the_same_however_it_is_cut(name):
    """Whole, byte by byte and in random pieces, the same status, body and reuse come out."""
    data, status, body, is_reusable = GOOD[name]
    for cuts in every_way(data):
        answers, _ = fed(data, cuts)
        assert [(a.status, a.body, a.is_reusable, a.is_followed) for a in answers] == [
            (status, body, is_reusable, False)
        ]


@pytest.mark.parametrize("name", [name for name in GOOD if GOOD[name][3]])
def test_a_connection_reads_one_answer_after_the_other(name):
    """On a reusable connection the next answer, of any kind, reads as well as the first."""
    data, status, body, _ = GOOD[name]
    for other in ("length", "chunked", "204 (C92)", name):
        reader = Reader()
        first, second = reader.feed(data), reader.feed(GOOD[other][0])
        assert (first.status, first.body) == (status, body)
        assert (second.status, second.body) == GOOD[other][1:3]


@pytest.mark.parametrize(
    "surplus", [b"X", b"\r\n", b"\r", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb", b"\x00" * 9]
)
@pytest.mark.parametrize("name", GOOD)
def test_surplus_bytes_spoil_the_connection_and_not_the_answer(name, surplus):
    """C80, C92: with bytes behind it the answer is unchanged, and the connection is not to be used again."""
    data, status, body, _ = GOOD[name]
    dice = random.Random(1)
    for at in (len(data) - 1, len(data) // 2, 0, *(dice.randrange(len(data)) for _ in range(5))):
        reader = Reader()
        answer = reader.feed(data[:at]) if at else None
        answer = answer or reader.feed(data[at:] + surplus)
        assert (answer.status, answer.body, answer.is_reusable, answer.is_followed) == (status, body, False, True)


@pytest.mark.parametrize("name", UNTIL_END)
def test_the_end_of_the_stream_completes_a_body_without_length(name):
    """C89: such a body is whole only at the end, and the connection is done with."""
    data, status, body = UNTIL_END[name]
    for cuts in every_way(data):
        answers, reader = fed(data, cuts)
        assert answers == []
        answer = reader.end()
        assert (answer.status, answer.body, answer.is_reusable) == (status, body, False)


@pytest.mark.parametrize("name", GOOD)
def test_a_cut_answer_is_never_whole(name):
    """C79: whatever the place of the cut, the end of the stream does not complete an answer that has a length."""
    data = GOOD[name][0]
    for cut in range(len(data)):
        reader = Reader()
        assert (reader.feed(data[:cut]) if cut else None) is None
        assert reader.end() is None


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_http_is_a_protocol_error(name):
    """C81 to C84: each is refused, however it is cut, and nothing but ProtocolError comes out."""
    for cuts in every_way(BAD[name]):
        with pytest.raises(ProtocolError):
            fed(BAD[name], cuts)


def h11_reads(data, *, is_ended):
    """h11's opinion: (status, body) of the first answer, or None when it refuses or waits for more."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    status, body = 0, b""
    try:
        connection.receive_data(data)
        if is_ended:
            connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, body
            elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return None
    except h11.RemoteProtocolError:
        return None


@pytest.mark.parametrize("name", [*GOOD, *UNTIL_END])
def test_h11_reads_the_same(name):
    """An independent parser finds the same status and body in every answer that we accept; 999 is not one for it."""
    data, status, body = {**GOOD, **UNTIL_END}[name][:3]
    assert h11_reads(data, is_ended=name in UNTIL_END) == (status, body)


@pytest.mark.parametrize("name", BAD)
def test_only_the_listed_cases_are_stricter_than_h11(name):
    """What we refuse h11 refuses too, or it is in the list of cases where we are the stricter; no more, no less."""
    assert (h11_reads(BAD[name], is_ended=False) is not None) == (name in STRICTER_THAN_H11)


@pytest.mark.parametrize("name", BAD)
def test_only_the_listed_cases_are_stricter_than_httptools(name):
    """What we refuse the strict llhttp refuses at once, or it is in the list of cases where we are the stricter."""
    try:
        httptools.HttpResponseParser(object()).feed_data(BAD[name])
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        is_refused = True
    else:
        is_refused = False
    assert is_refused == (name not in STRICTER_THAN_HTTPTOOLS)


@settings(max_examples=1500, deadline=None)
@given(
    case=st.sampled_from(sorted(set(GOOD) | set(BAD) - {"C84 long line", "C83 too many 1xx", "C84 many headers"})),
    place=st.floats(0, 1, exclude_max=True),
    new=st.binary(max_size=4),
    gone=st.integers(0, 4),
)
def test_garbage_gives_an_answer_or_a_protocol_error(case, place, new, gone):
    """A damaged answer is read, waited for or refused; any other exception is a bug; and what we read, h11 reads too."""
    data = (GOOD.get(case) or (BAD.get(case), 0))[0]
    at = int(place * len(data))
    data = data[:at] + new + data[at + gone :]
    try:
        answers, _ = fed(data)
    except (ProtocolError, OversizeError):
        return
    if answers and not answers[0].is_followed and 200 <= answers[0].status < 600:
        assert h11_reads(data, is_ended=False) == (answers[0].status, answers[0].body)


@settings(max_examples=500, deadline=None)
@given(st.binary(min_size=1, max_size=400))
def test_noise_after_a_good_start_never_escapes(noise):
    """Random bytes after any part of a good answer raise ProtocolError at most."""
    for start in (b"", OK, CHUNKED, OK + b"Content-Length: 5\r\n\r\n"):
        try:
            fed(start + noise, range(0, 400, 7))
        except (ProtocolError, OversizeError):
            continue


def test_limits_hold_at_their_edges():
    """A head one byte under each limit is read; one over is refused."""
    rest = b"Content-Length: 0\r\n\r\n"
    fill = HEAD_LIMIT - len(OK + rest) - len(b"X: \r\n")
    assert fed(OK + b"X: " + b"a" * fill + b"\r\n" + rest)[0][0].status == 200
    with pytest.raises(ProtocolError):
        fed(OK + b"X: " + b"a" * (fill + 1) + b"\r\n" + rest)
    assert fed(OK + b"X: y\r\n" * (HEADERS_LIMIT - 1) + rest)[0][0].status == 200
    with pytest.raises(ProtocolError):
        fed(OK + b"X: y\r\n" * HEADERS_LIMIT + rest)
    interim = b"HTTP/1.1 100 C\r\n\r\n"
    assert fed(interim * INTERIM_LIMIT + OK + rest)[0][0].status == 200
    with pytest.raises(ProtocolError):
        fed(interim * (INTERIM_LIMIT + 1) + OK + rest)


@pytest.mark.parametrize(
    "data",
    [OK + b"Content-Length: 11\r\n\r\n", OK + b"\r\n12345678901", CHUNKED + b"b\r\n12345678901\r\n0\r\n\r\n"],
    ids=["length", "until the end", "chunked"],
)
def test_a_body_over_the_limit_is_oversize(data):
    """C88: a body above the limit is refused, by its length before it is read; one at the limit is read."""
    with pytest.raises(OversizeError):
        Reader(body_limit=10).feed(data)
    reader = Reader(body_limit=11)
    answer = reader.feed(data + b"12345678901") if b"Content" in data else reader.feed(data) or reader.end()
    assert answer.body == b"12345678901"


def test_a_kept_alive_hint_is_read():
    """C89: `Keep-Alive: timeout=N` comes out in seconds, and nonsense in it is no error."""
    for hint, seconds in ((b"timeout=5, max=100", 5), (b"max=1,timeout = 7", 7), (b"timeout=x", 0), (b"", 0)):
        answers, _ = fed(OK + b"Keep-Alive: " + hint + b"\r\nContent-Length: 0\r\n\r\n")
        assert answers[0].kept_for == seconds


def test_a_field_is_found_by_its_name_only():
    """A header's value is found in any case, and never inside another header's name or value."""
    head = b"HTTP/1.1 200 x-id: no\r\nAx-id: no\r\nY: x-id: no\r\nX-ID: \t yes \r\nx-id: second\r\n\r\n"
    assert field(head, head.lower(), b"x-id") == b"yes"
    assert field(head, head.lower(), b"missing") is None

"""Reading HTTP/1.1 answers: whole, in pieces, followed, broken; with h11 as the second opinion."""

import itertools
import random

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.transport.wire.http1 import (
    HEAD_LIMIT,
    HEADERS_LIMIT,
    INTERIM_LIMIT,
    OversizeError,
    ProtocolError,
    ResponseParser,
    header_value,
)
from tests.support.http_responses import BAD, CHUNKED, GOOD, OK, STRICTER_THAN_H11, STRICTER_THAN_HTTPTOOLS, UNTIL_EOF


def fed(data, cuts=()):
    """Feed data cut at these places; return all answers, the last reader, and whether one was followed."""
    reader = ResponseParser()
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
        assert [(a.status, a.body, a.is_reusable, a.has_trailing_bytes) for a in answers] == [
            (status, body, is_reusable, False)
        ]


@pytest.mark.parametrize("name", [name for name in GOOD if GOOD[name][3]])
def test_a_connection_reads_one_answer_after_the_other(name):
    """On a reusable connection the next answer, of any kind, reads as well as the first."""
    data, status, body, _ = GOOD[name]
    for other in ("length", "chunked", "204 (C92)", name):
        reader = ResponseParser()
        first, second = reader.feed(data), reader.feed(GOOD[other][0])
        assert (first.status, first.body) == (status, body)
        assert (second.status, second.body) == GOOD[other][1:3]


@pytest.mark.parametrize(
    "surplus", [b"X", b"\r\n", b"\r", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb", b"\x00" * 9]
)
@pytest.mark.parametrize("name", GOOD)
def test_surplus_bytes_spoil_the_connection_and_not_the_answer(name, surplus):
    """With bytes behind it the answer is unchanged, and the connection is not to be used again (C80, C92)."""
    data, status, body, _ = GOOD[name]
    dice = random.Random(1)
    for at in (len(data) - 1, len(data) // 2, 0, *(dice.randrange(len(data)) for _ in range(5))):
        reader = ResponseParser()
        answer = reader.feed(data[:at]) if at else None
        answer = answer or reader.feed(data[at:] + surplus)
        assert (answer.status, answer.body, answer.is_reusable, answer.has_trailing_bytes) == (
            status,
            body,
            False,
            True,
        )


@pytest.mark.parametrize("name", UNTIL_EOF)
def test_the_end_of_the_stream_completes_a_body_without_length(name):
    """Such a body is whole only at the end, and the connection is done with (C89)."""
    data, status, body = UNTIL_EOF[name]
    for cuts in every_way(data):
        answers, reader = fed(data, cuts)
        assert answers == []
        answer = reader.feed_eof()
        assert (answer.status, answer.body, answer.is_reusable) == (status, body, False)


@pytest.mark.parametrize("name", GOOD)
def test_a_cut_answer_is_never_whole(name):
    """Whatever the place of the cut, the end of the stream does not complete an answer that has a length (C79)."""
    data = GOOD[name][0]
    for cut in range(len(data)):
        reader = ResponseParser()
        assert (reader.feed(data[:cut]) if cut else None) is None
        assert reader.feed_eof() is None


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_http_is_a_protocol_error(name):
    """Each is refused, however it is cut, and nothing but ProtocolError comes out (C81 to C84)."""
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


@pytest.mark.parametrize("name", [*GOOD, *UNTIL_EOF])
def test_h11_reads_the_same(name):
    """An independent parser finds the same status and body in every answer that we accept; 999 is not one for it."""
    data, status, body = {**GOOD, **UNTIL_EOF}[name][:3]
    assert h11_reads(data, is_ended=name in UNTIL_EOF) == (status, body)


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
    if answers and not answers[0].has_trailing_bytes and 200 <= answers[0].status < 600:
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
    """A body above the limit is refused, by its length before it is read; one at the limit is read (C88)."""
    with pytest.raises(OversizeError):
        ResponseParser(body_limit=10).feed(data)
    reader = ResponseParser(body_limit=11)
    answer = reader.feed(data + b"12345678901") if b"Content" in data else reader.feed(data) or reader.feed_eof()
    assert answer.body == b"12345678901"


def test_a_kept_alive_hint_is_read():
    """`Keep-Alive: timeout=N` comes out in seconds, and nonsense in it is no error (C89)."""
    for hint, seconds in ((b"timeout=5, max=100", 5), (b"max=1,timeout = 7", 7), (b"timeout=x", 0), (b"", 0)):
        answers, _ = fed(OK + b"Keep-Alive: " + hint + b"\r\nContent-Length: 0\r\n\r\n")
        assert answers[0].keep_alive_timeout == seconds


def test_a_field_is_found_by_its_name_only():
    """A header's value is found in any case, and never inside another header's name or value."""
    head = b"HTTP/1.1 200 x-id: no\r\nAx-id: no\r\nY: x-id: no\r\nX-ID: \t yes \r\nx-id: second\r\n\r\n"
    assert header_value(head, head.lower(), b"x-id") == b"yes"
    assert header_value(head, head.lower(), b"missing") is None

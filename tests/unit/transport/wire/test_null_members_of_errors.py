"""Members of an error response that are null count as absent, so that another member gives code or message."""

import pytest

from loadgen.transport.wire.error_response import parse_error_response


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"code":null,"__type":"T"}', "T", ""),
        (b'{"code":null,"Code":null,"__type":"a.b#T","message":null,"Message":"m"}', "T", "m"),
        (b'{"code":null,"Code":"C","__type":"T"}', "C", ""),
        (b'{"code":null,"__type":null,"message":null}', "400", ""),
        (b'{"__type":"T","message":"","Message":"m"}', "T", ""),
        (b'{"code":"","__type":"T"}', "400", ""),
    ],
)
def test_a_null_member_is_absent(body, code, message):
    """A null code leaves the code to Code or __type, then to the status; an empty text is a text."""
    parsed = parse_error_response(400, b"HTTP/1.1 400 \r\n\r\n", body)
    assert (parsed.code, parsed.message) == (code, message)

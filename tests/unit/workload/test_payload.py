"""Payload files: valid ones are read, errors are located, and nothing in a file is executed."""

import base64
import codecs
import json
import os
import pickle
import pickletools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.errors import DataError, InputError, OutputError
from loadgen.workload.payload import convert_invoke_args_to_jsonl, convert_invoke_args_to_pkl, read_requests
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import PAYLOAD_LIMIT_BYTES

EXAMPLES = [{"Body": '{"x": 1}', "ContentType": "application/json"}, {"Body": "1,2", "ContentType": "text/csv"}]
REQUESTS = (Request(b'{"x": 1}', "application/json"), Request(b"1,2", "text/csv"))
IMAGES = [{"Body": bytes(range(256)), "ContentType": "image/jpeg"}, {"Body": b"\x89PNG", "ContentType": "image/png"}]


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def assert_rejected(path, content, match, **more):
    with pytest.raises(DataError, match=match) as caught:
        read_requests(written(path, content), **more)
    assert "\n" not in str(caught.value)
    return caught.value


# -- the predecessor's files ------------------------------------------------------------------------------------------


def test_the_predecessor_s_json_lines_are_read(tmp_path):
    """JSON Lines written by the predecessor's converter (json.dumps and a line feed) are read."""
    content = "".join(f"{json.dumps(example)}\n" for example in EXAMPLES)
    assert read_requests(written(tmp_path / "invoke_args_examples.jsonl", content)) == REQUESTS


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_the_predecessor_s_pickles_are_read(tmp_path, protocol):
    """Pickles written by the predecessor's converter are read, for each pickle protocol."""
    path = written(tmp_path / "invoke_args_examples.pkl", pickle.dumps(IMAGES, protocol=protocol))
    assert [r.arguments() for r in read_requests(path)] == IMAGES


bodies = st.binary(max_size=50) | st.text(st.characters(codec="utf-8"), max_size=50)
arguments = st.fixed_dictionaries(
    {"Body": bodies}, optional={"ContentType": st.just("a/b"), "InferenceId": st.just("i")}
)


@settings(max_examples=60)
@given(examples=st.lists(arguments, min_size=1, max_size=8))
@pytest.mark.parametrize("convert", [convert_invoke_args_to_jsonl, convert_invoke_args_to_pkl])
def test_converted_examples_are_read_back(tmp_path_factory, convert, examples):
    """The file of either converter gives the same requests as the examples."""
    path = convert(examples, tmp_path_factory.mktemp("converted"))
    assert list(read_requests(path)) == [Request.from_arguments(example) for example in examples]


def test_converters_keep_the_file_names_and_reject_bad_examples(tmp_path):
    """File names are the predecessor's; an invalid example is rejected with its number, a missing directory as OutputError."""
    assert convert_invoke_args_to_jsonl(EXAMPLES, str(tmp_path)) == tmp_path / "invoke_args_examples.jsonl"
    assert convert_invoke_args_to_pkl(EXAMPLES, str(tmp_path)) == tmp_path / "invoke_args_examples.pkl"
    for convert in (convert_invoke_args_to_jsonl, convert_invoke_args_to_pkl):
        with pytest.raises(DataError, match="example 2"):
            convert([EXAMPLES[0], {"Bodi": "x"}], tmp_path)
        with pytest.raises(DataError):
            convert([], tmp_path)
        with pytest.raises(OutputError):
            convert(EXAMPLES, tmp_path / "missing")


# -- JSON lines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        '{"Body": "1"}\r\n\r\n{"Body": "2"}\r\n',
        '{"Body": "1"}\n   \n\t\n{"Body": "2"}',
        b'\xef\xbb\xbf{"Body": "1"}\n{"Body": "2"}\n\n\n',
    ],
    ids=["CRLF", "blank lines, no final newline", "BOM"],
)
def test_harmless_differences_are_accepted(tmp_path, content):
    """A byte order mark, CRLF, blank lines and a missing final newline change nothing (C30, C31)."""
    assert [r.body for r in read_requests(written(tmp_path / "x.jsonl", content))] == [b"1", b"2"]


def test_binary_bodies_are_read_from_base64(tmp_path):
    """`BodyBase64` is decoded; invalid base64, or a Body beside it, is rejected."""
    encoded = base64.b64encode(bytes(range(256))).decode()
    path = written(tmp_path / "x.jsonl", json.dumps({"BodyBase64": encoded, "ContentType": "image/jpeg"}))
    assert read_requests(path) == (Request(bytes(range(256)), "image/jpeg"),)
    for wrong in ({"BodyBase64": "!"}, {"BodyBase64": "ü"}, {"BodyBase64": 5}, {"BodyBase64": "AA==", "Body": "x"}):
        assert_rejected(path, json.dumps(wrong), "1 of 1 lines")


@pytest.mark.parametrize("content", ["", "\n\n  \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
def test_a_file_without_requests_is_rejected(tmp_path, content):
    """An empty file, or one of blank lines, is rejected before anything is deployed (C27)."""
    assert_rejected(tmp_path / "x.jsonl", content, "no requests")


def test_invalid_lines_are_located(tmp_path):
    """The first five invalid lines are listed with their position, the others counted (C28)."""
    lines = ['{"Body": "x"}', '{"Body": }', "[1]", '{"Body": 5}', '{"Bodi": "x"}', "{", "5", "null", '{"Body": "y"}']
    error = assert_rejected(tmp_path / "x.jsonl", "\n".join(lines), "7 of 9 lines")
    places = ["line 2, column 10", "line 3:", "line 4:", "line 5:", "line 6, column 2", "and 2 more"]
    assert all(detail.startswith(place) for detail, place in zip(error.details, places, strict=True))


@pytest.mark.parametrize("content", ['{"Body": "x", "Score": NaN}', '{"Body": Infinity}', '{"Body": 1e400}', "NaN"])
def test_nan_and_infinity_are_rejected(tmp_path, content):
    """NaN, Infinity and 1e400 are not JSON, or not a body (C40)."""
    assert_rejected(tmp_path / "x.jsonl", content, "1 of 1 lines")


@pytest.mark.parametrize("opening", ["[", '{"Body":'])
def test_deep_nesting_is_rejected(tmp_path, opening):
    """100,000 levels of nesting raise a DataError instead of a RecursionError (C40)."""
    assert_rejected(tmp_path / "x.jsonl", opening * 100_000, "1 of 1 lines")


def test_other_encodings_are_reported(tmp_path):
    """UTF-16 is recognized, and other invalid bytes are located (C29, C30)."""
    assert_rejected(tmp_path / "x.jsonl", '{"Body": "ü"}'.encode("utf-16"), "UTF-16")
    assert_rejected(tmp_path / "x.jsonl", '{"Body": "ü"}'.encode("utf-16-be"), "UTF-8")
    error = assert_rejected(tmp_path / "x.jsonl", b'{"Body": "\xff"}', "byte 10")
    assert "BodyBase64" in error.hint


def test_an_oversize_body_is_rejected_before_anything_is_deployed(tmp_path):
    """A body of 4 MB is accepted and one byte more rejected; the limit can be raised (C32)."""
    path = tmp_path / "x.jsonl"
    assert len(read_requests(written(path, json.dumps({"Body": "a" * PAYLOAD_LIMIT_BYTES})))[0].body) == 4 * 2**20
    larger = json.dumps({"Body": "a" * (PAYLOAD_LIMIT_BYTES + 1)})
    assert_rejected(path, larger, "request 1 .* 4,194,305 bytes")
    assert len(read_requests(written(path, larger), limit_bytes=5_000_000)) == 1


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_rejected(tmp_path_factory, content):
    """Any file content gives requests or a DataError."""
    folder = tmp_path_factory.mktemp("any")
    for name in ("x.jsonl", "x.pkl"):
        try:
            assert read_requests(written(folder / name, content))
        except DataError:
            continue


def test_an_unreadable_path_is_an_input_error(tmp_path):
    """A missing file, an impossible file name and a pipe raise an InputError, and the pipe is not read (C26)."""
    os.mkfifo(tmp_path / "pipe.jsonl")
    for path in (tmp_path / "missing.jsonl", tmp_path / ("x" * 300), tmp_path / "a\0b.jsonl", tmp_path / "pipe.jsonl"):
        with pytest.raises(InputError):
            read_requests(path)


# -- directories ------------------------------------------------------------------------------------------------------


def test_a_directory_is_read_in_the_order_of_names(tmp_path):
    """Each file is a body, the content type is derived from the names, and hidden files are skipped."""
    for name, content in {"b.jpg": b"2", "a.jpg": b"1", ".DS_Store": b"x", "c.jpeg": b"3"}.items():
        written(tmp_path / name, content)
    assert read_requests(tmp_path) == tuple(Request(b, "image/jpeg") for b in (b"1", b"2", b"3"))
    assert read_requests(tmp_path, content_type="x/y")[0].content_type == "x/y"


def test_an_irregular_directory_is_rejected(tmp_path):
    """Mixed or unknown types need content_type; subdirectories, pipes and broken links are listed (C38)."""
    with pytest.raises(DataError, match="no requests"):
        read_requests(tmp_path)
    written(tmp_path / "a.jpg", b"1")
    written(tmp_path / "b.unknownsuffix", b"2")
    with pytest.raises(DataError, match="content type"):
        read_requests(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataError) as caught:
        read_requests(tmp_path, content_type="a/b")
    assert sorted(caught.value.details) == ["folder", "loop", "pipe"]


# -- pickles ----------------------------------------------------------------------------------------------------------


class Canary:
    """Pickles to a call; would leave a file behind if it were ever made."""

    def __init__(self, call, *arguments) -> None:
        self.call = call, arguments

    def __reduce__(self):
        return self.call


HOSTILE = {
    "os.system": lambda trap: pickle.dumps([{"Body": Canary(os.system, f"touch {trap}")}]),
    "eval": lambda trap: pickle.dumps(Canary(eval, f"open({str(trap)!r}, 'w')")),
    "exec": lambda trap: pickle.dumps(Canary(exec, f"open({str(trap)!r}, 'w')")),
    "open": lambda trap: pickle.dumps(Canary(open, str(trap), "w")),
    "print": lambda _trap: pickle.dumps(Canary(print, "x")),
    "getattr": lambda _trap: pickle.dumps(Canary(getattr, int, "real")),
    "old protocol": lambda trap: pickle.dumps(Canary(os.system, f"touch {trap}"), protocol=0),
    "GLOBAL": lambda trap: f"cos\nsystem\n(S'touch {trap}'\ntR.".encode(),
    "INST": lambda trap: f"(S'touch {trap}'\nios\nsystem\n.".encode(),
    "OBJ": lambda trap: f"(cos\nsystem\nS'touch {trap}'\no.".encode(),
    "STACK_GLOBAL": lambda trap: (
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([6 + len(str(trap))]) + f"touch {trap}".encode() + b"\x85R."
    ),
    "EXT1": lambda _trap: b"\x80\x02\x82\x01.",
    "persistent id": lambda _trap: b"Psomething\n.",
    "binary persistent id": lambda _trap: b"\x80\x04\x8c\x01xQ.",
    "a class": lambda _trap: pickle.dumps([Canary]),
    "an exception": lambda _trap: pickle.dumps(ValueError("x")),
    "out-of-band buffer": lambda _trap: b"\x80\x05\x97.",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_pickle_that_runs_code_is_rejected_and_runs_nothing(tmp_path, kind, capfd):
    """Nothing is imported, called or looked up for any opcode, and the file is rejected (C35)."""
    trap = tmp_path / "trap"
    content = HOSTILE[kind](trap)
    assert list(pickletools.genops(content))
    assert_rejected(tmp_path / "x.pkl", content, "rejected|not a complete pickle")
    assert not trap.exists()
    assert capfd.readouterr().out == ""


def test_a_pickle_with_a_call_beside_data_is_rejected_as_a_whole(tmp_path):
    """The valid examples before the call are not used."""
    trap = tmp_path / "trap"
    assert_rejected(tmp_path / "x.pkl", pickle.dumps([*IMAGES, {"Body": Canary(os.mkdir, str(trap))}]), "mkdir")
    assert not trap.exists()


def test_a_truncated_pickle_is_rejected_wherever_it_ends(tmp_path):
    """Every prefix of a valid file raises a DataError (C36)."""
    whole = pickle.dumps([{"Body": b"x" * 40, "ContentType": "a/b"}] * 3)
    for length in range(len(whole)):
        assert_rejected(tmp_path / "x.pkl", whole[:length], "pickle|contains")


@pytest.mark.parametrize(
    "value",
    [
        5,
        "text",
        None,
        {"Body": b"x"},
        {b"x"},
        [5],
        [[{"Body": b"x"}]],
        [{"Body": 5}],
        [{"Bodi": b"x"}],
        [{"Body": "\ud800"}],
    ],
)
def test_a_pickle_of_other_data_is_rejected(tmp_path, value):
    """Data that is not a list of arguments is located and rejected."""
    assert_rejected(tmp_path / "x.pkl", pickle.dumps(value), "not a list|example 1")


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x06N.", b"not a pickle", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f."]
)
def test_a_file_that_is_not_a_pickle_is_rejected(tmp_path, content):
    """An empty file, protocol 6, text and an absurd frame length raise a DataError (C36)."""
    assert_rejected(tmp_path / "x.pkl", content, "pickle")


def test_an_absurd_length_needs_no_memory(tmp_path):
    """A declared string length of 4 EB is rejected without allocating it."""
    assert_rejected(tmp_path / "x.pkl", b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.", "pickle")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("body", [b"\x89PNG\x00\xff", b"", bytearray(b"\x89PNG\xff"), bytearray(), "text"])
def test_bytes_of_every_pickle_protocol_are_plain_data(tmp_path, body, protocol):
    """Bytes and bytearray are read from every protocol, although the old ones write them as calls."""
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([{"Body": body, "ContentType": "image/png"}], protocol=protocol))
    (request,) = read_requests(path)
    assert request.body == (body.encode() if isinstance(body, str) else bytes(body))


class Call:
    """Pickles as a call of a function with arguments."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        Call(codecs.encode, "x", "rot13"),
        Call(codecs.encode, b"x", "zlib"),
        Call(codecs.encode, "\u20ac", "latin1"),
        Call(bytes, 10**12),
        Call(bytearray, 10**12),
        Call(bytearray, [1, 2]),
        Call(eval, "1"),
        Call(codecs.decode, b"x", "latin1"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_call_with_other_arguments_is_refused(tmp_path, call, protocol):
    """The calls that write plain bytes are allowed with their own arguments only; another codec or a size is not."""
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([{"Body": call}], protocol=protocol))
    with pytest.raises(DataError):
        read_requests(path)


def test_an_endpoint_name_in_an_example_is_ignored(tmp_path):
    """EndpointName is an argument of InvokeEndpoint, but the target names the endpoint."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"EndpointName": "ranker", "Body": "1", "ContentType": "text/csv"}\n')
    assert read_requests(path) == (Request(b"1", content_type="text/csv"),)


@pytest.mark.parametrize("body", ['{"inputs": "good morning"}', "[[1, 2]]"])
def test_a_body_that_is_an_object_is_refused_with_how_to_write_it(tmp_path, body):
    """A Body that is a JSON object or array is refused, and the message says to write it as text."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"Body": ' + body + "}\n")
    with pytest.raises(DataError) as caught:
        read_requests(path)
    assert "write it as text" in caught.value.details[0]


@pytest.mark.parametrize("name", [b"_codecs\nencode\n", b"builtins\nbytes\n"])
@pytest.mark.parametrize("state", [b"}X\x01\x00\x00\x00aK\x01s", b"N}X\x0c\x00\x00\x00__defaults__K\x01s\x86"])
def test_a_pickle_cannot_change_the_calls_that_are_allowed(tmp_path, name, state):
    """A pickle that sets an attribute of an allowed call, by its state or its slots, is refused."""
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02c" + name + state + b"b.")
    with pytest.raises(DataError, match="attribute"):
        read_requests(path)

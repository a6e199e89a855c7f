"""Payload files: what the predecessor and users write is read, everything else is located and refused, nothing runs."""

import base64
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


def refused(path, content, match, **more):
    with pytest.raises(DataError, match=match) as caught:
        read_requests(written(path, content), **more)
    assert "\n" not in str(caught.value)
    return caught.value


# -- the predecessor's files ------------------------------------------------------------------------------------------


def test_the_predecessor_s_json_lines_are_read(tmp_path):
    """Its converter writes json.dumps of each example and a line feed."""
    content = "".join(f"{json.dumps(example)}\n" for example in EXAMPLES)
    assert read_requests(written(tmp_path / "invoke_args_examples.jsonl", content)) == REQUESTS


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_the_predecessor_s_pickles_are_read(tmp_path, protocol):
    """Its converter pickles the list of examples; whichever protocol its Python had."""
    path = written(tmp_path / "invoke_args_examples.pkl", pickle.dumps(IMAGES, protocol=protocol))
    assert [r.arguments() for r in read_requests(path)] == IMAGES


bodies = st.binary(max_size=50) | st.text(st.characters(codec="utf-8"), max_size=50)
arguments = st.fixed_dictionaries(
    {"Body": bodies}, optional={"ContentType": st.just("a/b"), "InferenceId": st.just("i")}
)


@settings(max_examples=60)
@given(examples=st.lists(arguments, min_size=1, max_size=8))
@pytest.mark.parametrize("convert", [convert_invoke_args_to_jsonl, convert_invoke_args_to_pkl])
def test_what_is_converted_is_read_back(tmp_path_factory, convert, examples):
    """Both converters write a file that gives the same requests as the examples themselves."""
    path = convert(examples, tmp_path_factory.mktemp("converted"))
    assert list(read_requests(path)) == [Request.from_arguments(example) for example in examples]


def test_the_converters_names_and_errors(tmp_path):
    """File names are the predecessor's; what is no example is refused with its number, and so is a missing folder."""
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
    """C30, C31: a byte order mark, CRLF, blank lines and a missing newline change nothing."""
    assert [r.body for r in read_requests(written(tmp_path / "x.jsonl", content))] == [b"1", b"2"]


def test_binary_bodies_come_as_base64(tmp_path):
    """`BodyBase64` is decoded; beside a Body, or broken, it is refused."""
    encoded = base64.b64encode(bytes(range(256))).decode()
    path = written(tmp_path / "x.jsonl", json.dumps({"BodyBase64": encoded, "ContentType": "image/jpeg"}))
    assert read_requests(path) == (Request(bytes(range(256)), "image/jpeg"),)
    for wrong in ({"BodyBase64": "!"}, {"BodyBase64": "ü"}, {"BodyBase64": 5}, {"BodyBase64": "AA==", "Body": "x"}):
        refused(path, json.dumps(wrong), "1 of 1 lines")


@pytest.mark.parametrize("content", ["", "\n\n  \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
def test_a_file_without_requests_is_refused(tmp_path, content):
    """C27: an empty file, or one of blank lines, is wrong before anything is deployed."""
    refused(tmp_path / "x.jsonl", content, "no requests")


def test_bad_lines_are_located(tmp_path):
    """C28: the first five bad lines are named with their place, the rest is counted."""
    lines = ['{"Body": "x"}', '{"Body": }', "[1]", '{"Body": 5}', '{"Bodi": "x"}', "{", "5", "null", '{"Body": "y"}']
    error = refused(tmp_path / "x.jsonl", "\n".join(lines), "7 of 9 lines")
    places = ["line 2, column 10", "line 3:", "line 4:", "line 5:", "line 6, column 2", "and 2 more"]
    assert all(detail.startswith(place) for detail, place in zip(error.details, places, strict=True))


@pytest.mark.parametrize("content", ['{"Body": "x", "Score": NaN}', '{"Body": Infinity}', '{"Body": 1e400}', "NaN"])
def test_numbers_that_are_none_are_refused(tmp_path, content):
    """C40: NaN, Infinity and 1e400 are not JSON, or no body."""
    refused(tmp_path / "x.jsonl", content, "1 of 1 lines")


@pytest.mark.parametrize("opening", ["[", '{"Body":'])
def test_deep_nesting_is_refused(tmp_path, opening):
    """C40: 100,000 levels end in a DataError and not in a RecursionError."""
    refused(tmp_path / "x.jsonl", opening * 100_000, "1 of 1 lines")


def test_other_encodings_are_named(tmp_path):
    """C29, C30: UTF-16 is recognised, other bytes are located."""
    refused(tmp_path / "x.jsonl", '{"Body": "ü"}'.encode("utf-16"), "UTF-16")
    refused(tmp_path / "x.jsonl", '{"Body": "ü"}'.encode("utf-16-be"), "UTF-8")
    error = refused(tmp_path / "x.jsonl", b'{"Body": "\xff"}', "byte 10")
    assert "BodyBase64" in error.hint


def test_an_oversize_body_is_refused_before_anything_is_deployed(tmp_path):
    """C32: 4 MB pass, one byte more does not; the limit can be raised."""
    path = tmp_path / "x.jsonl"
    assert len(read_requests(written(path, json.dumps({"Body": "a" * PAYLOAD_LIMIT_BYTES})))[0].body) == 4 * 2**20
    larger = json.dumps({"Body": "a" * (PAYLOAD_LIMIT_BYTES + 1)})
    refused(path, larger, "request 1 .* 4,194,305 bytes")
    assert len(read_requests(written(path, larger), limit_bytes=5_000_000)) == 1


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    """Whatever is in the file: requests, or a DataError."""
    folder = tmp_path_factory.mktemp("any")
    for name in ("x.jsonl", "x.pkl"):
        try:
            assert read_requests(written(folder / name, content))
        except DataError:
            continue


def test_what_cannot_be_read_says_so(tmp_path):
    """C26: missing files, and names no file system takes, are InputErrors; a pipe is no file, and nobody waits for it."""
    os.mkfifo(tmp_path / "pipe.jsonl")
    for path in (tmp_path / "missing.jsonl", tmp_path / ("x" * 300), tmp_path / "a\0b.jsonl", tmp_path / "pipe.jsonl"):
        with pytest.raises(InputError):
            read_requests(path)


# -- directories ------------------------------------------------------------------------------------------------------


def test_a_directory_is_read_in_the_order_of_names(tmp_path):
    """Each file is a body; the content type comes from the names; hidden files are left out."""
    for name, content in {"b.jpg": b"2", "a.jpg": b"1", ".DS_Store": b"x", "c.jpeg": b"3"}.items():
        written(tmp_path / name, content)
    assert read_requests(tmp_path) == tuple(Request(b, "image/jpeg") for b in (b"1", b"2", b"3"))
    assert read_requests(tmp_path, content_type="x/y")[0].content_type == "x/y"


def test_a_directory_that_is_not_plain_is_refused(tmp_path):
    """C38: mixed or unknown types need a name; folders, pipes and dangling links are listed; empty is empty."""
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
    "bytes as of Python 2": lambda _trap: pickle.dumps([{"Body": b"\xff"}], protocol=2),
    "out-of-band buffer": lambda _trap: b"\x80\x05\x97.",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path, kind, capfd):
    """C35: nothing is imported, called or looked up, whatever the opcodes; the file is refused."""
    trap = tmp_path / "trap"
    content = HOSTILE[kind](trap)
    assert list(pickletools.genops(content))
    refused(tmp_path / "x.pkl", content, "rejected|not a complete pickle")
    assert not trap.exists()
    assert capfd.readouterr().out == ""


def test_a_pickle_with_a_call_beside_plain_data_is_refused_as_a_whole(tmp_path):
    """The good examples before the bad one are not used."""
    trap = tmp_path / "trap"
    refused(tmp_path / "x.pkl", pickle.dumps([*IMAGES, {"Body": Canary(os.mkdir, str(trap))}]), "mkdir")
    assert not trap.exists()


def test_a_truncated_pickle_is_refused_wherever_it_ends(tmp_path):
    """C36: every prefix of a sound file is a DataError."""
    whole = pickle.dumps([{"Body": b"x" * 40, "ContentType": "a/b"}] * 3)
    for length in range(len(whole)):
        refused(tmp_path / "x.pkl", whole[:length], "pickle|contains")


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
def test_a_pickle_of_something_else_is_refused(tmp_path, value):
    """Plain data that is not a list of arguments is located and refused."""
    refused(tmp_path / "x.pkl", pickle.dumps(value), "not a list|example 1")


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x06N.", b"not a pickle", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f."]
)
def test_what_is_no_pickle_is_refused(tmp_path, content):
    """C36: no file, protocol 6, text, an absurd frame."""
    refused(tmp_path / "x.pkl", content, "pickle")


def test_an_absurd_length_needs_no_memory(tmp_path):
    """A string said to be 4 EB long is refused at once."""
    refused(tmp_path / "x.pkl", b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.", "pickle")

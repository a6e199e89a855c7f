"""An atomic write replaces the whole file or leaves it as it was."""

import json

import pytest

from loadgen.atomic_file import PARTIAL_SUFFIX, atomic_write, atomic_write_json


def test_a_finished_block_replaces_the_file(tmp_path):
    """The new content is under the file's name, and no temporary file remains."""
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_block_keeps_the_file(tmp_path):
    """After an error in the block the file has its former content; the temporary file has the known suffix."""
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert {p.name for p in tmp_path.iterdir()} == {"file.bin", f"file.bin{PARTIAL_SUFFIX}"}


def test_json_is_written_indented(tmp_path):
    """A JSON file is the value, indented, with a line break at its end."""
    atomic_write_json(tmp_path / "a.json", {"b": [1, 2]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"b": [1, 2]}
    assert text == json.dumps({"b": [1, 2]}, indent=2) + "\n"

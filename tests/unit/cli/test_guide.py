"""The command `guide` lists, finds and prints guide pages."""

import re

import pytest

from loadgen.cli import guide
from loadgen.cli.guide import GuidePage, find_page, format_index, read_pages
from loadgen.cli.main import main
from loadgen.errors import ConfigError, UsageError


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A guide of three pages."""
    for name, text in {
        "01-load-models.md": "# Load models\n\nHow load is offered, in\ntwo models. More.\n\n## Open loop\n",
        "02-cost.md": "# Cost\n\nWhat a call costs.\n",
        "10-choosing.md": "# Choosing memory\n\n| a | b |\n|---|---|\n\nNo full stop\n",
        "README.md": "# Not a page\n",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(guide, "_guide_directory", lambda: tmp_path)
    return tmp_path


def test_the_index_lists_number_title_topic_and_first_sentence(directory, capsys):
    """Without a topic, stdout has one line per page in the order of the numbers."""
    assert main(["guide"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if re.match(r"\d", line)] == [
        "1. **Load models** (`load-models`). How load is offered, in two models.",
        "2. **Cost** (`cost`). What a call costs.",
        "10. **Choosing memory** (`choosing`). No full stop",
    ]


@pytest.mark.parametrize("topic", ["1", "01", "load-models", "Load", "l", "01-load-models.md"])
def test_a_topic_is_a_number_a_name_or_an_unambiguous_prefix(directory, topic, capsys):
    """The page is printed as it is when stdout is not a terminal."""
    assert main(["guide", topic]) == 0
    assert capsys.readouterr().out == (directory / "01-load-models.md").read_text()


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("c", "guide topic 'c' is ambiguous; one of cost, choosing"),
        ("cots", "no guide page 'cots'; did you mean cost?"),
        ("models", "no guide page 'models'; did you mean load-models?"),
        ("xyz", "no guide page 'xyz'; one of load-models, cost, choosing"),
        ("3", "no guide page '3'; one of"),
        ("", "no guide page ''; one of"),
    ],
)
def test_an_unknown_or_ambiguous_topic_is_a_usage_error(directory, topic, message):
    """The message suggests similar topics, or lists all."""
    with pytest.raises(UsageError) as raised:
        find_page(read_pages(directory), topic)
    assert str(raised.value).startswith(message)


def test_an_exact_name_wins_over_a_longer_one():
    """A topic that is a name is not ambiguous when another name begins with it."""
    pages = [GuidePage(1, "cost", ""), GuidePage(2, "cost-models", "")]
    assert find_page(pages, "cost") is pages[0]


def test_a_terminal_gets_rendered_text_in_80_columns(directory, monkeypatch, capsys):
    """In a terminal of 120 columns no line is longer than 80, and headings have no Markdown syntax."""
    (directory / "02-cost.md").write_text("# Cost\n\n" + "word " * 60 + "\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "dumb")
    assert main(["guide", "cost"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 40 < max(map(len, lines)) <= 80
    assert not [line for line in lines if "#" in line or "|" in line]


def test_an_installation_without_pages_is_a_configuration_error(tmp_path):
    """A missing or empty directory is a ConfigError."""
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match="no guide pages"):
            read_pages(directory)


def test_the_shipped_pages_are_numbered_and_have_a_title_and_a_first_sentence():
    """Numbers are 1, 2, 3, ..., so that the rendered list shows the numbers that TOPIC accepts."""
    directory = guide._guide_directory()
    pages = read_pages(directory) if directory.is_dir() else []
    assert [page.number for page in pages] == list(range(1, len(pages) + 1))
    assert all(page.text.startswith("# ") and page.first_sentence.endswith(".") for page in pages)
    assert format_index(pages)

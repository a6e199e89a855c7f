"""The command `guide`: print the guide pages that ship with loadgen.

Pages are `loadgen/guide/NN-name.md`. In a terminal they are rendered in 80 columns; otherwise the Markdown is printed.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from loadgen.cli.options import AddParser, add_debug_option
from loadgen.errors import ConfigError, ExitStatus, UsageError

_WIDTH = 80


def add_parser(add: AddParser) -> None:
    """Add the command's parser."""
    parser = add(
        "guide",
        help="print a page of the guide; without a topic, list the pages",
        description="Print a page of the guide. Without a topic, list the pages.",
    )
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help="number, name or beginning of the name of a page")
    add_debug_option(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> ExitStatus:
    """Print a page, or the list of pages.

    Raises:
        UsageError: no page has this number or name, or several names begin with it.
        ConfigError: this installation has no guide.
    """
    pages = read_pages(_guide_directory())
    text = format_index(pages) if options.topic is None else find_page(pages, options.topic).text
    if not sys.stdout.isatty():
        sys.stdout.write(text)
        return ExitStatus.OK
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    console = Console(theme=Theme({"markdown.code": "bold cyan"}))  # without rich's black background
    # Hyperlinks would hide the file names of linked pages, which are topics as well.
    page = Markdown(text, code_theme="ansi_dark", hyperlinks=False)
    console.print(page, width=min(_WIDTH, console.width))
    return ExitStatus.OK


@dataclass(frozen=True, slots=True)
class GuidePage:
    """One page of the guide.

    Args:
        number: position in the guide, from 1.
        name: topic, such as `cost`.
        text: the Markdown.
    """

    number: int
    name: str
    text: str

    @property
    def title(self) -> str:
        """The first heading; the name without one."""
        heading = re.search(r"^# +(.+)$", self.text, re.MULTILINE)
        return heading[1].strip() if heading else self.name

    @property
    def first_sentence(self) -> str:
        """The first sentence of the first paragraph, on one line; empty without one."""
        for block in re.split(r"\n\s*\n", self.text):
            if not block.lstrip().startswith(("#", "|", "```", "!", "- ")):
                sentence = re.match(r".+?[.!?](?=\s|$)", " ".join(block.split()))
                return sentence[0] if sentence else " ".join(block.split())
        return ""


def _guide_directory() -> Traversable:
    return resources.files("loadgen") / "guide"


def read_pages(directory: Traversable) -> list[GuidePage]:
    """Read the files NN-name.md of a directory, in the order of their numbers.

    Raises:
        ConfigError: there are none.
    """
    names = [entry.name for entry in directory.iterdir()] if directory.is_dir() else []
    found = [match for name in names if (match := re.fullmatch(r"(\d+)-(.+)\.md", name))]
    if not found:
        raise ConfigError("this installation of loadgen has no guide pages", hint="install loadgen again")
    pages = [GuidePage(int(match[1]), match[2], (directory / match[0]).read_text("utf-8")) for match in found]
    return sorted(pages, key=lambda page: page.number)


def format_index(pages: Sequence[GuidePage]) -> str:
    """Return the list of pages as Markdown: number, title, topic and first sentence of each."""
    lines = ["# Guide", "", "`python -m loadgen guide TOPIC` prints a page; TOPIC is its number or name.", ""]
    lines += [f"{page.number}. **{page.title}** (`{page.name}`). {page.first_sentence}".rstrip() for page in pages]
    return "\n".join(lines) + "\n"


def find_page(pages: Sequence[GuidePage], topic: str) -> GuidePage:
    """Return the page with this number, name, or unambiguous beginning of a name.

    Raises:
        UsageError: no page matches, or several do.
    """
    # Links between pages name files: 03-cost.md is the topic cost.
    name = re.sub(r"^\d+-|\.md$", "", topic.strip().lower())
    exact = [page for page in pages if name == page.name or (name.isdecimal() and int(name) == page.number)]
    matches = exact or [page for page in pages if name and page.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        listed = ", ".join(page.name for page in matches)
        raise UsageError(f"guide topic {topic!r} is ambiguous", hint=f"one of {listed}")
    names = [page.name for page in pages]
    similar = difflib.get_close_matches(name, names) or [n for n in names if name and name in n]
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"one of {', '.join(names)}"
    raise UsageError(f"no guide page {topic!r}", hint=hint)

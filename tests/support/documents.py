"""The documents of the project and their code blocks."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "loadgen" / "guide").glob("*.md")),
    ROOT / "bench" / "README.md",
    ROOT / "scenarios" / "README.md",
    ROOT / "tests" / "README.md",
    ROOT / ".github" / "CONTRIBUTING.md",
]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block.

    Args:
        page: path of the document below the root of the repository.
        number: of the block on its page, from 1.
        kind: language, such as `python` or `sh`.
        text: the code.
    """

    page: str
    number: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.number}"

    def commands(self) -> list[list[str]]:
        """Return the arguments of each command, without comments."""
        lines = [shlex.split(line, comments=True) for line in self.text.splitlines()]
        return [argv for argv in lines if argv]


def blocks(kind: str) -> list[Block]:
    """Return all code blocks of a kind, in order."""
    return [
        Block(page.relative_to(ROOT).as_posix(), number, found, text)
        for page in PAGES
        for number, (found, text) in enumerate(_BLOCK.findall(page.read_text("utf-8")), 1)
        if found == kind
    ]


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return _BLOCK.sub("", page.read_text("utf-8"))

"""Writes the files of a comparison and prints it."""

import sys
from pathlib import Path

from rich.console import Console

from loadgen.comparison.comparison import Comparison
from loadgen.errors import WriteError
from loadgen.report.formats.comparison_files import comparison_json, comparison_junit, comparison_markdown
from loadgen.report.formats.comparison_page import render_comparison
from loadgen.report.formats.comparison_terminal import render_comparison_text

PAGE_NAME = "comparison.html"
_PIPED_WIDTH = 120


def write_comparison(directory: Path, comparison: Comparison, *, step_summary: str = "") -> Path:
    """Write comparison.html, comparison.json, comparison.md and junit.xml; identical input gives identical bytes.

    Args:
        directory: where to; it is created.
        comparison: the comparison.
        step_summary: path of a file to which the Markdown is appended, such as that of GITHUB_STEP_SUMMARY; empty for
            none.

    Returns:
        The path of the page.

    Raises:
        WriteError: writing failed.
    """
    markdown = comparison_markdown(comparison)
    files = {
        PAGE_NAME: render_comparison(comparison),
        "comparison.json": comparison_json(comparison),
        "comparison.md": markdown,
        "junit.xml": comparison_junit(comparison),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_bytes(text.encode())
        if step_summary:
            with Path(step_summary).open("ab") as summary:
                summary.write(markdown.encode())
    except OSError as error:
        raise WriteError(
            f"cannot write the comparison to {error.filename or directory}: {error.strerror}",
            hint="choose another --out; the runs are not changed",
        ) from error
    return directory / PAGE_NAME


def print_comparison(comparison: Comparison, page: Path) -> None:
    """Print the comparison and the path of its page on stdout."""
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    console.print(render_comparison_text(comparison))
    console.print(f"\nComparison: {page}", markup=False, highlight=False, soft_wrap=True)

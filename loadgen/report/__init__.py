"""Everything a person reads: pure functions of saved runs, the same bytes for the same input."""

from pathlib import Path

from loadgen.findings import Findings
from loadgen.manifest import Manifest


def write_report(directory: Path, manifest: Manifest, findings: Findings) -> Path:
    """Write all tables, pictures and the page of an output directory, and return the page's path.

    Raises:
        WriteError: the disk refused.
    """
    # Drawing takes a third of a second to import: whoever only wants tables in a terminal does not pay for it.
    from loadgen.report.write import write_report as write  # noqa: PLC0415

    return write(directory, manifest, findings)


__all__ = ["write_report"]

"""Where the numbers come from, in words that no reader can miss: what was not measured on AWS says so everywhere."""

from dataclasses import dataclass

from loadgen.analysis.analysis import Analysis
from loadgen.report.content.table import sanitize_text
from loadgen.results.manifest import Manifest


@dataclass(frozen=True, slots=True)
class ProvenanceView:
    """How a report names the place it was measured at.

    Args:
        watermark: one word across every page, empty for AWS.
        headline: the banner's first line.
        explanation: the rest of it.
        name: for a line of text, such as `AWS, account 123456789012, us-east-1`.
    """

    watermark: str
    headline: str
    explanation: str
    name: str


_WATERMARKS = {
    "emulator": (
        "EMULATOR",
        "Measured on the embedded emulator, not on AWS.",
        "A rehearsal: these figures are an emulated model's. They must not be used to configure a real one.",
    ),
    "custom-endpoint": (
        "STAND-IN",
        "Measured on a stand-in that speaks AWS's protocol, not on AWS.",
        "Latencies and limits are those of that server; costs are what AWS would ask for them.",
    ),
    "null": (
        "NO TARGET",
        "Measured without a target: only the generator was running.",
        "The numbers show what the generator itself can do, and nothing about any model.",
    ),
}


def provenance_view(manifest: Manifest) -> ProvenanceView:
    """Return how to name the place; whatever does not say that it is AWS is marked as something else."""
    where = manifest.identity
    parts = [where.kind.upper() if where.kind == "aws" else where.kind]
    parts += [f"account {where.account_id}"] if where.account_id else []
    parts += [where.region, where.detail]
    name = ", ".join(sanitize_text(part) for part in parts if part)
    if where.kind == "aws":
        return ProvenanceView("", "", "", name)
    mark, headline, explanation = _WATERMARKS.get(
        where.kind, ("NOT AWS", "Not measured on AWS.", "What it was measured on is named below.")
    )
    detail = f" ({sanitize_text(where.detail)})" if where.detail else ""
    return ProvenanceView(mark, headline, explanation + detail, name)


def watermark_text(manifest: Manifest, analysis: Analysis) -> str:
    """Return what every copy of a picture must say: that it is not from AWS, that its run is INVALID; or nothing."""
    mark = provenance_view(manifest).watermark
    said = [f"{mark}: not measured on AWS"] if mark else []
    return ". ".join([*said, "INVALID run: see the reasons in the report"] if not analysis.verdict.is_valid else said)

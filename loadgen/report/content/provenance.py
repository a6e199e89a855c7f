"""Where a report was measured: the banner, the watermark, and a name for a line of text."""

from dataclasses import dataclass

from loadgen.analysis.analysis import Analysis
from loadgen.report.content.table import sanitize_text
from loadgen.results.manifest import Manifest


@dataclass(frozen=True, slots=True)
class ProvenanceView:
    """How a report shows where it was measured.

    Args:
        watermark: text across every page; empty for AWS.
        headline: first sentence of the banner.
        explanation: rest of the banner.
        name: name for a line of text, such as `AWS, account 123456789012, us-east-1`.
    """

    watermark: str
    headline: str
    explanation: str
    name: str


_WATERMARKS = {
    "emulator": (
        "EMULATOR",
        "Measured on the embedded emulator, not on AWS.",
        "The latencies are those of an emulated model. Do not use them to configure a real endpoint.",
    ),
    "custom-endpoint": (
        "CUSTOM ENDPOINT",
        "Measured on a custom endpoint that implements the AWS API, not on AWS.",
        "Latencies and limits are those of that server; costs use AWS prices.",
    ),
    "null": (
        "NO TARGET",
        "Measured without a target.",
        "The numbers show the capacity of the load generator, not the performance of a model.",
    ),
}
_OTHER_WATERMARK = ("NOT AWS", "Not measured on AWS.", "The configuration below names the target.")


def provenance_view(manifest: Manifest) -> ProvenanceView:
    """Return how to show where a report was measured; every kind other than `aws` has a watermark."""
    identity = manifest.identity
    parts = [identity.kind.upper() if identity.kind == "aws" else identity.kind]
    parts += [f"account {identity.account_id}"] if identity.account_id else []
    parts += [identity.region, identity.detail]
    name = ", ".join(sanitize_text(part) for part in parts if part)
    if identity.kind == "aws":
        return ProvenanceView("", "", "", name)
    watermark, headline, explanation = _WATERMARKS.get(identity.kind, _OTHER_WATERMARK)
    detail = f" ({sanitize_text(identity.detail)})" if identity.detail else ""
    return ProvenanceView(watermark, headline, explanation + detail, name)


def watermark_text(manifest: Manifest, analysis: Analysis) -> str:
    """Return the text on every chart if it was not measured on AWS or its run is INVALID; empty otherwise."""
    watermark = provenance_view(manifest).watermark
    texts = [f"{watermark}: not measured on AWS"] if watermark else []
    texts += [] if analysis.verdict.is_valid else ["INVALID run: see the reasons in the report"]
    return ". ".join(texts)

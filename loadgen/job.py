"""Job: one scenario from its file to its report. What the command line and the predecessor's calls have in common."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadgen.errors import ConfigError, DataError, ExitStatus, worst
from loadgen.findings import Findings, find
from loadgen.prices import PriceBook
from loadgen.report import write_report
from loadgen.results import Results
from loadgen.runners import local
from loadgen.runners.circumstances import Circumstances
from loadgen.runners.crew import Crew
from loadgen.runners.local import Finished
from loadgen.runners.precautions import Precautions
from loadgen.runners.sweep import Cause, Progress
from loadgen.scenario import LoadedScenario
from loadgen.target import Account
from loadgen.verdict import Reason


async def carry_out(
    loaded: LoadedScenario,
    out: Path | None,
    *,
    command: str,
    progress: Progress,
    stop: asyncio.Event,
    crew: Crew | None = None,
    precautions: Precautions | None = None,
    reached: Callable[[Account, str], None] | None = None,
    run_id: str = "",
) -> Finished | None:
    """Run a scenario and keep everything under `out`, or under a new directory in ./results.

    Returns:
        What became of it; None after a dry run.

    Raises:
        LoadgenError: it could not start; nothing was created.
    """
    about = Circumstances.of(loaded, command=command, run_id=run_id)
    allowed = precautions or Precautions()
    directory = out or about.default_out(Path("results"))
    if allowed.is_resumed:
        about = replace(about, run_id=_resumable(directory).manifest.run_id)
    return await local.carry_out(
        loaded.scenario,
        directory,
        run_id=about.run_id,
        describe=about.manifest,
        progress=progress,
        stop=stop,
        crew=crew,
        precautions=allowed,
        reached=reached,
    )


def _resumable(directory: Path) -> Results:
    try:
        return Results.open(directory)
    except DataError as error:
        raise ConfigError(f"{directory} cannot be resumed: {error.message}", hint=error.hint) from error


def report(results: Results, *, partial: str | None = None) -> tuple[Findings, Path]:
    """Make every table and page of an output directory from its saved runs; the same again, byte for byte.

    Args:
        results: the output directory.
        partial: why it is only a part of what was planned; None reads it from there.

    Returns:
        What was found, and the path of the HTML page.

    Raises:
        DataError: what was saved is damaged beyond reading.
        WriteError: the disk refused.
    """
    settings = results.manifest.settings
    findings = find(
        results.export(),
        region=results.manifest.identity.region,
        prices=PriceBook.builtin(),
        objective=settings.get("objective", "balanced"),
        instance=settings.get("instance"),
        slos=settings.get("slos", ()),
    )
    why = results.partial() if partial is None else partial
    if why:
        note = f"PARTIAL: not all that was planned was measured: {why}"
        findings = replace(findings, verdict=replace(findings.verdict, notes=(note, *findings.verdict.notes)))
    return findings, write_report(results.path, results.manifest, findings)


def result(finished: Finished, causes: Sequence[Cause], findings: Findings | None) -> dict[str, Any]:
    """Return what result.json says: how the whole of it ended, as plain values.

    Args:
        finished: what became of the scenario.
        causes: everything that speaks for an exit status; the one that costs most wins.
        findings: what its runs say; None when no report could be made.
    """
    status = worst([cause.status for cause in causes])
    cleanup = f"python -m loadgen cleanup {finished.results.manifest.run_id}"
    return {
        "run": finished.results.manifest.run_id,
        "exit": {
            "code": int(status),
            "name": status.name,
            "causes": [{"code": int(c.status), "name": c.status.name, "what": c.what} for c in causes],
        },
        "verdict": str(findings.verdict) if findings is not None else None,
        "reasons": [_told(reason) for reason in findings.verdict.reasons] if findings is not None else [],
        "partial": finished.partial,
        "leftovers": [
            {
                "kind": leftover.kind,
                "name": leftover.name,
                "billable": leftover.is_billable,
                "last_error": leftover.trouble,
                "remove": leftover.removal,
                "cleanup": cleanup,
            }
            for leftover in finished.leftovers
        ],
    }


def causes_of(finished: Finished, findings: Findings | None) -> list[Cause]:
    """Return everything that speaks for an exit status other than 0."""
    causes = list(finished.causes)
    if findings is not None:
        if not findings.verdict.is_valid:
            causes.append(Cause(ExitStatus.INVALID, "; ".join(_told(r) for r in findings.verdict.reasons)))
        causes += [Cause(ExitStatus.THRESHOLD, check.reason) for check in findings.broken_slos]
    return causes


def _told(reason: Reason) -> str:
    return f"{reason.what}: {reason.figure}, accepted is {reason.bound}"

"""Job: one scenario from its file to its report. What the command line and the predecessor's calls have in common."""

import asyncio
from pathlib import Path

from loadgen.findings import Findings, find
from loadgen.prices import PriceBook
from loadgen.report import write_report
from loadgen.results import Results
from loadgen.runners import local
from loadgen.runners.circumstances import Circumstances
from loadgen.runners.crew import Crew
from loadgen.runners.local import Finished, Progress
from loadgen.scenario import LoadedScenario


async def carry_out(
    loaded: LoadedScenario,
    out: Path | None,
    *,
    command: str,
    progress: Progress,
    stop: asyncio.Event,
    crew: Crew | None = None,
) -> Finished:
    """Run a scenario and keep everything under `out`, or under a new directory in ./results.

    Raises:
        LoadgenError: it could not start, or could not be kept.
    """
    about = Circumstances.of(loaded, command=command)
    return await local.carry_out(
        loaded.scenario,
        out or about.default_out(Path("results")),
        run_id=about.run_id,
        describe=about.manifest,
        progress=progress,
        stop=stop,
        crew=crew,
    )


def report(results: Results) -> tuple[Findings, Path]:
    """Make every table and page of an output directory from its saved runs; the same again, byte for byte.

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
    return findings, write_report(results.path, results.manifest, findings)

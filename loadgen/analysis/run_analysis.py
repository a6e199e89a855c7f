"""RunAnalysis: one run with its summary, verdict, cost and SLO checks."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.cost import Cost, cost_of_run
from loadgen.analysis.prices import PriceBook
from loadgen.analysis.slo import Slo, SloCheck, check_slos
from loadgen.analysis.summary import Summary, summarize
from loadgen.analysis.verdict import DEFAULT_LIMITS, ValidityLimits, Verdict, judge
from loadgen.measurement.run import Run


@dataclass(frozen=True, slots=True)
class RunAnalysis:
    """One run with the values derived from it.

    Args:
        run: the run.
        summary: its counts and distributions.
        verdict: whether its numbers are valid.
        cost: cost of its configuration; None if nothing was deployed or no call succeeded.
        slos: one check per SLO.
    """

    run: Run
    summary: Summary
    verdict: Verdict
    cost: Cost | None
    slos: tuple[SloCheck, ...] = ()

    @property
    def memory_mb(self) -> int | None:
        """The memory size; None for an existing endpoint."""
        config = self.run.step.config
        return None if config is None else config.memory_mb


def analyze_run(
    run: Run,
    *,
    region: str,
    prices: PriceBook,
    limits: ValidityLimits = DEFAULT_LIMITS,
    slos: Sequence[Slo] = (),
) -> RunAnalysis:
    """Derive summary, verdict, cost and SLO checks from one run.

    Args:
        run: the run.
        region: AWS region whose prices apply.
        prices: the price book.
        limits: limits of the validity checks.
        slos: SLOs to check.
    """
    summary = summarize(run)
    cost = cost_of_run(run, summary, prices, region)
    checks = check_slos(slos, run=run, summary=summary, cost=cost)
    return RunAnalysis(run, summary, judge(run, limits, [slo.metric for slo in slos]), cost, checks)

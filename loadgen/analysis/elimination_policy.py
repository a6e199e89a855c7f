"""EliminationPolicy: ends the memory sizes of a benchmark in rounds that need no more calls. Pure.

It judges by the same code as the recommendation (run_analysis.py, recommendation.py), on the calls so far. CloudWatch
has no figures yet, so that billed durations are the client's.
"""

from collections.abc import Mapping, Sequence

from loadgen.analysis.elimination import eliminate
from loadgen.analysis.prices import PriceBook
from loadgen.analysis.recommendation import instability_reason, slo_violations
from loadgen.analysis.run_analysis import RunAnalysis, analyze_run
from loadgen.analysis.size_choice import Objective
from loadgen.analysis.size_series import size_series
from loadgen.analysis.slo import Slo
from loadgen.measurement.round_policy import MeasuredStep
from loadgen.measurement.run import Run
from loadgen.measurement.tally import Tally

_EVERY_ROUND = 10  # rounds after each of which is looked; later the looks are further apart, a tenth of the rounds


class EliminationPolicy:
    """A RoundPolicy that drops sizes which cannot be recommended any more, and ends a benchmark that is decided.

    Args:
        objective: what the recommendation optimizes.
        confidence: probability that no size was dropped wrongly.
        slos: a size is not dropped in favour of one that violates an SLO.
        prices: the price book.
    """

    def __init__(self, objective: Objective, confidence: float, *, slos: Sequence[Slo], prices: PriceBook) -> None:
        self._objective = objective
        self._confidence = confidence
        self._slos = slos
        self._prices = prices

    def steps_to_end(self, measured: Sequence[MeasuredStep]) -> Mapping[int, str]:
        """Return the open steps that need no more calls, with the reason (see RoundPolicy)."""
        rounds = max((block.round for step in measured if step.is_open for block in step.blocks), default=0)
        if not _is_look(rounds):
            return {}
        # A size that was dropped stays dropped: with its few calls, a later look could not tell it from the best again.
        kept = {index: step for index, step in enumerate(measured) if step.stop_reason != "decided"}
        analyzed = {index: self._analyze(step) for index, step in kept.items() if len(step.samples)}
        rows = {index: row for index, row in analyzed.items() if not instability_reason(row)}
        is_priced = all(row.cost is not None and row.cost.per_million is not None for row in rows.values())
        series = {index: size_series(row, is_priced=is_priced) for index, row in rows.items()}
        compared = {index: one for index, one in series.items() if one is not None}
        violating = slo_violations(list(rows.values()))
        found = eliminate(
            list(compared.values()),
            self._objective,
            confidence=self._confidence,
            look=sum(map(_is_look, range(1, rounds + 1))),
            eligible=[one.memory_mb for one in compared.values() if one.memory_mb not in violating],
        )
        # A size that is not stable is not recommended: it decides nothing, and is measured to its end.
        reasons = {index: found.dropped.get(one.memory_mb, found.reason) for index, one in compared.items()}
        return {index: reason for index, reason in reasons.items() if reason and measured[index].is_open}

    def _analyze(self, measured: MeasuredStep) -> RunAnalysis:
        tally = Tally()
        tally.record_samples(measured.samples, with_response=False)
        run = Run(
            step=measured.step,
            started=measured.blocks[0].started if measured.blocks else 0.0,
            duration=float(measured.samples["done"].max()),
            stop_reason=measured.stop_reason,
            scheduled=len(measured.samples),
            tally=tally,
            samples=measured.samples,
            blocks=measured.blocks,
        )
        return analyze_run(run, region=measured.region, prices=self._prices, slos=self._slos)


def _is_look(round_number: int) -> bool:
    """Tell whether the data is looked at after a round: each look costs some certainty.

    Example:
        >>> [number for number in range(1, 31) if _is_look(number)]
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 21, 24, 27, 30]
    """
    return round_number > 0 and round_number % -(-round_number // _EVERY_ROUND) == 0

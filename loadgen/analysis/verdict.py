"""The verdict on a run: VALID, or INVALID with reasons, from what the load generator measured about itself.

Errors, throttles and slow responses of the target are results and not reasons, unless no call was ok: then nothing was
measured. A run is INVALID when a figure that its conclusions use was moved by the generator or by a late emulator, when
requests were lost or dropped, when the result files are damaged, or when the server-side counts differ.
"""

from collections.abc import Collection

from loadgen.analysis.validity.checks import check_figures, check_ok_calls, check_run
from loadgen.analysis.validity.figures import conclusion_figures, judge_figures
from loadgen.analysis.validity.limits import DEFAULT_LIMITS, ValidityLimits
from loadgen.analysis.validity.notes import notes_on, notes_on_figures
from loadgen.analysis.validity.reason import NO_OK_CALLS, Reason, Verdict
from loadgen.measurement.run import Run

__all__ = ["DEFAULT_LIMITS", "NO_OK_CALLS", "Reason", "ValidityLimits", "Verdict", "judge"]


def judge(run: Run, limits: ValidityLimits = DEFAULT_LIMITS, slo_metrics: Collection[str] = ()) -> Verdict:
    """Return the verdict on a run.

    Args:
        run: the run.
        limits: limits of the checks.
        slo_metrics: metrics of the SLOs that are checked on it; their figures must be valid. Without them these are
            the mean, p50, p95 and TPS; of a benchmark's memory sizes always the mean and p50.
    """
    if run.failure and not run.scheduled:
        return Verdict(tuple(check_ok_calls(run, limits)))
    figures = judge_figures(run, limits)
    used = conclusion_figures(run, slo_metrics)
    return Verdict(
        (*check_run(run, limits), *check_figures(run, figures, used)),
        (*notes_on(run, limits), *notes_on_figures(figures, used)),
        figures,
    )

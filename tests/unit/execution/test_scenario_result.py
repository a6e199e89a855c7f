"""The exit causes of a scenario: a run in which no call was ok never ends with status 0."""

from dataclasses import replace

import numpy as np
import pytest

from loadgen.analysis.analysis import analyze
from loadgen.analysis.prices import PriceBook
from loadgen.errors import ExitStatus, worst_status
from loadgen.execution.scenario_result import ExitCause, ScenarioResult, exit_causes, first_line_cause
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import ErrorCode
from tests.support import example_runs as made


def failed(*outcomes, errors=()):
    """Return a run whose calls have these outcomes, each with the number of its error."""
    run = made.all_failed(count=len(outcomes))
    samples = run.samples.copy()
    samples["outcome"], samples["code"] = outcomes, 0
    run = made.run_of_samples(run.step, samples)
    numbers = {error.outcome: error.number for error in errors}
    run.samples["code"] = [numbers.get(outcome, 0) for outcome in outcomes]
    return replace(run, error_codes=tuple(errors))


def causes_of(*runs, causes=()):
    result = ScenarioResult(None, runs, tuple(causes), (), "")
    return exit_causes(result, analyze(runs, region="us-east-1", prices=PriceBook.builtin()))


DENIED = ErrorCode(1, Outcome.AUTH, "AccessDeniedException", 403, "dana is not authorized")
BROKEN = ErrorCode(2, Outcome.MODEL_ERROR, "ModelError", 424, "worker died")
AUTH, MODEL_ERROR, RESET, THROTTLED = Outcome.AUTH, Outcome.MODEL_ERROR, Outcome.RESET, Outcome.THROTTLED


@pytest.mark.parametrize(
    ("outcomes", "status", "message"),
    [
        ([AUTH] * 4, 77, "4 of 4 calls auth: AccessDeniedException HTTP 403 dana is not authorized"),
        ([AUTH] * 3 + [RESET], 69, "3 of 4 calls auth: AccessDeniedException HTTP 403 dana is not authorized"),
        ([MODEL_ERROR] * 2 + [AUTH], 69, "2 of 3 calls model_error: ModelError HTTP 424 worker died"),
        ([THROTTLED] * 3, 69, "3 of 3 calls throttled"),
        ([Outcome.TIMEOUT_TOTAL] * 8, 69, "8 of 8 calls timeout_total"),
        ([Outcome.CHECK_FAILED] * 2, 69, "2 of 2 calls check_failed"),
        ([Outcome.FD_EXHAUSTED] * 2, 71, "2 of 2 calls fd_exhausted"),
        ([Outcome.SCRIPT_ERROR] * 2, 107, "2 of 2 calls script_error"),
    ],
)
def test_a_run_without_an_ok_call_ends_with_the_status_of_its_commonest_failure(outcomes, status, message):
    """The first cause names the commonest failure with its count; the verdict is INVALID."""
    causes = causes_of(failed(*outcomes, errors=(DENIED, BROKEN)))
    assert causes[0] == (status, f"no call was ok: {message}")
    assert worst_status([cause.status for cause in causes]) == status
    assert ExitStatus.INVALID in [cause.status for cause in causes]


def test_the_status_is_that_of_all_runs_together():
    """One run of two without an ok call has another failure: the status is 69, not 77."""
    causes = causes_of(failed(AUTH, AUTH, errors=[DENIED]), failed(RESET))
    assert causes[0] == (
        ExitStatus.UNAVAILABLE,
        "no call was ok: 2 of 3 calls auth: " + "AccessDeniedException HTTP 403 dana is not authorized",
    )


def test_a_failed_deployment_is_the_cause_of_a_run_without_calls():
    """When nothing was deployed, the status and the message are those of the deployment."""
    quota = ExitCause(ExitStatus.TRY_LATER, "account quota")
    causes = causes_of(made.failed_deploy(1024), made.failed_deploy(2048), causes=[quota])
    assert first_line_cause((made.failed_deploy(1024),), causes) == quota
    assert worst_status([cause.status for cause in causes]) is ExitStatus.TRY_LATER


def test_a_size_of_a_benchmark_without_ok_calls_is_invalid():
    """A size that fails on every call was not measured: the benchmark is INVALID, although another size was measured."""
    runs = made.all_failed(1024), made.stability_run(2048)
    assert ExitStatus.INVALID in [cause.status for cause in causes_of(*runs)]
    analysis = analyze(runs, region="us-east-1", prices=PriceBook.builtin())
    (reason,) = analysis.verdict.reasons
    assert reason.problem == "stability-1024: no call was ok"
    assert analysis.headline == "INVALID: no call of stability-1024 was ok"


def test_a_step_of_a_scenario_without_ok_calls_is_invalid():
    """A step of a scenario's own on which no call is ok makes the run INVALID, although another step was measured."""
    unmeasured = failed(AUTH, AUTH, errors=[DENIED])
    own = [replace(run, step=replace(run.step, phase="")) for run in (unmeasured, made.stability_run(2048))]
    share, verdict = causes_of(*own)
    assert (share.status, verdict.status) == (ExitStatus.NO_PERMISSION, ExitStatus.INVALID)
    assert "no call was ok: 2 of 2 calls auth" in verdict.message
    assert first_line_cause(own, [verdict]) is None


def test_ok_calls_of_the_warm_up_are_not_measured():
    """A run whose only ok calls are in its warm-up has no VALID verdict."""
    run = made.warmed_up(warmup_calls=10)
    samples = run.samples.copy()
    samples["outcome"][samples["flags"] == 0] = Outcome.RESET
    (cause, invalid) = causes_of(made.run_of_samples(run.step, np.asarray(samples)))
    assert (cause.status, invalid.status) == (ExitStatus.UNAVAILABLE, ExitStatus.INVALID)


def test_a_run_without_steps_is_not_valid():
    """A plan of which no step was executed has status 110 at least."""
    assert [cause.status for cause in causes_of()] == [ExitStatus.INVALID]


OK = Outcome.OK


def measured(outcomes, errors=(BROKEN, DENIED), phase=""):
    run = failed(*outcomes, errors=errors)
    return replace(run, step=replace(run.step, phase=phase, name="steady"))


@pytest.mark.parametrize("phase", ["", "stability", "concurrency"])
@pytest.mark.parametrize(
    ("outcomes", "limit", "share"),
    [
        ([OK] * 99 + [MODEL_ERROR], 0.01, ""),
        ([OK] * 98 + [MODEL_ERROR] * 2, 0.01, "2.00 % of 100 calls failed (limit 1 %)"),
        ([OK] * 98 + [MODEL_ERROR] * 2, 0.02, ""),
        ([OK] * 199 + [RESET], 0.0, "0.50 % of 200 calls failed (limit 0 %)"),
        ([OK] + [MODEL_ERROR] * 9, 1.0, ""),
        ([OK] * 5 + [THROTTLED] * 95, 0.01, ""),
        ([OK] * 50 + [THROTTLED] * 49 + [RESET] * 2, 0.01, "1.98 % of 101 calls failed (limit 1 %)"),
    ],
)
def test_a_share_of_failures_above_the_limit_is_the_headline_and_a_cause(phase, outcomes, limit, share):
    """Failures above the limit are in the headline and a cause with status 99; throttled calls are not failures."""
    run = measured(outcomes, phase=phase)
    analysis = analyze([run], region="us-east-1", prices=PriceBook.builtin(), failure_share_limit=limit)
    causes = exit_causes(ScenarioResult(None, (run,), (), (), ""), analysis)
    first = first_line_cause([run], causes, analysis)
    if share:
        assert analysis.headline == f"VALID, but steady: {share}"
        assert [cause.status for cause in causes] == [ExitStatus.THRESHOLD]
        assert first == causes[0]
        assert causes[0].message.startswith(f"steady: {share}: ")
    else:
        assert (analysis.headline, causes, first) == ("VALID", [], None)


def test_credentials_that_end_in_mid_run_are_the_cause():
    """Calls refused for credentials above the limit end with 77, also when the verdict is INVALID (110)."""
    lost = ErrorCode(1, AUTH, "credentials cannot be refreshed (AssumeRole: ExpiredToken)", 0, "")
    run = measured([OK] * 60 + [AUTH] * 40, errors=[lost])
    blocked = replace(run, generator_stats=replace(run.generator_stats, loop_lag_max=9.0))
    causes = causes_of(blocked)
    assert worst_status([cause.status for cause in causes]) is ExitStatus.NO_PERMISSION
    assert causes[0].message == (
        "steady: 40.00 % of 100 calls failed (limit 1 %): 40 of 100 calls auth: "
        "credentials cannot be refreshed (AssumeRole: ExpiredToken)"
    )


def test_the_headline_names_the_first_step_and_counts_the_others():
    """With several steps above the limit, or without ok calls, the headline stays one line."""
    bad = [measured([OK, RESET]), measured([OK, RESET, RESET]), measured([AUTH, AUTH])]
    bad = [replace(run, step=replace(run.step, name=name)) for run, name in zip(bad, "abc", strict=True)]
    analysis = analyze(bad, region="us-east-1", prices=PriceBook.builtin())
    assert analysis.headline == (
        "INVALID: no call of c was ok; a: 50.00 % of 2 calls failed (limit 1 %), and 1 more step"
    )

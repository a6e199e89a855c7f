"""The exit causes of a scenario: a run in which no call was ok never ends with status 0."""

from dataclasses import replace

import numpy as np
import pytest

from loadgen.analysis.analysis import analyze
from loadgen.analysis.prices import PriceBook
from loadgen.errors import ExitStatus, worst_status
from loadgen.execution.scenario_result import ExitCause, ScenarioResult, exit_causes, headline_cause
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
    """The first cause names the commonest failure with its count; the verdict is INVALID (cases 02 and drip)."""
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
    assert headline_cause((made.failed_deploy(1024),), causes) == quota
    assert worst_status([cause.status for cause in causes]) is ExitStatus.TRY_LATER


def test_a_size_of_a_benchmark_without_ok_calls_is_a_result():
    """A size that fails on every call does not change the status of a benchmark in which another size was measured."""
    runs = made.all_failed(1024), made.stability_run(2048)
    assert causes_of(*runs) == []
    analysis = analyze(runs, region="us-east-1", prices=PriceBook.builtin())
    assert any("stability-1024: no call was ok: 20 of 20 calls" in note for note in analysis.verdict.notes)


def test_a_step_of_a_scenario_without_ok_calls_is_invalid():
    """A step of a scenario's own on which no call is ok makes the run INVALID, although another step was measured."""
    unmeasured = failed(AUTH, AUTH, errors=[DENIED])
    own = [replace(run, step=replace(run.step, phase="")) for run in (unmeasured, made.stability_run(2048))]
    (cause,) = causes_of(*own)
    assert cause.status is ExitStatus.INVALID
    assert "no call was ok: 2 of 2 calls auth" in cause.message
    assert headline_cause(own, [cause]) is None


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

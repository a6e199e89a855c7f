"""Runs executed in virtual time and written to an output directory."""

from loadgen.engine.engine import run
from loadgen.measurement.outcome import Outcome
from loadgen.results.reader import read_run
from tests.support.virtual_time import (
    FAILED,
    OK,
    ONE_REQUEST,
    THROTTLED,
    FakeReply,
    FakeTransport,
    VirtualClock,
    run_virtual,
)

REPLIES = [OK, THROTTLED, OK, FAILED, FakeReply(0.02, error=Outcome.RESET), OK, FakeReply(0.03, 503)]


def execute_and_save(results, number, step, replies=REPLIES, **options):
    """Execute a step in virtual time into a results directory.

    Returns:
        The run that the engine returned, the run read back, and the run's directory.
    """
    writer = results.create_run(number, step, {"started": 5.0, "endpoint": "e"})
    transport = FakeTransport(lambda n, _t: replies[n % len(replies)])
    executed = run_virtual(run(step, transport, ONE_REQUEST, clock=VirtualClock(), sink=writer.sink, **options))
    writer.close()
    writer.write_metadata(executed)
    return executed, read_run(writer.directory), writer.directory

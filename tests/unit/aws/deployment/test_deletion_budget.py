"""Deletion against scripted responses of the control plane: within the timeout, and without a superfluous call."""

import asyncio
import random

from botocore.exceptions import ClientError

from loadgen.aws.deployment.deletion import ResourceDeleter
from loadgen.aws.deployment.resources import Existence, NullJournal, ResourceKind, ResourceRegistry
from loadgen.aws.retry import RetryPolicy

PACE = RetryPolicy(poll_interval=0.001, create_settle_time=0.05, delete_timeout=0.3, outage_timeout=0.05)


def refusal(text, code="ValidationException"):
    return ClientError({"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "Op")


class Plane:
    """Answers deletions and looks from scripts; the last line of each is repeated."""

    def __init__(self, deletions, looks):
        self.scripts = {"delete": list(deletions), "look": list(looks)}
        self.calls = []

    def _answer(self, name):
        script = self.scripts[name]
        response = script.pop(0) if len(script) > 1 else script[0]
        self.calls.append(name)
        if isinstance(response, Exception):
            raise response
        return {"EndpointStatus": response}

    async def delete_endpoint(self, **_):
        return self._answer("delete")

    async def describe_endpoint(self, **_):
        return self._answer("look")


BUSY = refusal('Cannot update in-progress endpoint "arn:aws:sagemaker:us-east-1:1:endpoint/x".')
GONE = refusal('Could not find endpoint "arn:aws:sagemaker:us-east-1:1:endpoint/x".')


def remove(deletions, looks):
    async def main():
        plane, holdings = Plane(deletions, looks), ResourceRegistry(NullJournal(), region="us-east-1")
        held = holdings.track(ResourceKind.ENDPOINT, "loadgen-x", Existence.OBSERVED)
        left = await ResourceDeleter(plane, holdings, PACE, random.Random(1)).delete([held])
        return plane.calls, [holding.delete_error for holding in left], holdings.lines()

    return asyncio.run(main())


def test_an_endpoint_that_the_system_updates_is_waited_for():
    """A deletion that is refused while it is SystemUpdating is repeated until it is accepted (C58)."""
    calls, left, lines = remove([BUSY, BUSY, "ok"], ["SystemUpdating", "SystemUpdating", "Deleting", GONE])
    assert (left, lines) == ([], [])
    assert calls.count("delete") == 3


def test_one_that_is_updated_for_ever_is_left_and_named():
    """When the budget ends it is left, with the refusal and the command (C58)."""
    _, left, lines = remove([BUSY], ["SystemUpdating"])
    assert "in-progress" in left[0]
    assert "timeout after" in left[0]
    assert "aws sagemaker delete-endpoint --endpoint-name loadgen-x" in lines[0]


def test_a_refusal_that_will_not_change_is_not_repeated():
    """An access-denied error is reported once, and the deletion is not retried (C46)."""
    denied = refusal("User is not authorized to perform: sagemaker:DeleteEndpoint", "AccessDeniedException")
    calls, left, _ = remove([denied], ["InService"])
    assert calls.count("delete") == 1
    assert "not authorized" in left[0]


def test_a_deletion_that_may_not_be_watched_is_confirmed_by_the_next():
    """Where DescribeEndpoint is denied for good, DeleteEndpoint is repeated until it does not find the endpoint."""
    denied = refusal("User is not authorized to perform: sagemaker:DescribeEndpoint", "AccessDeniedException")
    calls, left, lines = remove(["ok", BUSY, GONE], [denied])
    assert calls[:3] == ["delete", "look", "delete"]
    assert (calls.count("delete"), left, lines) == (3, [], [])

"""Endpoint status: whether an endpoint that was in service still serves requests."""

import asyncio

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from loadgen.aws.endpoint_status import endpoint_problem


def refused(code, message):
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "DescribeEndpoint"
    )


class Api:
    """A control plane with one answer to DescribeEndpoint."""

    def __init__(self, answer):
        self.answer = answer

    async def describe_endpoint(self, **_):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"EndpointStatus": "InService"}, ""),
        ({"EndpointStatus": "SystemUpdating"}, ""),
        ({"EndpointStatus": "Deleting"}, "it is Deleting (another process changes or deletes it)"),
        ({"EndpointStatus": "Failed", "FailureReason": "no capacity"}, "it is Failed (no capacity)"),
        (refused("ValidationException", 'Could not find endpoint "arn".'), "no longer exists"),
        # What cannot be read says nothing.
        (refused("AccessDeniedException", "no"), ""),
        (refused("ThrottlingException", "Rate exceeded"), ""),
        (EndpointConnectionError(endpoint_url="https://x"), ""),
    ],
)
def test_only_an_endpoint_that_is_seen_not_to_serve_is_lost(answer, problem):
    """Deleted, Deleting and Failed endpoints are named with the reason; a denied or failed Describe gives no reason."""
    found = asyncio.run(endpoint_problem(Api(answer), "e"))
    assert (problem in found, bool(found)) == (True, bool(problem))
    assert not found or found.startswith("endpoint e ")

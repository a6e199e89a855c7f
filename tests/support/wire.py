"""What the tests of the wire transport share: settings without AWS, a loop of each kind, and proof that nothing is left."""

import asyncio
import gc
import os
from time import perf_counter

import pytest
import uvloop

from loadgen.transport.wire.sigv4 import Credentials
from loadgen.transport.wire.timeouts import Timeouts
from loadgen.transport.wire.transport import WireSettings, open_wire
from loadgen.workload.request import Request
from tests.support.faulty_server import accepted_socket_count

REQUEST = Request(b"1,2,3", content_type="text/csv")
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
PAST_ALL_DEADLINES = 10_000.0  # seconds; past every deadline


async def static_credentials():
    """The credentials of the tests."""
    return Credentials("AKIDEXAMPLE", "secret", "token")


def open_transport_to(server, connections=1, *, context=None, credentials=static_credentials, timeouts=None, **options):
    """Open a wire transport to a faulty server."""
    settings = WireSettings(server.url, "us-east-1", credentials, "tests", ssl_context=context)
    return open_wire(settings, "my-endpoint", connections=connections, timeouts=timeouts or Timeouts(), **options)


async def wait_until(condition):
    """Let the loop turn until the condition holds; ten seconds at most."""
    deadline = perf_counter() + 10
    while not condition():
        assert perf_counter() < deadline, "the condition never came to hold"
        await asyncio.sleep(0)


async def assert_usable(transport, server):
    """The next call is answered, and the answer is its own."""
    reply = await transport.invoke(REQUEST)
    assert (reply.status, reply.body[:20], reply.response_bytes, reply.request_id) == (200, b"hello", 5, "r-1"), reply[
        :5
    ]
    # A cancelled call may reach the far side later than this one did.
    assert REQUEST.body in [body for _, _, body in server.received[-3:]]


def open_socket_count():
    """How many sockets this process has open."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        except OSError:
            continue
    return count


@pytest.fixture(params=sorted(LOOPS))
def run(request):
    """Run a coroutine function on each kind of loop; fail when it leaves a task, a socket or a complaint behind."""

    def runner(main):
        complaints = []
        before = open_socket_count() - accepted_socket_count()

        async def checked():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: complaints.append(context))
            async with asyncio.timeout(30):
                await main()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as loop:
            loop.run(checked())
        gc.collect()
        assert complaints == []
        deadline = perf_counter() + 10
        while open_socket_count() - accepted_socket_count() > before:  # the far side notices the end in its own time
            assert perf_counter() < deadline, "a socket is left open"
            os.sched_yield()

    return runner

"""How much traffic does this configuration carry before it violates its SLOs?

An open loop sends on schedule, however slow the endpoint is, as users do. The rate grows from 2 to 40 requests a
second, and the response time is measured from the scheduled instant of each request.
"""

from loadgen import Emulated, OpenLoop, Request, Scenario, ServerlessConfig, Slo, Step, poisson, ramp

scenario = Scenario(
    target=Emulated("mobilenet-v2"),
    requests=[Request(b"\xff\xd8" + bytes(28_000), content_type="image/jpeg")],
    steps=[
        Step(
            ServerlessConfig(2048, max_concurrency=8),
            OpenLoop(poisson(ramp(2, 40, over=20), seed=7), max_in_flight=100),
            name="2 to 40 requests a second",
            warmup=2,
        )
    ],
    slos=[Slo("response_p95", at_most=0.8), Slo("throttle_share", at_most=0.1)],
)

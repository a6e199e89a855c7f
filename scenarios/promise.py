"""How much traffic does this configuration take before it breaks its promise?

An open loop sends on schedule whatever the endpoint does, as users do: the rate climbs from 2 to 40 requests a second,
and the response time counts from the instant at which each request should have left.
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

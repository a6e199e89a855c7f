"""Which memory size and MaxConcurrency should this image classifier have, and what will it cost?

Runs in about a minute against the emulator, at no cost. For your own model on AWS:

    target = SageMaker(model="my-model")
    requests = read_requests("examples.jsonl")
"""

import random

from loadgen import Emulated, Request, ServerlessBenchmark

# As large as a small photograph; AWS bills the bytes that are processed.
picture = random.Random(2026)
requests = [Request(picture.randbytes(size), content_type="image/jpeg") for size in (24_000, 29_000, 34_000)]

scenario = ServerlessBenchmark(
    target=Emulated("mobilenet-v2"),
    requests=requests,
    invocations=45,  # use 1000 on AWS; a p99 needs at least 368 calls
    max_concurrency=[2, 4, 8],
    multipliers=[1, 2],
    concurrency_invocations=180,
)

"""Which memory size does a text model need, and which is the most cost-effective?

A transformer does not fit into the smallest memory size: its calls fail there, that size is stopped after three errors,
and the other sizes are measured.
"""

import json

from loadgen import Emulated, Request, ServerlessBenchmark

sentences = [
    "The endpoint answered before the coffee was ready.",
    "Nobody knows the right memory size without measuring.",
    "It was the best of latencies, it was the worst of latencies.",
]
requests = [
    Request(json.dumps({"inputs": sentence}).encode(), content_type="application/json", accept="application/json")
    for sentence in sentences
]

scenario = ServerlessBenchmark(
    target=Emulated("huggingface"),
    requests=requests,
    memory_sizes=[1024, 2048, 4096, 6144],
    invocations=20,
    max_concurrency=[2],
    multipliers=[1, 2],
    concurrency_invocations=30,
)

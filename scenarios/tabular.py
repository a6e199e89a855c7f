"""Is the smallest memory size good enough for a tabular model that answers in milliseconds?

An XGBoost model takes a row of numbers as CSV. Its calls are short, so that the cost is low and a cold start takes as
long as a thousand calls: see the cold starts and the break-even point in the report.
"""

import random

from loadgen import Emulated, Request, ServerlessBenchmark

rows = random.Random(7)
requests = [
    Request(",".join(f"{rows.gauss(0, 1):.4f}" for _ in range(30)).encode(), content_type="text/csv", accept="text/csv")
    for _ in range(100)
]

scenario = ServerlessBenchmark(
    target=Emulated("xgboost"),
    requests=requests,
    memory_sizes=[1024, 2048, 3072],
    invocations=400,
    max_concurrency=[2, 5],
    multipliers=[1, 1.5],
    concurrency_invocations=400,
    objective="cost",
)

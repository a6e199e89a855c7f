"""The ledger's counters."""

import math

from hypothesis import given
from hypothesis import strategies as st

from loadgen.emulator.behaviour.ledger import EndpointCounters


@given(
    st.lists(st.sampled_from(["ok", "throttled", "disconnected", "ModelError", "cut"]), max_size=50), st.integers(0, 9)
)
def test_counters_always_balance(endings, pending):
    """Arrivals equal the sum of the results and of the requests in flight, in the JSON values."""
    counters = EndpointCounters()
    counters.arrivals = len(endings) + pending
    for ending in endings:
        if ending in ("ok", "throttled", "disconnected"):
            setattr(counters, ending, getattr(counters, ending) + 1)
        else:
            counters.failed[ending] += 1
    shown = counters.to_dict()
    assert shown["in_flight"] == pending
    assert shown["failed"] == sum(shown["failed_by_code"].values())
    parts = ("ok", "throttled", "failed", "disconnected", "in_flight")
    assert shown["arrivals"] == math.fsum(shown[part] for part in parts)

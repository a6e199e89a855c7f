"""The workload: what is offered to a target. Requests, rates, arrivals, load models, steps; values only."""

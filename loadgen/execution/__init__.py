"""Execution of a scenario's plan: preflight checks, deployments, steps, and the result."""

"""Execution: carry a scenario's plan out, from the checks before it to the result after it."""

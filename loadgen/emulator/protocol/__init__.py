"""The protocols of the emulated services: HTTP, queries, input validation, errors, responses."""

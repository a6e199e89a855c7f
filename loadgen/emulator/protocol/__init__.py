"""The protocols that the emulated services speak: HTTP, queries, input validation, responses."""

"""Scenarios: what a scenario file defines, how it is loaded, and how its fields are overridden."""

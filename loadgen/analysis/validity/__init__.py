"""Validity of a run's figures: what the load generator itself changed in them, and what makes a run INVALID."""

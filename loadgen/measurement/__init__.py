"""Measurement: what is recorded of a workload. Outcomes, samples, histograms, windows, runs; values only."""

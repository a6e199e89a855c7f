"""Confidence intervals for series of calls: means, percentiles and shares of values that may depend on each other."""

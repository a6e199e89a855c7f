"""Analysis: what recorded runs mean. Pure functions of runs: summaries, verdict, SLOs, cost, recommendation."""

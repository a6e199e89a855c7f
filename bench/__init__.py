"""Measurements of loadgen itself; run one with `python -m bench.NAME`."""

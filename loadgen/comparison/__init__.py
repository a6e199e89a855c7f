"""Comparison of two measurements of the same thing: blocks, tests of their differences, verdicts and gates. No I/O."""

"""Everything a person reads: pure functions of saved runs."""

"""Places to measure."""

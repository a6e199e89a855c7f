"""Report formats: HTML page, terminal, CSV, JSON."""

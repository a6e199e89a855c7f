"""Report charts: Vega-Lite specifications and their rendering."""

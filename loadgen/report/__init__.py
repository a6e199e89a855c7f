"""The report: everything a person reads about saved runs."""

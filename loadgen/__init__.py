"""Measure what a SageMaker endpoint can do and what it costs."""

"""SageMaker Processing jobs: run a scenario inside AWS, on one or several instances."""

"""What every test shares: how hypothesis draws, and nothing else."""

from hypothesis import settings

# The same draws on every machine and in every order; a slow, shared machine is not a failure.
settings.register_profile("loadgen", deadline=None, derandomize=True, database=None)
settings.load_profile("loadgen")

"""The emulated AWS services."""

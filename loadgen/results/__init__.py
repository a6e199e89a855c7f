"""The output directory: how runs are written to disk, locked, and read back."""

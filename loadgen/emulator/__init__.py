"""The emulator: AWS's own APIs on one loopback port, with books of its own."""

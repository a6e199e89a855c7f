"""The emulator: AWS's APIs on one loopback port, for real clients."""

"""Distributed execution: one step on several workers, and the protocol between them and the coordinator."""

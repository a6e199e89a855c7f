"""Transports: how one request travels to an endpoint."""

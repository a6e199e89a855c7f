"""How one request travels to an opened endpoint."""

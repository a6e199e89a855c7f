"""The engine: runs a load against a transport and records every request. It knows no AWS and no files."""

"""The engine: offers a load to a transport and records what happens. Knows no AWS and no files."""

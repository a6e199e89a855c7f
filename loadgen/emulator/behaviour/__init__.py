"""The behaviour of an emulated endpoint: profiles, the fleet of instances, the ledger. Pure."""

"""How an emulated endpoint behaves: profiles, the fleet of instances, the ledger. Pure."""

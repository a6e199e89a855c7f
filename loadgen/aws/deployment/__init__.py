"""Deployment: create endpoints, record them before they exist, and delete every one of them."""

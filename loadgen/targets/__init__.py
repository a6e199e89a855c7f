"""Targets: the places that can be measured."""

"""Weights that others trained, as models of this package."""

"""Arithmetic that is the same on every machine, for networks that decide what a byte means."""

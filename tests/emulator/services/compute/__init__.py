"""Compute Engine, v1."""

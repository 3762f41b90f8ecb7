"""Sweeps: the product of settings, planned, made and kept."""

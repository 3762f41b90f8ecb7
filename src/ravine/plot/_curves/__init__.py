"""Runs and losses as curves."""

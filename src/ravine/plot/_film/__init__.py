"""Descents in motion."""

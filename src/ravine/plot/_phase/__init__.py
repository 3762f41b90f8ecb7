"""Diagrams of two settings."""

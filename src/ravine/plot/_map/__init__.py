"""Runs on the loss over a plane."""

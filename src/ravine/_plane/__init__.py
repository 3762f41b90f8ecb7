"""Planes through the space of all parameters: made of runs or directions, and runs projected onto them."""

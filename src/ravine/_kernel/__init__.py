"""Compiled code: what torch does for one position of a linear neuron, for many at once."""
